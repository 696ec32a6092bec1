// Draws a piece of the Mandelbrot set: long enough to watch, the same to the last bit on every machine.
//
// Arguments: [WIDTH] of the picture (800), [ITERATIONS] at most per point (3000).
// The result is the picture, /iexec_out/mandelbrot.pgm; a small one in letters goes to standard output, progress to
// standard error.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static const double CENTRE_X = -0.7453, CENTRE_Y = 0.1127, SPAN = 0.0085;

static void fail(const char *what) {
    fprintf(stderr, "mandelbrot: %s\n", what);
    exit(2);
}

static uint8_t shade(double cx, double cy, int most) {
    double x = 0, y = 0;
    for (int n = 0; n < most; n++) {
        double xx = x * x, yy = y * y;
        if (xx + yy > 4) return (uint8_t)(40 + (n * 7) % 216);
        y = 2 * x * y + cy;
        x = xx - yy + cx;
    }
    return 0;
}

static void print_small(const uint8_t *picture, int width, int height) {
    static const char ink[] = "@ .:-=+*#%";
    for (int row = 0; row < 24; row++) {
        for (int column = 0; column < 72; column++) {
            uint8_t grey = picture[(size_t)(row * height / 24) * (size_t)width + (size_t)(column * width / 72)];
            putchar(grey ? ink[1 + (grey - 40) * 9 / 216] : ink[0]);
        }
        putchar('\n');
    }
}

int main(int argc, char **argv) {
    int width = argc > 1 ? atoi(argv[1]) : 800, most = argc > 2 ? atoi(argv[2]) : 3000;
    if (width < 72 || width > 4096 || most < 1) fail("the width must be 72 to 4096, the iterations at least 1");
    int height = width * 3 / 4, told = 0;
    uint8_t *picture = malloc((size_t)width * (size_t)height);
    if (!picture) fail("not enough memory for the picture");
    for (int row = 0; row < height; row++) {
        double y = CENTRE_Y + SPAN * 0.75 * (0.5 - (double)row / height);
        for (int column = 0; column < width; column++) {
            double x = CENTRE_X + SPAN * ((double)column / width - 0.5);
            picture[(size_t)row * (size_t)width + (size_t)column] = shade(x, y, most);
        }
        int percent = (row + 1) * 100 / height;
        if (percent >= told + 5) fprintf(stderr, "mandelbrot: %d %%\n", told = percent - percent % 5);
    }
    FILE *file = fopen("/iexec_out/mandelbrot.pgm", "wb");
    if (!file) fail("cannot write the picture");
    fprintf(file, "P5\n%d %d\n255\n", width, height);
    fwrite(picture, 1, (size_t)width * (size_t)height, file);
    if (fclose(file)) fail("cannot write the picture");
    print_small(picture, width, height);
    FILE *computed = fopen("/iexec_out/computed.json", "w");
    if (!computed) fail("cannot write /iexec_out/computed.json");
    fputs("{\"deterministic-output-path\":\"/iexec_out/mandelbrot.pgm\"}\n", computed);
    return fclose(computed) ? 1 : 0;
}
