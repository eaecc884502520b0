/* The usual instructions of usual code, several times as fast as the rules take them: types that are the same,
 * labels without operands, small indices. What is not so is left to the rules, untouched. */

#ifndef TINYWASM_QUICK_H
#define TINYWASM_QUICK_H

#include "operands.h"

enum quick_kind {
    QUICK_NONE,
    /* From operands to a result, by how many there are. */
    QUICK_UNARY, QUICK_BINARY,
    QUICK_I32, QUICK_I64, QUICK_F32, QUICK_F64,
    QUICK_LOAD, QUICK_STORE,
    QUICK_LOCAL_GET, QUICK_LOCAL_SET, QUICK_LOCAL_TEE, QUICK_GLOBAL_GET, QUICK_GLOBAL_SET,
    QUICK_DROP, QUICK_SELECT, QUICK_CALL, QUICK_BR, QUICK_BR_IF, QUICK_BLOCK, QUICK_END,
};

/* Before the body's last bytes it stops, so that no instruction that it reads can lead out of it. */
enum { QUICK_MARGIN = 16 };

static enum quick_kind kind_of_rule(const struct row *row) {
    switch ((enum rule)row->rule) {
    case RULE_local_get: return QUICK_LOCAL_GET;
    case RULE_local_set: return QUICK_LOCAL_SET;
    case RULE_local_tee: return QUICK_LOCAL_TEE;
    case RULE_global_get: return QUICK_GLOBAL_GET;
    case RULE_global_set: return QUICK_GLOBAL_SET;
    case RULE_drop: return QUICK_DROP;
    case RULE_select: return row->immediates[0] == IMMEDIATE_NONE ? QUICK_SELECT : QUICK_NONE;
    case RULE_call: return QUICK_CALL;
    case RULE_br: return QUICK_BR;
    case RULE_br_if: return QUICK_BR_IF;
    case RULE_block: case RULE_loop: case RULE_if: return QUICK_BLOCK;
    case RULE_end: return QUICK_END;
    default: return QUICK_NONE;
    }
}

static enum quick_kind kind_of_closed(const struct module *m, const struct row *row) {
    bool constant = !row->params && row->results == 1;
    if (row->immediates[1]) return QUICK_NONE;
    switch ((enum immediate)row->immediates[0]) {
    case IMMEDIATE_NONE:
        if (row->results != 1) return QUICK_NONE;
        return row->params == 1 ? QUICK_UNARY : row->params == 2 ? QUICK_BINARY : QUICK_NONE;
    case IMMEDIATE_i32: return constant ? QUICK_I32 : QUICK_NONE;
    case IMMEDIATE_i64: return constant ? QUICK_I64 : QUICK_NONE;
    case IMMEDIATE_f32: return constant ? QUICK_F32 : QUICK_NONE;
    case IMMEDIATE_f64: return constant ? QUICK_F64 : QUICK_NONE;
    case IMMEDIATE_memarg1: case IMMEDIATE_memarg2: case IMMEDIATE_memarg4: case IMMEDIATE_memarg8:
        if (!m->memory_count) return QUICK_NONE;
        if (row->params == 1 && row->results == 1) return QUICK_LOAD;
        return row->params == 2 && !row->results ? QUICK_STORE : QUICK_NONE;
    default: return QUICK_NONE;
    }
}

/* What of the rows of one byte is usual in this module. */
void prepare_module(struct module *m) {
    valtype address = m->memory_count ? m->memories[0] : BOT;
    for (int code = 0; code < 256; code++) {
        const struct row *row = &m->rows[code];
        struct quick_row *quick = &m->quick[code];
        quick->kind = row->rule == RULE_CLOSED ? kind_of_closed(m, row) : kind_of_rule(row);
        quick->rule = row->rule;
        quick->natural = row->immediates[0] - IMMEDIATE_memarg1;
        for (int i = 0; i < 3; i++) quick->types[i] = row->types[i] == ADDRESS ? address : row->types[i];
    }
}

/* Behind an index, which is `*out`; NULL where it is too long or too large. */
static inline const uint8_t *quick_index(const uint8_t *pc, uint32_t *out) {
    uint32_t value = *pc++;
    if (value >= 0x80) {
        value &= 0x7F;
        for (int shift = 7;; shift += 7) {
            uint32_t byte = *pc++;
            value |= (byte & 0x7F) << shift;
            if (byte < 0x80) {
                if (shift == 28 && byte > 0xF) return NULL;
                break;
            }
            if (shift == 28) return NULL;
        }
    }
    *out = value;
    return pc;
}

/* Behind a constant of 32 or 64 bits; NULL where it is longer than five or eight bytes, or too large. */
static inline const uint8_t *behind_constant(const uint8_t *pc, enum quick_kind kind) {
    const uint8_t *start = pc;
    while (*pc++ >= 0x80)
        if (pc - start == (kind == QUICK_I32 ? 5 : 8)) return NULL;
    if (kind == QUICK_I32 && pc - start == 5 && pc[-1] > 7 && pc[-1] < 0x78) return NULL;
    return pc;
}

