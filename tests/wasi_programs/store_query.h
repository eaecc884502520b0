// Part of store.c. The query language.

#pragma once

#include "store_index.h"

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
