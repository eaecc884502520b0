/* Whether verified code reads only slots that it has written: what lies on the stack besides is other
   functions', of other modules and stores as well, and code from a file is not to learn of it. Lowering
   keeps to that, so this is asked of such code alone.

   What is written on each way to a word is followed through the code until nothing changes; a call writes its
   results and takes everything above. A slot may be read as a number, or as a reference to an exception, which
   only the clause of a handler writes and only `throw_ref` reads; zero is both. Code that is too large for it, or
   in a wide frame, is not found closed. */

#include <stdlib.h>
#include <string.h>

#include "opcodes.h"
#include "verify.h"
#include "words.h"

/* Rounds until nothing changes, and parts of states that clauses may take up. The largest functions of large
   programs go beyond: they are made anew from their bodies. */
#define MOST_ROUNDS 32
#define MOST_WORK (UINT64_C(1) << 22)

typedef struct Flow {
    const Code *code;
    const Scope *scope;
    /* For each word, which of the states is that of its head, from 1; 0 for none. */
    uint32_t *targets;
    uint32_t target_count;
    /* A set of slots has so many parts of 64. A state has two: the slots that may be read as numbers, and
       behind it those that may be read as exceptions. The states of targets, and whether anything came to them. */
    uint32_t parts;
    uint64_t *states, *now, *thrown;
    uint8_t *reached;
    /* Parts that were taken to clauses, to all of which any word may throw, and slots that were moved in rows. */
    uint64_t work;
    int live, changed, open;
} Flow;

enum kind { NUMBER = 1, EXCEPTION = 2, ZERO = NUMBER | EXCEPTION };

static int kind_of(const Flow *f, uint64_t slot) {
    int number = f->now[slot / 64] >> slot % 64 & 1, exception = f->now[f->parts + slot / 64] >> slot % 64 & 1;
    return (number ? NUMBER : 0) | (exception ? EXCEPTION : 0);
}

static void need(Flow *f, uint64_t first, uint64_t count) {
    for (uint64_t slot = first; slot < first + count; slot++)
        if (!(kind_of(f, slot) & NUMBER)) f->open = 1;
}

static void put(const Flow *f, uint64_t *state, uint64_t first, uint64_t count, int kind) {
    for (uint64_t slot = first; slot < first + count; slot++) {
        uint64_t bit = UINT64_C(1) << slot % 64, *number = state + slot / 64, *exception = number + f->parts;
        *number = kind & NUMBER ? *number | bit : *number & ~bit;
        *exception = kind & EXCEPTION ? *exception | bit : *exception & ~bit;
    }
}

static void cut_set(const Flow *f, uint64_t *set, uint64_t first) {
    uint64_t part = first / 64;
    set[part] &= (UINT64_C(1) << first % 64) - 1;
    memset(set + part + 1, 0, (f->parts - part - 1) * 8);
}

static void cut(const Flow *f, uint64_t *state, uint64_t first) {
    cut_set(f, state, first);
    cut_set(f, state + f->parts, first);
}

static uint64_t *state_of(const Flow *f, uint32_t number) { return f->states + (uint64_t)number * 2 * f->parts; }

/* What is written on this way to a target as well stays written there. */
static void meet(Flow *f, int64_t target, const uint64_t *from) {
    uint32_t number = f->targets[target] - 1;
    uint64_t *state = state_of(f, number);
    if (!f->reached[number]) {
        f->reached[number] = 1;
        f->changed = 1;
        memcpy(state, from, f->parts * 16);
        return;
    }
    for (uint32_t i = 0; i < 2 * f->parts; i++) {
        if (state[i] & ~from[i]) f->changed = 1;
        state[i] &= from[i];
    }
}

static void mark(Flow *f, int64_t word) {
    if (!f->targets[word]) f->targets[word] = ++f->target_count;
}