/* As many instructions as there are usual ones; the body has not ended. */
static void quickly(body *b) {
    const struct module *m = b->module;
    if (b->end - b->pc < QUICK_MARGIN) return;
    const uint8_t *pc = b->pc, *last = b->end - QUICK_MARGIN, *after;
    valtype *sp = b->operands + b->height;
    const valtype *floor = b->operands + top(b)->height, *highest = b->operands + MAX_OPERANDS;
    const valtype *locals = b->locals;
    const uint8_t *ready = b->ready;
    const uint32_t unpacked = b->unpacked;
    uint32_t index;
    while (pc <= last && sp < highest) {
        const struct quick_row *row = &m->quick[*pc];
        switch ((enum quick_kind)row->kind) {
        case QUICK_LOCAL_GET:
            after = quick_index(pc + 1, &index);
            if (!after || index >= unpacked || !ready[index]) goto out;
            *sp++ = locals[index];
            pc = after;
            continue;
        case QUICK_LOCAL_SET:
        case QUICK_LOCAL_TEE:
            after = quick_index(pc + 1, &index);
            if (!after || index >= unpacked || !ready[index] || sp == floor || sp[-1] != locals[index]) goto out;
            sp -= row->kind == QUICK_LOCAL_SET;
            pc = after;
            continue;
        case QUICK_UNARY:
            if (sp == floor || sp[-1] != row->types[0]) goto out;
            sp[-1] = row->types[1];
            pc++;
            continue;
        case QUICK_BINARY:
            if (sp - floor < 2 || sp[-2] != row->types[0] || sp[-1] != row->types[1]) goto out;
            sp--;
            sp[-1] = row->types[2];
            pc++;
            continue;
        case QUICK_I32:
        case QUICK_I64:
            after = behind_constant(pc + 1, row->kind);
            if (!after) goto out;
            *sp++ = row->types[0];
            pc = after;
            continue;
        case QUICK_F32:
        case QUICK_F64:
            *sp++ = row->types[0];
            pc += row->kind == QUICK_F32 ? 5 : 9;
            continue;
        case QUICK_LOAD:
            after = quick_index(pc + 2, &index);
            if (!after || pc[1] > row->natural || sp == floor || sp[-1] != row->types[0]) goto out;
            sp[-1] = row->types[1];
            pc = after;
            continue;
        case QUICK_STORE:
            after = quick_index(pc + 2, &index);
            if (!after || pc[1] > row->natural || sp - floor < 2) goto out;
            if (sp[-2] != row->types[0] || sp[-1] != row->types[1]) goto out;
            sp -= 2;
            pc = after;
            continue;
        case QUICK_GLOBAL_GET:
            after = quick_index(pc + 1, &index);
            if (!after || index >= m->global_count) goto out;
            *sp++ = m->globals[index].content;
            pc = after;
            continue;
        case QUICK_GLOBAL_SET:
            after = quick_index(pc + 1, &index);
            if (!after || index >= m->global_count || !m->globals[index].mutable) goto out;
            if (sp == floor || sp[-1] != m->globals[index].content) goto out;
            sp--;
            pc = after;
            continue;
        case QUICK_DROP:
            if (sp == floor) goto out;
            sp--;
            pc++;
            continue;
        case QUICK_SELECT:
            if (sp - floor < 3 || sp[-1] != I32 || sp[-2] != sp[-3] || is_ref(sp[-2])) goto out;
            sp -= 2;
            pc++;
            continue;
        case QUICK_CALL: {
            after = quick_index(pc + 1, &index);
            if (!after || index >= m->func_count) goto out;
            const struct functype *type = &m->types[m->funcs[index]].function;
            uint32_t count = type->param_count;
            if (sp - floor < (ptrdiff_t)count || type->result_count > 1) goto out;
            for (uint32_t i = 0; i < count; i++)
                if (sp[(ptrdiff_t)i - (ptrdiff_t)count] != type->params[i]) goto out;
            sp -= count;
            if (type->result_count) *sp++ = type->results[0];
            pc = after;
            continue;
        }
        case QUICK_BR:
        case QUICK_BR_IF: {
            if (pc[1] >= 0x80 || pc[1] >= b->depth) goto out;
            const struct frame *to = &b->frames[b->depth - 1 - pc[1]];
            if (to->kind == RULE_loop ? to->type.param_count : to->type.result_count) goto out;
            if (row->kind == QUICK_BR_IF) {
                if (sp == floor || sp[-1] != I32) goto out;
                sp--;
            } else {
                sp = b->operands + top(b)->height;
                top(b)->unreachable = true;
            }
            pc += 2;
            continue;
        }
        case QUICK_BLOCK:
            if (pc[1] != EMPTY_BLOCK || b->depth == MAX_FRAMES) goto out;
            if (row->rule == RULE_if) {
                if (sp == floor || sp[-1] != I32) goto out;
                sp--;
            }
            b->frames[b->depth++] =
                (struct frame){no_type, (uint32_t)(sp - b->operands), b->init_count, row->rule, false, BOT};
            floor = sp;
            pc += 2;
            continue;
        case QUICK_END: {
            /* Of a block, not of the body, that has neither parameters nor results. */
            const struct frame *frame = top(b);
            if (b->depth == 1 || sp != floor || frame->type.result_count || frame->type.param_count) goto out;
            if (b->init_count != frame->inits) goto out;
            b->depth--;
            floor = b->operands + top(b)->height;
            pc++;
            continue;
        }
        case QUICK_NONE: goto out;
        }
    }
out:
    b->pc = pc;
    b->height = (uint32_t)(sp - b->operands);
}

#endif
