// A small key-value store: values live in a log file that is replayed at the start, keys in a balanced
// tree in memory, and a query language works on both. It is a test of files and malloc that does
// something.
//
//     store LOGFILE [SCRIPT]
//
// Statements, one a line, from SCRIPT or standard input:
//
//     set KEY EXPRESSION            del KEY                     get KEY
//     scan [FROM [TO]]              count [where CONDITION]     rename KEY KEY
//     select EXPRESSION [where CONDITION] [order by EXPRESSION [desc]] [limit N]
//     sum|min|max|avg EXPRESSION [where CONDITION]
//     update EXPRESSION [where CONDITION]                       delete where CONDITION
//     begin | commit | rollback     compact | check | stats     export FILE | import FILE
//     print EXPRESSION
//
// In expressions `key` and `value` stand for the record at hand. Values are integers, reals, texts, nil.

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---------------------------------------------------------------- memory

static size_t live_blocks;

static void die(const char *what) {
    fprintf(stderr, "store: %s\n", what);
    exit(70);
}

static void *allocate(size_t size) {
    void *block = malloc(size ? size : 1);
    if (!block) {
        die("out of memory");
    }
    live_blocks++;
    return block;
}

static void *resize(void *block, size_t size) {
    if (!block) {
        return allocate(size);
    }
    block = realloc(block, size ? size : 1);
    if (!block) {
        die("out of memory");
    }
    return block;
}

static void release(void *block) {
    if (block) {
        live_blocks--;
        free(block);
    }
}

static char *copy_text(const char *text, size_t size) {
    char *copy = allocate(size + 1);
    memcpy(copy, text, size);
    copy[size] = 0;
    return copy;
}

typedef struct {
    char *data;
    size_t size, room;
} Buffer;

static void buffer_append(Buffer *buffer, const void *data, size_t size) {
    if (buffer->size + size > buffer->room) {
        buffer->room = (buffer->size + size) * 2;
        buffer->data = resize(buffer->data, buffer->room);
    }
    if (size) {
        memcpy(buffer->data + buffer->size, data, size);
    }
    buffer->size += size;
}

static void buffer_free(Buffer *buffer) {
    release(buffer->data);
    *buffer = (Buffer){0};
}

// ---------------------------------------------------------------- errors

static char error_text[256];

static bool fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error_text, sizeof error_text, format, arguments);
    va_end(arguments);
    return false;
}

// ---------------------------------------------------------------- values

typedef enum { NIL, INTEGER, REAL, TEXT } Kind;

typedef struct {
    Kind kind;
    int64_t integer;
    double real;
    char *text;
    size_t size;
} Value;

static Value nil(void) { return (Value){.kind = NIL}; }

static Value integer(int64_t number) { return (Value){.kind = INTEGER, .integer = number}; }

static Value real(double number) { return (Value){.kind = REAL, .real = number}; }

static Value text(const char *data, size_t size) {
    return (Value){.kind = TEXT, .text = copy_text(data, size), .size = size};
}

static Value boolean(bool truth) { return integer(truth ? 1 : 0); }

static void value_free(Value *value) {
    if (value->kind == TEXT) {
        release(value->text);
    }
    *value = nil();
}

static Value value_copy(const Value *value) {
    return value->kind == TEXT ? text(value->text, value->size) : *value;
}

static bool is_number(const Value *value) { return value->kind == INTEGER || value->kind == REAL; }

static double as_real(const Value *value) {
    return value->kind == INTEGER ? (double)value->integer : value->real;
}

static bool is_true(const Value *value) {
    switch (value->kind) {
    case NIL:
        return false;
    case INTEGER:
        return value->integer != 0;
    case REAL:
        return value->real != 0.0;
    default:
        return value->size != 0;
    }
}

static int text_compare(const char *a, size_t a_size, const char *b, size_t b_size) {
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order ? order : (a_size > b_size) - (a_size < b_size);
}

// Nil before numbers before texts; integers and reals by their value.
static int value_compare(const Value *a, const Value *b) {
    if (is_number(a) && is_number(b)) {
        if (a->kind == INTEGER && b->kind == INTEGER) {
            return (a->integer > b->integer) - (a->integer < b->integer);
        }
        return (as_real(a) > as_real(b)) - (as_real(a) < as_real(b));
    }
    int a_class = a->kind == NIL ? 0 : is_number(a) ? 1 : 2;
    int b_class = b->kind == NIL ? 0 : is_number(b) ? 1 : 2;
    if (a_class != b_class || a_class == 0) {
        return a_class - b_class;
    }
    return text_compare(a->text, a->size, b->text, b->size);
}

static void value_write(FILE *out, const Value *value) {
    switch (value->kind) {
    case NIL:
        fputs("nil", out);
        break;
    case INTEGER:
        fprintf(out, "%lld", (long long)value->integer);
        break;
    case REAL:
        fprintf(out, "%.10g", value->real);
        break;
    case TEXT:
        fputc('"', out);
        for (size_t i = 0; i < value->size; i++) {
            unsigned char c = (unsigned char)value->text[i];
            if (c == '"' || c == '\\') {
                fprintf(out, "\\%c", c);
            } else if (c == '\n') {
                fputs("\\n", out);
            } else if (c < 32) {
                fprintf(out, "\\x%02x", c);
            } else {
                fputc(c, out);
            }
        }
        fputc('"', out);
    }
}

// ---------------------------------------------------------------- index: an AVL tree by key

typedef struct Node {
    char *key;
    size_t size;
    Value value;
    int height;
    struct Node *left, *right;
} Node;

static Node *root;
static size_t records;

static int height(const Node *node) { return node ? node->height : 0; }

static void update_height(Node *node) {
    int left = height(node->left), right = height(node->right);
    node->height = 1 + (left > right ? left : right);
}

static Node *rotate_right(Node *node) {
    Node *top = node->left;
    node->left = top->right;
    top->right = node;
    update_height(node);
    update_height(top);
    return top;
}

static Node *rotate_left(Node *node) {
    Node *top = node->right;
    node->right = top->left;
    top->left = node;
    update_height(node);
    update_height(top);
    return top;
}

