// Counts the words of every input file: totals, and the words that occur most.
//
// Arguments: [N] how many words to list (20).
// A word is a run of letters, digits and inner apostrophes. Text is UTF-8: every character beyond ASCII counts as a
// letter, but for the general punctuation block (dashes, curly quotes); capitals of ASCII and Latin-1 are folded.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORD 64

typedef struct {
    char *text;
    uint32_t hash;
    uint32_t count;
} Word;

static Word *table;
static size_t room, used;
static uint64_t bytes, lines, words;

static void fail(const char *what) {
    fprintf(stderr, "wordcount: %s\n", what);
    exit(2);
}

static uint32_t hash_of(const char *text) {
    uint32_t hash = 2166136261u;
    for (; *text; text++) hash = (hash ^ (uint8_t)*text) * 16777619u;
    return hash;
}

static Word *slot_for(const char *text, uint32_t hash) {
    for (size_t at = hash & (room - 1);; at = (at + 1) & (room - 1)) {
        Word *word = &table[at];
        if (!word->text || (word->hash == hash && !strcmp(word->text, text))) return word;
    }
}

static void grow(void) {
    Word *old = table;
    size_t before = room;
    room = room ? room * 2 : 1024;
    table = calloc(room, sizeof *table);
    if (!table) fail("not enough memory for so many different words");
    for (size_t i = 0; i < before; i++)
        if (old[i].text) *slot_for(old[i].text, old[i].hash) = old[i];
    free(old);
}

static void count(const char *text) {
    if (used * 2 >= room) grow();
    uint32_t hash = hash_of(text);
    Word *word = slot_for(text, hash);
    if (!word->text) {
        word->text = strdup(text);
        if (!word->text) fail("not enough memory for so many different words");
        word->hash = hash;
        used++;
    }
    word->count++;
    words++;
}

static int is_word(int c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c >= 0x80;
}

// U+2019 is the curly apostrophe; the rest of U+2000..U+206F is punctuation.
static int skip_punctuation(FILE *file, int c, int *apostrophe) {
    if (c != 0xe2) return 0;
    int second = fgetc(file), third = second == EOF ? EOF : fgetc(file);
    if ((second == 0x80 || second == 0x81) && third != EOF) {
        bytes += 2;
        *apostrophe = second == 0x80 && third == 0x99;
        return 1;
    }
    if (third != EOF) fseek(file, -2, SEEK_CUR);
    else if (second != EOF) fseek(file, -1, SEEK_CUR);
    return 0;
}

static void read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail("an input file is missing");
    char word[MAX_WORD + 1];
    size_t length = 0;
    int pending = 0, c;
    do {
        c = fgetc(file);
        if (c != EOF) bytes++;
        if (c == '\n') lines++;
        int apostrophe = c == '\'';
        int punctuation = c != EOF && skip_punctuation(file, c, &apostrophe);
        if (c != EOF && !punctuation && is_word(c)) {
            if (pending && length < MAX_WORD) word[length++] = '\'';
            pending = 0;
            if (c >= 'A' && c <= 'Z') c += 32;
            if (length && (uint8_t)word[length - 1] == 0xc3 && c >= 0x80 && c <= 0x9e && c != 0x97) c += 32;
            if (length < MAX_WORD) word[length++] = (char)c;
        } else if (apostrophe && length && !pending) {
            pending = 1;  // Part of the word only if a letter follows.
        } else {
            if (length) {
                word[length] = 0;
                count(word);
            }
            length = 0;
            pending = 0;
        }
    } while (c != EOF);
    fclose(file);
}

static int by_count(const void *a, const void *b) {
    const Word *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    if (!x->text || !y->text) return (y->text != NULL) - (x->text != NULL);
    return strcmp(x->text, y->text);
}

int main(int argc, char **argv) {
    int top = argc > 1 ? atoi(argv[1]) : 20;
    const char *folder = getenv("IEXEC_INPUT_FILES_FOLDER"), *number = getenv("IEXEC_INPUT_FILES_NUMBER");
    int files = number ? atoi(number) : 0;
    if (!folder || files < 1) fail("give at least one text with --input");
    for (int i = 1; i <= files; i++) {
        char name[48], path[512];
        snprintf(name, sizeof name, "IEXEC_INPUT_FILE_NAME_%d", i);
        const char *file = getenv(name);
        if (!file) fail("an input file has no name");
        snprintf(path, sizeof path, "%s/%s", folder, file);
        fprintf(stderr, "wordcount: reading input %d of %d\n", i, files);
        read_file(path);
    }
    if (table) qsort(table, room, sizeof *table, by_count);
    printf("%llu bytes, %llu lines, %llu words, %zu of them different\n\n", (unsigned long long)bytes,
           (unsigned long long)lines, (unsigned long long)words, used);
    for (size_t i = 0; i < used && i < (size_t)(top > 0 ? top : 0); i++) {
        printf("%7u  %5.2f %%  %-14s ", table[i].count, 100.0 * table[i].count / (double)words, table[i].text);
        for (uint32_t bar = 0; bar < table[i].count * 32 / table[0].count; bar++) putchar('#');
        putchar('\n');
    }
    FILE *computed = fopen("/iexec_out/computed.json", "w");
    if (!computed) fail("cannot write /iexec_out/computed.json");
    fputs("{\"deterministic-output-path\":\"/iexec_out/stdout.txt\"}\n", computed);
    return fclose(computed) ? 1 : 0;
}