static const TypeInfo *called(const Flow *f, const Instr *instr, int immediate) {
    if (immediate == IMMEDIATE_FUNCTION) return f->scope->funcs[instr->imm];
    if (immediate == IMMEDIATE_TAG) return f->scope->tags[instr->imm];
    return f->scope->types[(uint32_t)instr->imm];
}

/* To each clause that may catch what the word throws; what lies from `above` on is not the function's any more. */
static void throws(Flow *f, uint32_t at, uint64_t above) {
    for (uint32_t i = 0; i < f->code->handler_count; i++) {
        const Handler *handler = &f->code->handlers[i];
        if (at < handler->start || at >= handler->end) continue;
        for (uint32_t j = 0; j < handler->count; j++) {
            const Clause *clause = &handler->clauses[j];
            if ((f->work += f->parts) > MOST_WORK) { f->open = 1; return; }
            uint64_t values = clause->tag >= 0 ? f->scope->tags[clause->tag]->param_slots : 0;
            memcpy(f->thrown, f->now, f->parts * 16);
            cut(f, f->thrown, above);
            put(f, f->thrown, clause->height, values, NUMBER);
            if (clause->with_ref) put(f, f->thrown, clause->height + values, 1, EXCEPTION);
            meet(f, clause->target, f->thrown);
        }
    }
}

static int is_call(const struct word *word) {
    int immediate = word->immediate;
    return immediate == IMMEDIATE_FUNCTION || immediate == IMMEDIATE_TAG || immediate == IMMEDIATE_SIGNATURE_TABLE;
}

static void call(Flow *f, uint32_t at, const Instr *instr, const struct word *word) {
    const TypeInfo *type = called(f, instr, word->immediate);
    need(f, instr->a, type->param_slots);
    if (word->b) need(f, instr->b, 1);
    /* When it throws, what lies above its arguments is its own. */
    throws(f, at, instr->a);
    cut(f, f->now, instr->a);
    if (word->flow != FLOW_NEVER) put(f, f->now, instr->a, type->result_slots, NUMBER);
}

static void throw_again(Flow *f, uint32_t at, const Instr *instr) {
    if (!(kind_of(f, instr->a) & EXCEPTION)) f->open = 1;
    throws(f, at, f->code->near_slots);
}

static void move(Flow *f, uint64_t to, uint64_t from) {
    int kind = kind_of(f, from);
    if (!kind) f->open = 1;
    put(f, f->now, to, 1, kind);
}

/* From lower slots to higher ones: the row is moved down, and may overlap. */
static void move_row(Flow *f, const Instr *instr) {
    uint64_t distance = instr->imm & UINT32_MAX, count = instr->imm >> 32;
    if ((f->work += count) > MOST_WORK) { f->open = 1; return; }
    for (uint64_t slot = instr->a; slot < instr->a + count; slot++) move(f, slot, slot + distance);
}

static void read_and_write(Flow *f, const Instr *instr, const struct word *word) {
    uint64_t all = word->immediate == IMMEDIATE_RESULTS ? instr->imm : 1;
    uint64_t slots[3] = {instr->a, instr->b, instr->c};
    uint64_t counts[3] = {word->a == VARIES ? all : word->a, word->b, word->c};
    for (int i = 0; i < 3; i++)
        if (word->reads >> i & 1) need(f, slots[i], counts[i]);
    if (word->immediate == IMMEDIATE_SLOT) need(f, instr->imm, 1);
    if (word->immediate == IMMEDIATE_SLOTS) { need(f, instr->imm & 0xFFFF, 1); need(f, instr->imm >> 16, 1); }
    for (int i = 0; i < 3; i++)
        if (word->writes >> i & 1) put(f, f->now, slots[i], counts[i], NUMBER);
}

