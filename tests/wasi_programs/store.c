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

#include "store_log.h"
#include "store_query.h"

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