static Node *balance(Node *node) {
    update_height(node);
    int lean = height(node->left) - height(node->right);
    if (lean > 1) {
        if (height(node->left->left) < height(node->left->right)) {
            node->left = rotate_left(node->left);
        }
        return rotate_right(node);
    }
    if (lean < -1) {
        if (height(node->right->right) < height(node->right->left)) {
            node->right = rotate_right(node->right);
        }
        return rotate_left(node);
    }
    return node;
}

static Node *tree_find(const char *key, size_t size) {
    Node *node = root;
    while (node) {
        int order = text_compare(key, size, node->key, node->size);
        if (order == 0) {
            return node;
        }
        node = order < 0 ? node->left : node->right;
    }
    return NULL;
}

// Takes over the value.
static Node *tree_insert(Node *node, const char *key, size_t size, Value value) {
    if (!node) {
        node = allocate(sizeof *node);
        *node = (Node){.key = copy_text(key, size), .size = size, .value = value, .height = 1};
        records++;
        return node;
    }
    int order = text_compare(key, size, node->key, node->size);
    if (order == 0) {
        value_free(&node->value);
        node->value = value;
        return node;
    }
    if (order < 0) {
        node->left = tree_insert(node->left, key, size, value);
    } else {
        node->right = tree_insert(node->right, key, size, value);
    }
    return balance(node);
}

static void node_free(Node *node) {
    release(node->key);
    value_free(&node->value);
    release(node);
}

static Node *detach_first(Node *node, Node **first) {
    if (!node->left) {
        *first = node;
        return node->right;
    }
    node->left = detach_first(node->left, first);
    return balance(node);
}

static Node *tree_remove(Node *node, const char *key, size_t size) {
    if (!node) {
        return NULL;
    }
    int order = text_compare(key, size, node->key, node->size);
    if (order < 0) {
        node->left = tree_remove(node->left, key, size);
    } else if (order > 0) {
        node->right = tree_remove(node->right, key, size);
    } else {
        Node *left = node->left, *right = node->right, *successor;
        node_free(node);
        records--;
        if (!right) {
            return left;
        }
        right = detach_first(right, &successor);
        successor->left = left;
        successor->right = right;
        return balance(successor);
    }
    return balance(node);
}

static void tree_free(Node *node) {
    if (node) {
        tree_free(node->left);
        tree_free(node->right);
        node_free(node);
    }
}

typedef struct {
    Node **nodes;
    size_t count, room;
} Nodes;

static void nodes_add(Nodes *nodes, Node *node) {
    if (nodes->count == nodes->room) {
        nodes->room = nodes->room ? nodes->room * 2 : 16;
        nodes->nodes = resize(nodes->nodes, nodes->room * sizeof *nodes->nodes);
    }
    nodes->nodes[nodes->count++] = node;
}

// The records from `from` up to but without `to`, in order; NULL is no bound.
static void tree_collect(Node *node, const Value *from, const Value *to, Nodes *out) {
    if (!node) {
        return;
    }
    bool after = !from || text_compare(node->key, node->size, from->text, from->size) >= 0;
    bool before = !to || text_compare(node->key, node->size, to->text, to->size) < 0;
    if (after) {
        tree_collect(node->left, from, to, out);
    }
    if (after && before) {
        nodes_add(out, node);
    }
    if (before) {
        tree_collect(node->right, from, to, out);
    }
}

static bool tree_check(const Node *node, const Node **previous) {
    if (!node) {
        return true;
    }
    if (!tree_check(node->left, previous)) {
        return false;
    }
    if (*previous && text_compare((*previous)->key, (*previous)->size, node->key, node->size) >= 0) {
        return fail("the index is out of order at %s", node->key);
    }
    *previous = node;
    int lean = height(node->left) - height(node->right);
    if (lean < -1 || lean > 1) {
        return fail("the index leans at %s", node->key);
    }
    return tree_check(node->right, previous);
}

// ---------------------------------------------------------------- log file
//
// A record: checksum of the rest (4 bytes), type (1), size of key (4), size of value (4), key, value;
// numbers little-endian. A transaction ends with a record of type 'c'; what follows the last one after
// a crash is cut off.

static const char magic[8] = "STORE\0\1\n";
static const char *log_path;
static int log_fd = -1;
static uint64_t log_size;
static uint64_t log_records;

static uint32_t checksum(const unsigned char *data, size_t size) {
    static uint32_t table[256];
    if (!table[1]) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t rest = i;
            for (int bit = 0; bit < 8; bit++) {
                rest = rest & 1 ? 0xEDB88320u ^ (rest >> 1) : rest >> 1;
            }
            table[i] = rest;
        }
    }
    uint32_t sum = 0xFFFFFFFFu;
    for (size_t i = 0; i < size; i++) {
        sum = table[(sum ^ data[i]) & 0xFF] ^ (sum >> 8);
    }
    return ~sum;
}

static void put_u32(Buffer *out, uint32_t number) {
    unsigned char bytes[4] = {number & 0xFF, number >> 8 & 0xFF, number >> 16 & 0xFF, number >> 24};
    buffer_append(out, bytes, 4);
}

static uint32_t get_u32(const unsigned char *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void encode_value(Buffer *out, const Value *value) {
    char kind = "nirt"[value->kind];
    buffer_append(out, &kind, 1);
    if (value->kind == INTEGER) {
        buffer_append(out, &value->integer, 8);
    } else if (value->kind == REAL) {
        buffer_append(out, &value->real, 8);
    } else if (value->kind == TEXT) {
        buffer_append(out, value->text, value->size);
    }
}

static bool decode_value(const char *data, size_t size, Value *value) {
    if (size == 1 && data[0] == 'n') {
        *value = nil();
    } else if (size == 9 && data[0] == 'i') {
        *value = integer(0);
        memcpy(&value->integer, data + 1, 8);
    } else if (size == 9 && data[0] == 'r') {
        *value = real(0);
        memcpy(&value->real, data + 1, 8);
    } else if (size >= 1 && data[0] == 't') {
        *value = text(data + 1, size - 1);
    } else {
        return fail("a value in the log has no known kind");
    }
    return true;
}

static void encode_record(Buffer *out, char type, const char *key, size_t key_size, const Value *value) {
    Buffer encoded = {0}, body = {0};
    if (value) {
        encode_value(&encoded, value);
    }
    buffer_append(&body, &type, 1);
    put_u32(&body, (uint32_t)key_size);
    put_u32(&body, (uint32_t)encoded.size);
    buffer_append(&body, key, key_size);
    buffer_append(&body, encoded.data, encoded.size);
    put_u32(out, checksum((const unsigned char *)body.data, body.size));
    buffer_append(out, body.data, body.size);
    buffer_free(&encoded);
    buffer_free(&body);
}

static bool write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written <= 0) {
            return fail("writing: %s", strerror(errno));
        }
        data += written;
        size -= (size_t)written;
    }
    return true;
}

