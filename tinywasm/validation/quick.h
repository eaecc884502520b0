/* The usual instructions of usual code, several times as fast as the rules take them: types that are the same,
 * labels without operands, small indices. What is not so is left to the rules, untouched. */

#ifndef TINYWASM_QUICK_H
#define TINYWASM_QUICK_H

#include "operands.h"

/* Before the body's last bytes it stops, so that no instruction that it reads can lead out of it. */
enum { QUICK_MARGIN = 16 };

struct quick {
    const uint8_t *pc;
    valtype *sp;
    /* The innermost block's lowest operand. */
    const valtype *floor;
};

/* An integer of at most `most` bytes, of which every encoding of so few is well-formed; NULL for a longer one. */
static inline const uint8_t *behind(const uint8_t *pc, int most) {
    while (*pc >= 0x80) {
        if (!--most) return NULL;
        pc++;
    }
    return pc + 1;
}

static inline bool quick_index(const uint8_t **pc, uint32_t *out) {
    const uint8_t *at = *pc;
    uint32_t value = *at & 0x7F;
    for (int shift = 7; *at++ >= 0x80; shift += 7) {
        if (shift > 21) return false;
        value |= (uint32_t)(*at & 0x7F) << shift;
    }
    *out = value;
    *pc = at;
    return true;
}

/* Behind the immediate of a row with a closed signature; NULL where it is unusual. */
static inline const uint8_t *quick_immediate(const body *b, const struct row *row, const uint8_t *pc) {
    switch (row->immediates[0]) {
    case IMMEDIATE_NONE: return pc;
    case IMMEDIATE_i32: return behind(pc, 4);
    case IMMEDIATE_i64: return behind(pc, 8);
    case IMMEDIATE_f32: return pc + 4;
    case IMMEDIATE_f64: return pc + 8;
    case IMMEDIATE_memarg1: case IMMEDIATE_memarg2: case IMMEDIATE_memarg4: case IMMEDIATE_memarg8:
        if (*pc > row->immediates[0] - IMMEDIATE_memarg1 || !b->module->memory_count) return NULL;
        return behind(pc + 1, 4);
    default: return NULL;
    }
}

static inline bool quick_closed(const body *b, struct quick *q, const struct row *row) {
    const uint8_t *after = quick_immediate(b, row, q->pc + 1);
    unsigned params = row->params;
    TRY(after && !row->immediates[1] && row->results < 2 && q->sp - q->floor >= (ptrdiff_t)params);
    valtype address = b->module->memory_count ? b->module->memories[0] : BOT;
    valtype *sp = q->sp - params;
    for (unsigned i = 0; i < params; i++)
        TRY(sp[i] == (row->types[i] == ADDRESS ? address : row->types[i]));
    if (row->results) *sp++ = row->types[params] == ADDRESS ? address : row->types[params];
    q->sp = sp;
    q->pc = after;
    return true;
}

static inline bool quick_local(const body *b, struct quick *q, enum rule rule) {
    const uint8_t *after = q->pc + 1;
    uint32_t index;
    TRY(quick_index(&after, &index) && index < b->unpacked && b->ready[index]);
    valtype type = b->locals[index];
    if (rule == RULE_local_get) {
        *q->sp++ = type;
    } else {
        TRY(q->sp != q->floor && q->sp[-1] == type);
        q->sp -= rule == RULE_local_set;
    }
    q->pc = after;
    return true;
}

static inline bool quick_global(const body *b, struct quick *q, enum rule rule) {
    const uint8_t *after = q->pc + 1;
    uint32_t index;
    TRY(quick_index(&after, &index) && index < b->module->global_count);
    const struct global *at = &b->module->globals[index];
    if (rule == RULE_global_get) *q->sp++ = at->content;
    else {
        TRY(at->mutable && q->sp != q->floor && q->sp[-1] == at->content);
        q->sp--;
    }
    q->pc = after;
    return true;
}

