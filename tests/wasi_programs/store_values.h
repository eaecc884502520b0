// Part of store.c. Memory that is counted, errors, and the values of the store.

#pragma once

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