static bool read_file(int fd, Buffer *out) {
    char chunk[512];
    for (;;) {
        ssize_t size = read(fd, chunk, sizeof chunk);
        if (size < 0) {
            return fail("reading: %s", strerror(errno));
        }
        if (size == 0) {
            return true;
        }
        buffer_append(out, chunk, (size_t)size);
    }
}

typedef struct {
    char type;
    const char *key;
    size_t key_size;
    const char *value;
    size_t value_size;
    size_t total;
} Record;

static bool next_record(const char *data, size_t size, Record *record) {
    if (size < 13) {
        return false;
    }
    const unsigned char *bytes = (const unsigned char *)data;
    record->type = data[4];
    record->key_size = get_u32(bytes + 5);
    record->value_size = get_u32(bytes + 9);
    if (record->key_size > size - 13 || record->value_size > size - 13 - record->key_size) {
        return false;
    }
    record->total = 13 + record->key_size + record->value_size;
    record->key = data + 13;
    record->value = record->key + record->key_size;
    return get_u32(bytes) == checksum(bytes + 4, record->total - 4);
}

static bool apply(const Record *record) {
    Value value;
    if (record->type == 's') {
        if (!decode_value(record->value, record->value_size, &value)) {
            return false;
        }
        root = tree_insert(root, record->key, record->key_size, value);
    } else if (record->type == 'd') {
        root = tree_remove(root, record->key, record->key_size);
    }
    return true;
}

// Applies whole transactions only; returns where the last one ends.
static size_t replay(const Buffer *log) {
    size_t end = sizeof magic, position = end;
    Record record;
    while (next_record(log->data + position, log->size - position, &record)) {
        position += record.total;
        if (record.type != 'c') {
            continue;
        }
        size_t at = end;
        while (at < position && next_record(log->data + at, position - at, &record)) {
            if (!apply(&record)) {
                return end;
            }
            at += record.total;
            log_records++;
        }
        end = position;
    }
    return end;
}

static bool open_log(const char *path) {
    log_path = path;
    log_fd = open(path, O_RDWR | O_CREAT, 0644);
    if (log_fd < 0) {
        return fail("%s: %s", path, strerror(errno));
    }
    Buffer log = {0};
    if (!read_file(log_fd, &log)) {
        return false;
    }
    if (log.size == 0) {
        log_size = sizeof magic;
        return write_all(log_fd, magic, sizeof magic);
    }
    if (log.size < sizeof magic || memcmp(log.data, magic, sizeof magic) != 0) {
        buffer_free(&log);
        return fail("%s is not a store", path);
    }
    log_size = replay(&log);
    if (log_size < log.size) {
        printf("recovered: %zu bytes of an unfinished transaction dropped\n", log.size - (size_t)log_size);
        if (ftruncate(log_fd, (off_t)log_size) != 0) {
            return fail("truncating: %s", strerror(errno));
        }
    }
    buffer_free(&log);
    return lseek(log_fd, (off_t)log_size, SEEK_SET) >= 0 || fail("seeking: %s", strerror(errno));
}

// ---------------------------------------------------------------- transactions

typedef struct Undo {
    char *key;
    size_t size;
    bool existed;
    Value value;
    struct Undo *next;
} Undo;

static Undo *undo_list;
static Buffer pending;
static uint64_t pending_records;
static bool in_transaction;

static void remember(const char *key, size_t size) {
    Node *node = tree_find(key, size);
    Undo *undo = allocate(sizeof *undo);
    *undo = (Undo){.key = copy_text(key, size), .size = size, .existed = node != NULL, .next = undo_list};
    undo->value = node ? value_copy(&node->value) : nil();
    undo_list = undo;
}

static void forget_undo(void) {
    while (undo_list) {
        Undo *undo = undo_list;
        undo_list = undo->next;
        release(undo->key);
        value_free(&undo->value);
        release(undo);
    }
    buffer_free(&pending);
    pending_records = 0;
}

static bool commit(void) {
    if (pending_records > 0) {
        encode_record(&pending, 'c', "", 0, NULL);
        if (!write_all(log_fd, pending.data, pending.size) || fsync(log_fd) != 0) {
            return false;
        }
        log_size += pending.size;
        log_records += pending_records + 1;
    }
    forget_undo();
    return true;
}

static void rollback(void) {
    for (Undo *undo = undo_list; undo; undo = undo->next) {
        if (undo->existed) {
            root = tree_insert(root, undo->key, undo->size, value_copy(&undo->value));
        } else {
            root = tree_remove(root, undo->key, undo->size);
        }
    }
    forget_undo();
}

static void store_set(const char *key, size_t size, Value value) {
    remember(key, size);
    encode_record(&pending, 's', key, size, &value);
    pending_records++;
    root = tree_insert(root, key, size, value);
}

static bool store_delete(const char *key, size_t size) {
    if (!tree_find(key, size)) {
        return false;
    }
    remember(key, size);
    encode_record(&pending, 'd', key, size, NULL);
    pending_records++;
    root = tree_remove(root, key, size);
    return true;
}