static inline bool quick_select(struct quick *q) {
    TRY(q->sp - q->floor >= 3 && q->sp[-1] == I32 && q->sp[-2] == q->sp[-3] && !is_ref(q->sp[-2]));
    q->sp -= 2;
    q->pc++;
    return true;
}

static inline bool quick_call(const body *b, struct quick *q) {
    const struct module *m = b->module;
    const uint8_t *after = q->pc + 1;
    uint32_t index;
    TRY(quick_index(&after, &index) && index < m->func_count);
    const struct functype *type = &m->types[m->funcs[index]].function;
    TRY(q->sp - q->floor >= (ptrdiff_t)type->param_count && type->result_count < 2);
    valtype *sp = q->sp - type->param_count;
    for (uint32_t i = 0; i < type->param_count; i++) TRY(sp[i] == type->params[i]);
    if (type->result_count) *sp++ = type->results[0];
    q->sp = sp;
    q->pc = after;
    return true;
}

static inline bool quick_branch(body *b, struct quick *q, enum rule rule) {
    uint32_t index = q->pc[1];
    TRY(index < 0x80 && index < b->depth);
    const struct frame *to = &b->frames[b->depth - 1 - index];
    TRY(!(to->kind == RULE_loop ? to->type.param_count : to->type.result_count));
    if (rule == RULE_br_if) {
        TRY(q->sp != q->floor && q->sp[-1] == I32);
        q->sp--;
    } else {
        q->sp = b->operands + top(b)->height;
        top(b)->unreachable = true;
    }
    q->pc += 2;
    return true;
}

static inline bool quick_enter(body *b, struct quick *q, enum rule rule) {
    TRY(q->pc[1] == EMPTY_BLOCK && b->depth < MAX_FRAMES);
    if (rule == RULE_if) {
        TRY(q->sp != q->floor && q->sp[-1] == I32);
        q->sp--;
    }
    struct frame *frame = &b->frames[b->depth++];
    *frame = (struct frame){no_type, (uint32_t)(q->sp - b->operands), b->init_count, rule, false, BOT};
    q->floor = q->sp;
    q->pc += 2;
    return true;
}

/* The end of a block, not of the body, which has neither parameters nor results. */
static inline bool quick_leave(body *b, struct quick *q) {
    const struct frame *frame = top(b);
    TRY(b->depth > 1 && q->sp == q->floor && !frame->type.result_count && !frame->type.param_count);
    TRY(b->init_count == frame->inits);
    b->depth--;
    q->floor = b->operands + top(b)->height;
    q->pc++;
    return true;
}

static inline bool quick_step(body *b, struct quick *q) {
    const struct row *row = &b->module->rows[*q->pc];
    enum rule rule = row->rule;
    switch (rule) {
    case RULE_CLOSED: return quick_closed(b, q, row);
    case RULE_local_get: case RULE_local_set: case RULE_local_tee: return quick_local(b, q, rule);
    case RULE_global_get: case RULE_global_set: return quick_global(b, q, rule);
    case RULE_select: return row->immediates[0] == IMMEDIATE_NONE && quick_select(q);
    case RULE_call: return quick_call(b, q);
    case RULE_br: case RULE_br_if: return quick_branch(b, q, rule);
    case RULE_block: case RULE_loop: case RULE_if: return quick_enter(b, q, rule);
    case RULE_end: return quick_leave(b, q);
    default: return false;
    }
}

/* As many instructions as there are usual ones; the body has not ended. */
static void quickly(body *b) {
    struct quick q = {b->pc, b->operands + b->height, b->operands + top(b)->height};
    const valtype *highest = b->operands + MAX_OPERANDS;
    while (b->end - q.pc >= QUICK_MARGIN && q.sp < highest && quick_step(b, &q)) {}
    b->pc = q.pc;
    b->height = (uint32_t)(q.sp - b->operands);
}

#endif
