/* What the rules in `bodies.c` are made of: reading, subtyping, and operands. */

#ifndef TINYWASM_OPERANDS_H
#define TINYWASM_OPERANDS_H

#include "bodies.h"

#include <string.h>

#define TRY(condition) do { if (!(condition)) return false; } while (0)

typedef struct body body;

enum { REF_NULL = 0x63, REF = 0x64, EMPTY_BLOCK = 0x40 };

static const valtype nothing[1];
static const struct functype no_type = {nothing, nothing, 0, 0};

/* Reading. All of it stays before the body's end. */

static bool read_unsigned(body *b, unsigned bits, uint64_t *out) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < bits && b->pc < b->end; shift += 7) {
        uint8_t byte = *b->pc++, payload = byte & 0x7F;
        if (bits - shift < 7 && payload >> (bits - shift)) return false;
        value |= (uint64_t)payload << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

static bool read_signed(body *b, unsigned bits, int64_t *out) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < bits && b->pc < b->end; shift += 7) {
        uint8_t byte = *b->pc++;
        int payload = (byte & 0x3F) - (byte & 0x40);
        if (bits - shift < 7) {
            int limit = 1 << (bits - shift - 1);
            if (byte >= 0x80 || payload < -limit || payload >= limit) return false;
        }
        if (byte < 0x80) {
            *out = (int64_t)(value | (uint64_t)(int64_t)payload << shift);
            return true;
        }
        value |= (uint64_t)(byte & 0x7F) << shift;
    }
    return false;
}

static bool read_u32(body *b, uint32_t *out) {
    uint64_t value;
    if (b->pc < b->end && *b->pc < 0x80) {
        *out = *b->pc++;
        return true;
    }
    TRY(read_unsigned(b, 32, &value));
    *out = (uint32_t)value;
    return true;
}

static bool skip(body *b, size_t count) {
    TRY((size_t)(b->end - b->pc) >= count);
    b->pc += count;
    return true;
}

static uint32_t bit(uint32_t code) {
    return UINT32_C(1) << (code & 31);
}

static bool is_value_code(const body *b, uint32_t code) {
    return code < DEFINED && b->module->above[code];
}

static bool is_ref(valtype type) {
    uint32_t heap = type >> 1;
    return type != BOT && (heap < LEAST_NUMBER || heap >= DEFINED);
}

static bool is_defaultable(valtype type) {
    return !(is_ref(type) && type & NON_NULL);
}

static valtype defined(const struct module *m, uint32_t index) {
    return (DEFINED + m->types[index].canonical) << 1;
}

/* Heap types (section 5.3.3); the result is nullable. */
static bool read_heap(body *b, valtype *out) {
    const uint8_t *start = b->pc;
    int64_t value;
    TRY(read_signed(b, 33, &value));
    if (value >= 0) {
        TRY(value < b->module->type_count);
        *out = defined(b->module, (uint32_t)value);
        return true;
    }
    TRY(b->pc == start + 1 && *start < LEAST_NUMBER && is_value_code(b, *start));
    *out = (valtype)*start << 1;
    return true;
}

static bool read_value(body *b, valtype *out) {
    TRY(b->pc < b->end);
    uint8_t byte = *b->pc;
    if (byte == REF_NULL || byte == REF) {
        b->pc++;
        TRY(read_heap(b, out));
        *out |= byte == REF ? NON_NULL : 0;
        return true;
    }
    TRY(is_value_code(b, byte));
    b->pc++;
    *out = (valtype)byte << 1;
    return true;
}

/* Subtyping (section 3.3). */

static bool matches_heap(const struct module *m, uint32_t actual, uint32_t wanted) {
    if (actual == wanted || actual == BOT_REF >> 1) return true;
    if (actual < DEFINED) {
        if (wanted < DEFINED) return m->above[actual] & bit(wanted);
        return m->defined_below[m->types[wanted - DEFINED].composite] & bit(actual);
    }
    if (wanted < DEFINED) return m->defined_above[m->types[actual - DEFINED].composite] & bit(wanted);
    for (uint32_t index = actual - DEFINED; index != NO_PARENT; index = m->types[index].parent)
        if (index == wanted - DEFINED) return true;
    return false;
}

static bool matches_slow(const struct module *m, valtype actual, valtype wanted) {
    if (actual == BOT) return true;
    TRY(is_ref(actual) && is_ref(wanted));
    return (actual & NON_NULL || !(wanted & NON_NULL)) && matches_heap(m, actual >> 1, wanted >> 1);
}

static inline bool matches(const struct module *m, valtype actual, valtype wanted) {
    return actual == wanted || matches_slow(m, actual, wanted);
}

static bool match_all(const struct module *m, const valtype *actual, const valtype *wanted, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) TRY(matches(m, actual[i], wanted[i]));
    return true;
}

/* Operands. */

static inline struct frame *top(body *b) {
    return &b->frames[b->depth - 1];
}

static inline bool push(body *b, valtype type) {
    TRY(b->height < MAX_OPERANDS);
    b->operands[b->height++] = type;
    return true;
}

static bool push_all(body *b, const valtype *types, uint32_t count) {
    TRY(MAX_OPERANDS - b->height >= count);
    memcpy(b->operands + b->height, types, count * sizeof *types);
    b->height += count;
    return true;
}

static inline bool pop(body *b, valtype wanted) {
    if (b->height > top(b)->height) return matches(b->module, b->operands[--b->height], wanted);
    return top(b)->unreachable;
}

static bool pop_any(body *b, valtype *out) {
    if (b->height > top(b)->height) {
        *out = b->operands[--b->height];
        return true;
    }
    *out = BOT;
    return top(b)->unreachable;
}

static bool pop_ref(body *b, valtype *out) {
    TRY(pop_any(b, out));
    if (*out == BOT) *out = BOT_REF;
    return is_ref(*out);
}

/* How many of `count` operands are on the stack; unreachable code may have fewer. */
static bool at_hand(body *b, uint32_t count, uint32_t *there) {
    *there = b->height - top(b)->height;
    if (*there >= count) *there = count;
    return *there == count || top(b)->unreachable;
}

/* Whether the operands on top are as `wanted`; `there` is how many of them there are. */
static bool peek(body *b, const valtype *wanted, uint32_t count, uint32_t *there) {
    TRY(at_hand(b, count, there));
    return match_all(b->module, b->operands + b->height - *there, wanted + count - *there, *there);
}

static bool pop_all(body *b, const valtype *wanted, uint32_t count) {
    uint32_t there;
    TRY(peek(b, wanted, count, &there));
    b->height -= there;
    return true;
}

static bool pop_two(body *b, valtype first, valtype second) {
    return pop(b, second) && pop(b, first);
}

static bool pop_three(body *b, valtype first, valtype second, valtype third) {
    return pop(b, third) && pop_two(b, first, second);
}

#endif