// A new log with the present records alone takes the place of the old one.
static bool compact(void) {
    char path[512];
    snprintf(path, sizeof path, "%s.new", log_path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) {
        return fail("%s: %s", path, strerror(errno));
    }
    Buffer out = {0};
    Nodes all = {0};
    buffer_append(&out, magic, sizeof magic);
    tree_collect(root, NULL, NULL, &all);
    for (size_t i = 0; i < all.count; i++) {
        encode_record(&out, 's', all.nodes[i]->key, all.nodes[i]->size, &all.nodes[i]->value);
    }
    encode_record(&out, 'c', "", 0, NULL);
    bool done = write_all(fd, out.data, out.size) && fsync(fd) == 0 && close(fd) == 0;
    if (done && rename(path, log_path) != 0) {
        done = fail("renaming: %s", strerror(errno));
    }
    if (done) {
        close(log_fd);
        log_fd = open(log_path, O_RDWR | O_APPEND);
        printf("compacted %llu bytes to %zu\n", (unsigned long long)log_size, out.size);
        log_size = out.size;
        log_records = all.count + 1;
        done = log_fd >= 0 || fail("%s: %s", log_path, strerror(errno));
    }
    release(all.nodes);
    buffer_free(&out);
    return done;
}

// ---------------------------------------------------------------- query language: tokens

typedef enum { END, NAME, NUMBER, STRING, SYMBOL } TokenKind;

typedef struct {
    TokenKind kind;
    const char *start;
    size_t size;
    Value value;
} Token;

static const char *source;
static Token token;

static bool is_symbol(const char *symbol) {
    return token.kind == SYMBOL && token.size == strlen(symbol) && !memcmp(token.start, symbol, token.size);
}

static bool is_word(const char *word) {
    return token.kind == NAME && token.size == strlen(word) && !memcmp(token.start, word, token.size);
}

static bool read_number(void) {
    char *end_integer, *end_real;
    errno = 0;
    long long whole = strtoll(token.start, &end_integer, 10);
    bool too_large = errno == ERANGE;
    double fraction = strtod(token.start, &end_real);
    bool is_real = end_real > end_integer || too_large;
    token.value = is_real ? real(fraction) : integer(whole);
    token.kind = NUMBER;
    source = is_real ? end_real : end_integer;
    token.size = (size_t)(source - token.start);
    return true;
}

static bool read_string(void) {
    Buffer out = {0};
    for (source++; *source && *source != '"'; source++) {
        char c = *source;
        if (c == '\\' && source[1]) {
            c = *++source;
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        buffer_append(&out, &c, 1);
    }
    if (*source != '"') {
        buffer_free(&out);
        return fail("a text is not closed");
    }
    source++;
    token.kind = STRING;
    token.size = (size_t)(source - token.start);
    token.value = text(out.size ? out.data : "", out.size);
    buffer_free(&out);
    return true;
}

static bool advance(void) {
    value_free(&token.value);
    while (isspace((unsigned char)*source)) {
        source++;
    }
    token.start = source;
    token.size = 0;
    if (!*source || *source == '#') {
        token.kind = END;
        return true;
    }
    if (isdigit((unsigned char)*source)) {
        return read_number();
    }
    if (*source == '"') {
        return read_string();
    }
    if (isalpha((unsigned char)*source) || *source == '_') {
        while (isalnum((unsigned char)*source) || strchr("_.:", *source)) {
            if (!*source) {
                break;
            }
            source++;
        }
        token.kind = NAME;
    } else {
        const char *pairs[] = {"<=", ">=", "!=", "=="};
        size_t size = 1;
        for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
            if (!strncmp(source, pairs[i], 2)) {
                size = 2;
            }
        }
        source += size;
        token.kind = SYMBOL;
    }
    token.size = (size_t)(source - token.start);
    return true;
}

static bool expected(const char *what) {
    if (token.kind == END) {
        return fail("%s expected at the end", what);
    }
    return fail("%s expected before '%.*s'", what, (int)token.size, token.start);
}

static bool skip_word(const char *word, bool *found) {
    *found = is_word(word);
    return *found ? advance() : true;
}

// ---------------------------------------------------------------- query language: expressions

typedef struct Expression {
    enum { CONSTANT, KEY, VALUE, UNARY, BINARY, CALL } kind;
    char operator[12];
    Value value;
    struct Expression *arguments[3];
    int count;
} Expression;

static Expression *make_expression(int kind) {
    Expression *expression = allocate(sizeof *expression);
    memset(expression, 0, sizeof *expression);
    expression->kind = kind;
    return expression;
}

static void expression_free(Expression *expression) {
    if (expression) {
        for (int i = 0; i < expression->count; i++) {
            expression_free(expression->arguments[i]);
        }
        value_free(&expression->value);
        release(expression);
    }
}

static int depth;
static Expression *parse_expression(int level);

static Expression *give_up(Expression *expression) {
    expression_free(expression);
    return NULL;
}

static Expression *parse_call(Expression *call) {
    if (!advance()) {
        return give_up(call);
    }
    while (!is_symbol(")")) {
        if (call->count == 3) {
            fail("%s has too many arguments", call->operator);
            return give_up(call);
        }
        Expression *argument = parse_expression(0);
        if (!argument) {
            return give_up(call);
        }
        call->arguments[call->count++] = argument;
        if (is_symbol(",")) {
            if (!advance()) {
                return give_up(call);
            }
        } else if (!is_symbol(")")) {
            expected("')'");
            return give_up(call);
        }
    }
    return advance() ? call : give_up(call);
}

static Expression *parse_name(void) {
    Expression *expression;
    if (is_word("key") || is_word("value")) {
        expression = make_expression(is_word("key") ? KEY : VALUE);
    } else if (is_word("nil")) {
        expression = make_expression(CONSTANT);
    } else {
        expression = make_expression(CALL);
        snprintf(expression->operator, sizeof expression->operator, "%.*s", (int)token.size, token.start);
        if (!advance()) {
            return give_up(expression);
        }
        if (!is_symbol("(")) {
            expected("'('");
            return give_up(expression);
        }
        return parse_call(expression);
    }
    return advance() ? expression : give_up(expression);
}

static Expression *parse_unary(const char *operator) {
    Expression *expression = make_expression(UNARY);
    strcpy(expression->operator, operator);
    if (!advance()) {
        return give_up(expression);
    }
    // `not` binds more loosely than comparisons, the sign more tightly than anything.
    Expression *argument = parse_expression(*operator== 'n' ? 2 : 5);
    if (!argument) {
        return give_up(expression);
    }
    expression->arguments[expression->count++] = argument;
    return expression;
}