/* A word by itself, or the first of two in one. */
static void touch(Flow *f, uint32_t at, const Instr *instr, const struct word *word) {
    switch (word->first) {
    case OP_move: move(f, instr->a, instr->b); break;
    case OP_move2:
        move(f, instr->a, instr->b);
        move(f, instr->c, instr->imm);
        break;
    case OP_move_row: move_row(f, instr); break;
    case OP_throw_ref: throw_again(f, at, instr); break;
    default:
        if (is_call(word)) call(f, at, instr, word); else read_and_write(f, instr, word);
    }
}

static void follow(Flow *f, uint32_t at, const Instr *instr, const struct word *word) {
    touch(f, at, instr, word);
    if (word->immediate == IMMEDIATE_DISTANCE) meet(f, (int64_t)at + (int32_t)instr->imm, f->now);
    if (word->flow == FLOW_JUMPS)
        for (uint64_t i = 0; i <= instr->imm; i++) meet(f, at + 1 + (int64_t)i, f->now);
    if (word->flow == FLOW_NEVER || word->flow == FLOW_JUMPS) f->live = 0;
}

static uint32_t size_of(const struct word *word) {
    return word->flow == FLOW_DATA || word->flow == FLOW_LANES ? 2 : 1;
}

static void round_through(Flow *f) {
    const Code *code = f->code;
    memset(f->now, 0, f->parts * 16);
    put(f, f->now, 0, code->param_slots, NUMBER);
    put(f, f->now, code->param_slots, code->zeros, ZERO);
    f->live = 1;
    f->changed = 0;
    for (uint32_t at = 0; at < code->word_count && !f->open;) {
        const Instr *instr = code->words + at;
        const struct word *word = &words[instr->op];
        if (f->targets[at]) {
            uint32_t number = f->targets[at] - 1;
            if (f->live) meet(f, at, f->now);
            f->live = f->reached[number];
            memcpy(f->now, state_of(f, number), f->parts * 16);
        }
        if (f->live) follow(f, at, instr, word);
        at += size_of(word);
    }
}

/* 0 where the frame is a wide one. */
static int find_targets(Flow *f) {
    const Code *code = f->code;
    if (code->window_count) return 0;
    for (uint32_t at = 0; at < code->word_count;) {
        const Instr *instr = code->words + at;
        const struct word *word = &words[instr->op];
        int immediate = word->immediate;
        if (word->flow == FLOW_LEAVE || (immediate >= IMMEDIATE_FRAME && immediate <= IMMEDIATE_SHIFT)) return 0;
        if (immediate == IMMEDIATE_DISTANCE) mark(f, (int64_t)at + (int32_t)instr->imm);
        if (word->flow == FLOW_JUMPS)
            for (uint64_t i = 0; i <= instr->imm; i++) mark(f, at + 1 + (int64_t)i);
        at += size_of(word);
    }
    for (uint32_t i = 0; i < code->handler_count; i++)
        for (uint32_t j = 0; j < code->handlers[i].count; j++) mark(f, code->handlers[i].clauses[j].target);
    return 1;
}

static int run(Flow *f) {
    f->states = malloc(((uint64_t)f->target_count * f->parts + 1) * 16);
    f->reached = calloc(f->target_count + 1, 1);
    f->now = calloc(f->parts, 16);
    f->thrown = calloc(f->parts, 16);
    if (!f->states || !f->reached || !f->now || !f->thrown) return 0;
    for (int round = 0; round < MOST_ROUNDS; round++) {
        round_through(f);
        if (f->open) return 0;
        if (!f->changed) return 1;
    }
    return 0;
}

int tw_closed(const Code *code, const Scope *scope) {
    Flow f = {.code = code, .scope = scope, .parts = ((uint64_t)code->near_slots + TW_ABOVE) / 64 + 1};
    if (((uint64_t)f.parts + code->handler_count) * code->word_count > MOST_WORK) return 0;
    f.targets = calloc(code->word_count, sizeof *f.targets);
    int closed = f.targets && find_targets(&f) && run(&f);
    free(f.targets);
    free(f.states);
    free(f.reached);
    free(f.now);
    free(f.thrown);
    return closed;
}
