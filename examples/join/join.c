// Joins several CSV files on one column, as SQL's JOIN does, and prints the joined table as CSV.
//
// Arguments: [--on COLUMN] the column they share (the first file's first), [--keep-all] keep rows of the first file
// that have no partner, [--sort COLUMN] order the result by a column, as numbers where both are numbers.
// The result is what it prints; what it did in figures goes to standard error.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char **cells;
    int width;
} Row;

typedef struct {
    Row *rows;
    int height, room;
} Table;

static void fail(const char *what, const char *which) {
    fprintf(stderr, "join: %s%s%s\n", what, which ? ": " : "", which ? which : "");
    exit(2);
}

static void *must(void *memory) {
    if (!memory) fail("not enough memory for these tables", NULL);
    return memory;
}

static void add_cell(Row *row, char *text) {
    row->cells = must(realloc(row->cells, (size_t)(row->width + 1) * sizeof *row->cells));
    row->cells[row->width++] = text;
}

static void add_row(Table *table, Row row) {
    if (table->height == table->room) {
        table->room = table->room ? table->room * 2 : 64;
        table->rows = must(realloc(table->rows, (size_t)table->room * sizeof *table->rows));
    }
    table->rows[table->height++] = row;
}

// RFC 4180: quoted cells may hold commas, line ends and doubled quotes.
static Table parse(FILE *file) {
    Table table = {0};
    Row row = {0};
    char *cell = NULL;
    size_t length = 0, room = 0;
    int c, quoted = 0, any = 0;
    do {
        c = fgetc(file);
        int end_of_cell = !quoted && (c == ',' || c == '\n' || c == EOF);
        if (c == EOF && quoted) fail("a quote in a CSV file is never closed", NULL);
        if (c == '"') {
            if (quoted) {
                int next = fgetc(file);
                if (next != '"') {
                    quoted = 0;
                    if (next != EOF) ungetc(next, file);
                    continue;
                }
            } else if (length == 0) {
                quoted = any = 1;
                continue;
            }
        }
        if (!end_of_cell) {
            if (c == '\r' && !quoted) continue;
            if (length + 1 >= room) cell = must(realloc(cell, room = room ? room * 2 : 32));
            cell[length++] = (char)c;
            any = 1;
            continue;
        }
        if (c == ',' || any || row.width) {
            if (!cell) cell = must(calloc(1, 1));
            cell[length] = 0;
            add_cell(&row, cell);
            cell = NULL;
            length = room = 0;
        }
        if (c == ',') any = 1;
        else if (row.width) {
            add_row(&table, row);
            row = (Row){0};
            any = 0;
        }
    } while (c != EOF);
    return table;
}

static Table load(int number) {
    char name[48], path[512];
    snprintf(name, sizeof name, "IEXEC_INPUT_FILE_NAME_%d", number);
    const char *folder = getenv("IEXEC_INPUT_FILES_FOLDER"), *file = getenv(name);
    if (!folder || !file) fail("an input file has no name", name);
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *stream = fopen(path, "rb");
    if (!stream) fail("an input file is missing", path);
    Table table = parse(stream);
    fclose(stream);
    if (!table.height) fail("an input file is empty", file);
    return table;
}

static int column(const Table *table, const char *name) {
    for (int i = 0; i < table->rows[0].width; i++)
        if (!strcmp(table->rows[0].cells[i], name)) return i;
    return -1;
}

static const char *cell_of(const Row *row, int at) { return at < row->width ? row->cells[at] : ""; }

static int key_column;

static int by_key(const void *a, const void *b) {
    return strcmp(cell_of(a, key_column), cell_of(b, key_column));
}

static int sort_column;

static int by_value(const void *a, const void *b) {
    const char *x = cell_of(a, sort_column), *y = cell_of(b, sort_column);
    char *end_x, *end_y;
    double p = strtod(x, &end_x), q = strtod(y, &end_y);
    if (*x && *y && !*end_x && !*end_y) return p < q ? -1 : p > q;
    return strcmp(x, y);
}

static Row joined(const Row *left, const Row *right, int key, int left_width, int right_width) {
    Row row = {0};
    for (int i = 0; i < left_width; i++) add_cell(&row, (char *)cell_of(left, i));
    for (int i = 0; i < right_width; i++)
        if (i != key) add_cell(&row, right ? (char *)cell_of(right, i) : "");
    return row;
}

static Table join(const Table *left, Table *right, const char *on, int keep_all) {
    int left_key = column(left, on), right_key = column(right, on);
    if (left_key < 0 || right_key < 0) fail("a file has no such column", on);
    int left_width = left->rows[0].width, right_width = right->rows[0].width, matched = 0, alone = 0;
    Table table = {0};
    add_row(&table, joined(&left->rows[0], &right->rows[0], right_key, left_width, right_width));
    key_column = right_key;
    Row *first = right->rows + 1;
    int count = right->height - 1;
    qsort(first, (size_t)count, sizeof *first, by_key);
    for (int i = 1; i < left->height; i++) {
        const char *key = cell_of(&left->rows[i], left_key);
        int low = 0, high = count;
        while (low < high) {
            int middle = (low + high) / 2;
            if (strcmp(cell_of(&first[middle], right_key), key) < 0) low = middle + 1;
            else high = middle;
        }
        int found = low;
        for (; found < count && !strcmp(cell_of(&first[found], right_key), key); found++)
            add_row(&table, joined(&left->rows[i], &first[found], right_key, left_width, right_width));
        if (found > low) matched++;
        else {
            alone++;
            if (keep_all) add_row(&table, joined(&left->rows[i], NULL, right_key, left_width, right_width));
        }
    }
    fprintf(stderr, "join: %d rows with %d rows: %d matched, %d had no partner\n", left->height - 1, count, matched,
            alone);
    return table;
}

static void print_cell(const char *text) {
    if (!strpbrk(text, ",\"\n")) {
        fputs(text, stdout);
        return;
    }
    putchar('"');
    for (; *text; text++) {
        if (*text == '"') putchar('"');
        putchar(*text);
    }
    putchar('"');
}

int main(int argc, char **argv) {
    const char *on = NULL, *sort = NULL, *number = getenv("IEXEC_INPUT_FILES_NUMBER");
    int keep_all = 0, files = number ? atoi(number) : 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--on") && i + 1 < argc) on = argv[++i];
        else if (!strcmp(argv[i], "--sort") && i + 1 < argc) sort = argv[++i];
        else if (!strcmp(argv[i], "--keep-all")) keep_all = 1;
        else fail("unknown argument", argv[i]);
    }
    if (files < 2) fail("give at least two CSV files, each with --input", NULL);
    Table table = load(1);
    if (!on) on = table.rows[0].cells[0];
    for (int i = 2; i <= files; i++) {
        Table next = load(i);
        table = join(&table, &next, on, keep_all);
    }
    if (sort) {
        sort_column = column(&table, sort);
        if (sort_column < 0) fail("no file has a column to sort by", sort);
        qsort(table.rows + 1, (size_t)(table.height - 1), sizeof *table.rows, by_value);
    }
    for (int i = 0; i < table.height; i++) {
        for (int j = 0; j < table.rows[i].width; j++) {
            if (j) putchar(',');
            print_cell(table.rows[i].cells[j]);
        }
        putchar('\n');
    }
    FILE *computed = fopen("/iexec_out/computed.json", "w");
    if (!computed) fail("cannot write /iexec_out/computed.json", NULL);
    fputs("{\"deterministic-output-path\":\"/iexec_out/stdout.txt\"}\n", computed);
    return fclose(computed) ? 1 : 0;
}