static Expression *parse_primary(void) {
    if (token.kind == NUMBER || token.kind == STRING) {
        Expression *expression = make_expression(CONSTANT);
        expression->value = value_copy(&token.value);
        return advance() ? expression : give_up(expression);
    }
    if (is_word("not")) {
        return parse_unary("not");
    }
    if (is_symbol("-")) {
        return parse_unary("-");
    }
    if (token.kind == NAME) {
        return parse_name();
    }
    if (is_symbol("(")) {
        if (!advance()) {
            return NULL;
        }
        Expression *expression = parse_expression(0);
        if (expression && !is_symbol(")")) {
            expected("')'");
            return give_up(expression);
        }
        return expression && advance() ? expression : give_up(expression);
    }
    expected("an expression");
    return NULL;
}

// From the loosest to the tightest.
static const char *levels[5][8] = {
    {"or"},
    {"and"},
    {"==", "=", "!=", "<", "<=", ">", ">=", "like"},
    {"+", "-", "&"},
    {"*", "/", "%"},
};

static const char *operator_of(int level) {
    for (int i = 0; i < 8 && levels[level][i]; i++) {
        if (is_symbol(levels[level][i]) || is_word(levels[level][i])) {
            return levels[level][i];
        }
    }
    return NULL;
}

static Expression *parse_expression(int level) {
    if (level == 5) {
        if (++depth > 100) {
            depth--;
            fail("the expression is nested too deeply");
            return NULL;
        }
        Expression *primary = parse_primary();
        depth--;
        return primary;
    }
    Expression *left = parse_expression(level + 1);
    const char *operator;
    while (left && (operator= operator_of(level))) {
        Expression *both = make_expression(BINARY);
        strcpy(both->operator, operator);
        both->arguments[both->count++] = left;
        Expression *right = advance() ? parse_expression(level + 1) : NULL;
        if (!right) {
            return give_up(both);
        }
        both->arguments[both->count++] = right;
        left = both;
    }
    return left;
}

// ---------------------------------------------------------------- query language: evaluation

static bool evaluate(const Expression *expression, const Node *node, Value *result);

// `%` stands for any text, `_` for any one character.
static bool like(const char *data, size_t size, const char *pattern, size_t pattern_size) {
    size_t at = 0, in_pattern = 0, star = SIZE_MAX, resume = 0;
    while (at < size) {
        if (in_pattern < pattern_size && pattern[in_pattern] == '%') {
            star = in_pattern++;
            resume = at;
        } else if (in_pattern < pattern_size && (pattern[in_pattern] == '_' || pattern[in_pattern] == data[at])) {
            in_pattern++;
            at++;
        } else if (star != SIZE_MAX) {
            in_pattern = star + 1;
            at = ++resume;
        } else {
            return false;
        }
    }
    while (in_pattern < pattern_size && pattern[in_pattern] == '%') {
        in_pattern++;
    }
    return in_pattern == pattern_size;
}

static bool join(const Value *a, const Value *b, Value *result) {
    if (a->kind != TEXT || b->kind != TEXT) {
        return fail("& takes texts");
    }
    Buffer out = {0};
    buffer_append(&out, a->text, a->size);
    buffer_append(&out, b->text, b->size);
    *result = text(out.data, out.size);
    buffer_free(&out);
    return true;
}

static bool whole_arithmetic(char operator, int64_t a, int64_t b, Value *result) {
    int64_t number = 0;
    bool overflow = false;
    switch (operator) {
    case '+':
        overflow = __builtin_add_overflow(a, b, &number);
        break;
    case '-':
        overflow = __builtin_sub_overflow(a, b, &number);
        break;
    case '*':
        overflow = __builtin_mul_overflow(a, b, &number);
        break;
    default:
        if (b == 0) {
            return fail("division by zero");
        }
        overflow = a == INT64_MIN && b == -1;
        number = overflow ? 0 : operator== '/' ? a / b : a % b;
    }
    *result = integer(number);
    return !overflow || fail("the integers overflow");
}

static bool arithmetic(const char *operator, const Value *a, const Value *b, Value *result) {
    if (*operator== '&') {
        return join(a, b, result);
    }
    if (!is_number(a) || !is_number(b)) {
        return fail("%s takes numbers", operator);
    }
    if (a->kind == INTEGER && b->kind == INTEGER) {
        return whole_arithmetic(*operator, a->integer, b->integer, result);
    }
    double x = as_real(a), y = as_real(b);
    if (y == 0.0 && (*operator== '/' || *operator== '%')) {
        return fail("division by zero");
    }
    *result = real(*operator== '+'   ? x + y
                   : *operator== '-' ? x - y
                   : *operator== '*' ? x * y
                   : *operator== '/' ? x / y
                                     : fmod(x, y));
    return true;
}

static bool apply_binary(const char *operator, const Value *a, const Value *b, Value *result) {
    if (strchr("+-*/%&", *operator)) {
        return arithmetic(operator, a, b, result);
    }
    if (!strcmp(operator, "like")) {
        if (a->kind != TEXT || b->kind != TEXT) {
            return fail("like takes texts");
        }
        *result = boolean(like(a->text, a->size, b->text, b->size));
        return true;
    }
    int order = value_compare(a, b);
    bool equal = operator[1] == '=';
    *result = boolean(*operator== '<'   ? order < 0 || (equal && order == 0)
                      : *operator== '>' ? order > 0 || (equal && order == 0)
                      : *operator== '!' ? order != 0
                                        : order == 0);
    return true;
}

static bool evaluate_binary(const Expression *expression, const Node *node, Value *result) {
    const char *operator= expression->operator;
    Value a, b;
    if (!evaluate(expression->arguments[0], node, &a)) {
        return false;
    }
    if (!strcmp(operator, "and") || !strcmp(operator, "or")) {
        bool truth = is_true(&a);
        value_free(&a);
        if (truth == (*operator== 'o')) {
            *result = boolean(truth);
            return true;
        }
        if (!evaluate(expression->arguments[1], node, &b)) {
            return false;
        }
        *result = boolean(is_true(&b));
        value_free(&b);
        return true;
    }
    if (!evaluate(expression->arguments[1], node, &b)) {
        value_free(&a);
        return false;
    }
    bool done = apply_binary(operator, &a, &b, result);
    value_free(&a);
    value_free(&b);
    return done;
}

static bool evaluate_unary(const Expression *expression, const Node *node, Value *result) {
    Value value;
    if (!evaluate(expression->arguments[0], node, &value)) {
        return false;
    }
    if (*expression->operator== 'n') {
        *result = boolean(!is_true(&value));
        value_free(&value);
        return true;
    }
    Value zero = integer(0);
    bool done = arithmetic("-", &zero, &value, result);
    value_free(&value);
    return done;
}

static bool call_text(const char *name, const Value *arguments, int count, Value *result) {
    const Value *subject = &arguments[0];
    if (!strcmp(name, "len") && count == 1) {
        *result = integer((int64_t)subject->size);
        return true;
    }
    if ((!strcmp(name, "upper") || !strcmp(name, "lower") || !strcmp(name, "reverse")) && count == 1) {
        *result = text(subject->text, subject->size);
        for (size_t i = 0; i < subject->size; i++) {
            unsigned char c = (unsigned char)subject->text[i];
            size_t at = *name == 'r' ? subject->size - 1 - i : i;
            result->text[at] = (char)(*name == 'u' ? toupper(c) : *name == 'l' ? tolower(c) : c);
        }
        return true;
    }
    if (!strcmp(name, "substr") && count == 3 && arguments[1].kind == INTEGER && arguments[2].kind == INTEGER) {
        int64_t size = (int64_t)subject->size, from = arguments[1].integer, length = arguments[2].integer;
        from = from < 0 ? 0 : from > size ? size : from;
        length = length < 0 ? 0 : length > size - from ? size - from : length;
        *result = text(subject->text + from, (size_t)length);
        return true;
    }
    if (!strcmp(name, "number") && count == 1) {
        char *end;
        double number = strtod(subject->text, &end);
        *result = end == subject->text ? nil() : number == floor(number) ? integer((int64_t)number) : real(number);
        return true;
    }
    return fail("no function %s for a text", name);
}

static bool call_function(const char *name, const Value *arguments, int count, Value *result) {
    if (count == 0) {
        return fail("%s needs an argument", name);
    }
    const Value *subject = &arguments[0];
    if (!strcmp(name, "text") && count == 1) {
        char printed[64] = "nil";
        if (subject->kind == TEXT) {
            *result = value_copy(subject);
            return true;
        }
        if (subject->kind == INTEGER) {
            snprintf(printed, sizeof printed, "%lld", (long long)subject->integer);
        } else if (subject->kind == REAL) {
            snprintf(printed, sizeof printed, "%.10g", subject->real);
        }
        *result = text(printed, strlen(printed));
        return true;
    }
    if (!strcmp(name, "kind") && count == 1) {
        static const char *kinds[] = {"nil", "integer", "real", "text"};
        *result = text(kinds[subject->kind], strlen(kinds[subject->kind]));
        return true;
    }
    if (subject->kind == TEXT) {
        return call_text(name, arguments, count, result);
    }
    if (is_number(subject) && count == 1) {
        if (!strcmp(name, "sqrt")) {
            *result = real(sqrt(as_real(subject)));
            return true;
        }
        if (!strcmp(name, "floor")) {
            *result = integer((int64_t)floor(as_real(subject)));
            return true;
        }
        if (!strcmp(name, "abs")) {
            *result = subject->kind == REAL ? real(fabs(subject->real)) : integer(llabs(subject->integer));
            return true;
        }
    }
    return fail("no function %s for such arguments", name);
}

static bool evaluate_call(const Expression *expression, const Node *node, Value *result) {
    Value arguments[3];
    int ready = 0;
    bool done = true;
    while (done && ready < expression->count) {
        done = evaluate(expression->arguments[ready], node, &arguments[ready]);
        ready += done;
    }
    done = done && call_function(expression->operator, arguments, ready, result);
    while (ready > 0) {
        value_free(&arguments[--ready]);
    }
    return done;
}

static bool evaluate(const Expression *expression, const Node *node, Value *result) {
    switch (expression->kind) {
    case CONSTANT:
        *result = value_copy(&expression->value);
        return true;
    case KEY:
    case VALUE:
        if (!node) {
            return fail("there is no record here");
        }
        *result = expression->kind == KEY ? text(node->key, node->size) : value_copy(&node->value);
        return true;
    case UNARY:
        return evaluate_unary(expression, node, result);
    case BINARY:
        return evaluate_binary(expression, node, result);
    default:
        return evaluate_call(expression, node, result);
    }
}

// ---------------------------------------------------------------- statements

static bool at_end(void) { return token.kind == END || expected("nothing more"); }

static bool parse_key(Value *key) {
    if (token.kind == STRING) {
        *key = value_copy(&token.value);
    } else if (token.kind == NAME || token.kind == NUMBER) {
        *key = text(token.start, token.size);
    } else {
        return expected("a key");
    }
    if (!advance()) {
        value_free(key);
        return false;
    }
    return true;
}

// The records that a `where` clause leaves, all of them without one.
static bool parse_where(Nodes *out) {
    bool filtered;
    if (!skip_word("where", &filtered)) {
        return false;
    }
    Expression *condition = filtered ? parse_expression(0) : NULL;
    if (filtered && !condition) {
        return false;
    }
    Nodes all = {0};
    bool done = true;
    tree_collect(root, NULL, NULL, &all);
    for (size_t i = 0; i < all.count && done; i++) {
        Value truth = integer(1);
        done = !condition || evaluate(condition, all.nodes[i], &truth);
        if (done && is_true(&truth)) {
            nodes_add(out, all.nodes[i]);
        }
        value_free(&truth);
    }
    expression_free(condition);
    release(all.nodes);
    return done;
}

static bool do_set(void) {
    Value key, value;
    if (!parse_key(&key)) {
        return false;
    }
    Expression *expression = parse_expression(0);
    bool done = expression && at_end() && evaluate(expression, tree_find(key.text, key.size), &value);
    if (done) {
        store_set(key.text, key.size, value);
    }
    expression_free(expression);
    value_free(&key);
    return done;
}

static bool do_get(void) {
    Value key;
    if (!parse_key(&key)) {
        return false;
    }
    Node *node = tree_find(key.text, key.size);
    bool done = at_end() && (node || fail("no key %s", key.text));
    if (done) {
        value_write(stdout, &node->value);
        putchar('\n');
    }
    value_free(&key);
    return done;
}

static bool do_del(void) {
    Value key;
    if (!parse_key(&key)) {
        return false;
    }
    bool done = at_end() && (store_delete(key.text, key.size) || fail("no key %s", key.text));
    value_free(&key);
    return done;
}

static bool do_rename(void) {
    Value from, to;
    if (!parse_key(&from)) {
        return false;
    }
    if (!parse_key(&to)) {
        value_free(&from);
        return false;
    }
    Node *node = tree_find(from.text, from.size);
    bool done = at_end() && (node || fail("no key %s", from.text));
    if (done) {
        Value value = value_copy(&node->value);
        store_delete(from.text, from.size);
        store_set(to.text, to.size, value);
    }
    value_free(&from);
    value_free(&to);
    return done;
}

static void show(const Node *node) {
    printf("%s = ", node->key);
    value_write(stdout, &node->value);
    putchar('\n');
}

static bool do_scan(void) {
    Value from = nil(), to = nil();
    bool done = (token.kind == END || parse_key(&from)) && (token.kind == END || parse_key(&to)) && at_end();
    if (done) {
        Nodes found = {0};
        tree_collect(root, from.kind ? &from : NULL, to.kind ? &to : NULL, &found);
        for (size_t i = 0; i < found.count; i++) {
            show(found.nodes[i]);
        }
        release(found.nodes);
    }
    value_free(&from);
    value_free(&to);
    return done;
}

typedef struct {
    Node *node;
    Value order;
} Row;

static bool descending;

static int compare_rows(const void *a, const void *b) {
    const Row *x = a, *y = b;
    int order = value_compare(&x->order, &y->order);
    if (order == 0) {
        order = text_compare(x->node->key, x->node->size, y->node->key, y->node->size);
    }
    return descending ? -order : order;
}

static bool sort_nodes(Nodes *nodes, const Expression *by) {
    Row *rows = allocate(nodes->count * sizeof *rows);
    size_t ready = 0;
    bool done = true;
    while (done && ready < nodes->count) {
        rows[ready].node = nodes->nodes[ready];
        done = evaluate(by, nodes->nodes[ready], &rows[ready].order);
        ready += done;
    }
    if (done) {
        qsort(rows, ready, sizeof *rows, compare_rows);
    }
    for (size_t i = 0; i < ready; i++) {
        nodes->nodes[i] = rows[i].node;
        value_free(&rows[i].order);
    }
    release(rows);
    return done;
}

static bool parse_order(Nodes *nodes) {
    bool ordered, by;
    if (!skip_word("order", &ordered) || !ordered) {
        return !ordered;
    }
    if (!skip_word("by", &by) || !by) {
        return by ? false : expected("by");
    }
    Expression *expression = parse_expression(0);
    if (!expression) {
        return false;
    }
    bool done = skip_word("desc", &descending) && sort_nodes(nodes, expression);
    expression_free(expression);
    return done;
}

static bool parse_limit(Nodes *nodes) {
    bool limited;
    if (!skip_word("limit", &limited) || !limited) {
        return !limited;
    }
    if (token.kind != NUMBER || token.value.kind != INTEGER) {
        return expected("a number");
    }
    if ((uint64_t)token.value.integer < nodes->count) {
        nodes->count = (size_t)token.value.integer;
    }
    return advance();
}

static bool do_select(void) {
    Expression *expression = parse_expression(0);
    Nodes found = {0};
    bool done = expression && parse_where(&found) && parse_order(&found) && parse_limit(&found) && at_end();
    for (size_t i = 0; done && i < found.count; i++) {
        Value value;
        done = evaluate(expression, found.nodes[i], &value);
        if (done) {
            value_write(stdout, &value);
            putchar('\n');
            value_free(&value);
        }
    }
    expression_free(expression);
    release(found.nodes);
    return done;
}

static bool do_count(void) {
    Nodes found = {0};
    bool done = parse_where(&found) && at_end();
    if (done) {
        printf("%zu\n", found.count);
    }
    release(found.nodes);
    return done;
}

static bool fold(const char *name, Value *total, Value *value) {
    if (total->kind == NIL) {
        *total = value_copy(value);
    } else if (!strcmp(name, "min") || !strcmp(name, "max")) {
        int order = value_compare(value, total);
        if (*(name + 1) == 'i' ? order < 0 : order > 0) {
            value_free(total);
            *total = value_copy(value);
        }
    } else {
        return arithmetic("+", total, value, total);
    }
    return true;
}

static bool do_aggregate(const char *name) {
    Expression *expression = parse_expression(0);
    Nodes found = {0};
    Value total = nil();
    bool done = expression && parse_where(&found) && at_end();
    for (size_t i = 0; done && i < found.count; i++) {
        Value value;
        done = evaluate(expression, found.nodes[i], &value);
        if (done) {
            done = fold(name, &total, &value);
            value_free(&value);
        }
    }
    if (done && !strcmp(name, "avg") && is_number(&total)) {
        total = real(as_real(&total) / (double)found.count);
    }
    if (done) {
        value_write(stdout, &total);
        putchar('\n');
    }
    value_free(&total);
    expression_free(expression);
    release(found.nodes);
    return done;
}

static bool do_update(void) {
    Expression *expression = parse_expression(0);
    Nodes found = {0};
    bool done = expression && parse_where(&found) && at_end();
    for (size_t i = 0; done && i < found.count; i++) {
        Value value;
        done = evaluate(expression, found.nodes[i], &value);
        if (done) {
            store_set(found.nodes[i]->key, found.nodes[i]->size, value);
        }
    }
    if (done) {
        printf("%zu updated\n", found.count);
    }
    expression_free(expression);
    release(found.nodes);
    return done;
}

static bool do_delete(void) {
    Nodes found = {0};
    if (!is_word("where")) {
        return expected("where");
    }
    bool done = parse_where(&found) && at_end();
    // Removing one record frees its node but moves no other.
    for (size_t i = 0; done && i < found.count; i++) {
        char *key = copy_text(found.nodes[i]->key, found.nodes[i]->size);
        store_delete(key, found.nodes[i]->size);
        release(key);
    }
    if (done) {
        printf("%zu deleted\n", found.count);
    }
    release(found.nodes);
    return done;
}

static bool do_print(void) {
    Value value;
    Expression *expression = parse_expression(0);
    bool done = expression && at_end() && evaluate(expression, NULL, &value);
    if (done) {
        value_write(stdout, &value);
        putchar('\n');
        value_free(&value);
    }
    expression_free(expression);
    return done;
}

static bool do_export(void) {
    Value path;
    if (!parse_key(&path)) {
        return false;
    }
    FILE *file = at_end() ? fopen(path.text, "w") : NULL;
    bool done = file || fail("%s: %s", path.text, strerror(errno));
    if (file) {
        Nodes all = {0};
        tree_collect(root, NULL, NULL, &all);
        for (size_t i = 0; i < all.count; i++) {
            fprintf(file, "set \"%s\" ", all.nodes[i]->key);
            value_write(file, &all.nodes[i]->value);
            fputc('\n', file);
        }
        done = fclose(file) == 0;
        printf("%zu exported\n", all.count);
        release(all.nodes);
    }
    value_free(&path);
    return done;
}

static bool run_script(FILE *file, bool *all_done);

static bool do_import(void) {
    Value path;
    if (!parse_key(&path)) {
        return false;
    }
    FILE *file = at_end() ? fopen(path.text, "r") : NULL;
    bool done = file || fail("%s: %s", path.text, strerror(errno)), all_done = true;
    if (file) {
        done = run_script(file, &all_done) && (all_done || fail("%s: some lines failed", path.text));
        fclose(file);
    }
    value_free(&path);
    return done;
}

static bool do_check(void) {
    struct stat info;
    const Node *previous = NULL;
    if (!tree_check(root, &previous)) {
        return false;
    }
    if (fstat(log_fd, &info) != 0 || (uint64_t)info.st_size != log_size) {
        return fail("the log has %lld bytes instead of %llu", (long long)info.st_size, (unsigned long long)log_size);
    }
    puts("sound");
    return true;
}

static bool do_stats(void) {
    printf("%zu records, height %d, %llu log records in %llu bytes\n", records, height(root),
           (unsigned long long)log_records, (unsigned long long)log_size);
    return true;
}

static bool do_transaction(const char *name) {
    bool begins = !strcmp(name, "begin");
    if (begins == in_transaction) {
        return fail(begins ? "a transaction is open already" : "no transaction is open");
    }
    in_transaction = begins;
    if (!strcmp(name, "rollback")) {
        rollback();
    }
    return true;
}

static bool dispatch(const char *name) {
    static const struct {
        const char *name;
        bool (*run)(void);
    } statements[] = {
        {"set", do_set},       {"get", do_get},       {"del", do_del},       {"rename", do_rename},
        {"scan", do_scan},     {"count", do_count},   {"select", do_select}, {"update", do_update},
        {"delete", do_delete}, {"print", do_print},   {"export", do_export}, {"import", do_import},
        {"check", do_check},   {"stats", do_stats},   {"compact", compact},
    };
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        if (!strcmp(name, statements[i].name)) {
            return statements[i].run();
        }
    }
    if (!strcmp(name, "sum") || !strcmp(name, "min") || !strcmp(name, "max") || !strcmp(name, "avg")) {
        return do_aggregate(name);
    }
    if (!strcmp(name, "begin") || !strcmp(name, "commit") || !strcmp(name, "rollback")) {
        return do_transaction(name);
    }
    return fail("no statement %s", name);
}

static bool run_statement(const char *line) {
    char name[16];
    source = line;
    if (!advance()) {
        return false;
    }
    if (token.kind == END) {
        return true;
    }
    if (token.kind != NAME) {
        return expected("a statement");
    }
    snprintf(name, sizeof name, "%.*s", (int)token.size, token.start);
    bool was_in_transaction = in_transaction;
    bool done = advance() && dispatch(name);
    if (!in_transaction) {
        // A statement outside of a transaction is one by itself.
        if (done) {
            return commit();
        }
        if (!was_in_transaction) {
            rollback();
        }
    }
    return done;
}

static bool read_line(FILE *file, Buffer *line) {
    int c;
    line->size = 0;
    while ((c = fgetc(file)) != EOF && c != '\n') {
        char byte = (char)c;
        buffer_append(line, &byte, 1);
    }
    bool any = c != EOF || line->size > 0;
    buffer_append(line, "", 1);
    return any;
}

static bool run_script(FILE *file, bool *all_done) {
    static int nesting;
    Buffer line = {0};
    if (nesting == 4) {
        return fail("scripts import each other too deeply");
    }
    nesting++;
    for (int number = 1; read_line(file, &line); number++) {
        if (!run_statement(line.data)) {
            printf("line %d: %s\n", number, error_text);
            *all_done = false;
        }
    }
    nesting--;
    buffer_free(&line);
    return true;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: store LOGFILE [SCRIPT]\n");
        return 64;
    }
    FILE *script = argc > 2 ? fopen(argv[2], "r") : stdin;
    if (!script) {
        fprintf(stderr, "store: %s: %s\n", argv[2], strerror(errno));
        return 66;
    }
    if (!open_log(argv[1])) {
        fprintf(stderr, "store: %s\n", error_text);
        return 65;
    }
    bool all_done = true;
    run_script(script, &all_done);
    if (in_transaction) {
        rollback();
    }
    value_free(&token.value);
    tree_free(root);
    if (live_blocks != 0) {
        fprintf(stderr, "store: %zu blocks were never released\n", live_blocks);
        return 71;
    }
    return all_done ? 0 : 1;
}
