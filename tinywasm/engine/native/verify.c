/* The verifier: every word of a function is held to its columns (`words.h`) before the loop runs it, whoever
   made it. Code that passes stays within its frame, its own words and the index spaces of its module, so that
   a mistake above it gives a wrong value and never an access to anything else.

   What a slot holds is not followed. The loop takes every content of a slot for a number as good as any
   other, with one exception: words that take a reference out of a slot believe that it is one. Such code is
   told apart (`references`) and is as good as the lowering that made it. Of such code, none is taken from a
   file but what throws again the exceptions that it caught, which `closed.c` follows.

   Three walks over the code, none of which looks at a word twice: the words in order, then the targets of
   branches, then the handlers. */

#include <stdlib.h>
#include <string.h>

#include "opcodes.h"
#include "verify.h"
#include "words.h"

/* What may be gone to: the head of a word, and neither data nor what only the word before may lead to. */
enum mark { MARK_HEAD, MARK_DATA, MARK_BEHIND };

typedef struct Verifier {
    const Code *code;
    const Scope *scope;
    const TypeInfo *type;
    uint8_t *marks;
    /* The word at hand, and the far locals of the frame. */
    uint32_t at, far;
    /* Where the base changes next, and what it is until then. */
    uint32_t window, base;
    int references;
} Verifier;

#define RULE(condition, text) do { if (!(condition)) return (text); } while (0)
#define KEEP(call) do { const char *broken_ = (call); if (broken_) return broken_; } while (0)

static uint32_t at_least_one(uint32_t slots) { return slots ? slots : 1; }

static uint32_t element_slots(const TypeInfo *type) { return type->element_size == 16 ? 2 : 1; }

/* Results are left where the arguments were. */
static uint64_t argument_slots(const TypeInfo *type) {
    return type->param_slots > type->result_slots ? type->param_slots : type->result_slots;
}

static const char *of_kind(const Scope *scope, uint64_t index, int kind, const TypeInfo **type) {
    RULE(index < scope->type_count, "a type that the module does not have");
    *type = scope->types[index];
    RULE((*type)->kind == kind, "a type of another kind");
    return NULL;
}

static int is_tail_call(int op) {
    return op == OP_return_call || op == OP_return_call_indirect || op == OP_return_call_ref;
}

static const char *check_call(Verifier *v, const Instr *instr, const TypeInfo *type, uint64_t *slots) {
    /* The caller reads the function's own results, which the callee of a tail call leaves for it. */
    RULE(!is_tail_call(instr->op) || strcmp(type->results, v->type->results) == 0,
         "a tail call to a function with other results");
    *slots = argument_slots(type);
    if (type->references) v->references |= TAKES_OTHERS;
    return NULL;
}

/* How many slots those of the word are whose number is not the same for all words of its opcode. */
static const char *check_aggregate(const Verifier *v, const Instr *instr, const struct word *word, uint64_t *slots) {
    const TypeInfo *type = NULL;
    uint32_t low = (uint32_t)instr->imm, high = (uint32_t)(instr->imm >> 32);
    int op = word->first;
    *slots = 1;
    switch (word->immediate) {
    case IMMEDIATE_STRUCTURE:
        KEEP(of_kind(v->scope, instr->imm, KIND_STRUCT, &type));
        *slots = at_least_one(type->slots);
        return NULL;
    case IMMEDIATE_STRUCTURE_FIELD: {
        uint32_t width = op == OP_struct_get128 || op == OP_struct_set128 ? 2 : 1;
        KEEP(of_kind(v->scope, high, KIND_STRUCT, &type));
        RULE(low < type->slots && width <= type->slots - low, "a field that the structure does not have");
        return NULL;
    }
    case IMMEDIATE_ARRAY:
        KEEP(of_kind(v->scope, instr->imm, KIND_ARRAY, &type));
        *slots = element_slots(type) + (op == OP_array_new ? 1 : op == OP_array_fill ? 3 : 0);
        return NULL;
    case IMMEDIATE_ARRAY_LENGTH:
        KEEP(of_kind(v->scope, low, KIND_ARRAY, &type));
        *slots = (uint64_t)high * element_slots(type) + !high;
        return NULL;
    case IMMEDIATE_ARRAY_DATA:
        RULE(high < v->scope->data_count, "a data segment that the module does not have");
        return of_kind(v->scope, low, KIND_ARRAY, &type);
    case IMMEDIATE_ARRAY_ELEM:
        RULE(high < v->scope->elem_count, "an element segment that the module does not have");
        return of_kind(v->scope, low, KIND_ARRAY, &type);
    default:
        RULE(!instr->c || low < v->scope->type_count, "a type that the module does not have");
        return NULL;
    }
}

static const char *check_table_call(Verifier *v, const Instr *instr, uint64_t *slots) {
    const TypeInfo *type;
    uint64_t table = instr->imm >> 32;
    KEEP(of_kind(v->scope, (uint32_t)instr->imm, KIND_FUNC, &type));
    RULE(table < v->scope->table_count, "a table that the module does not have");
    RULE(v->scope->calls[table], "a call through a table without functions");
    return check_call(v, instr, type, slots);
}

static const char *check_global(Verifier *v, uint64_t index, int set) {
    RULE(index < v->scope->global_count, "a global that the module does not have");
    RULE(!set || v->scope->globals[index] & GLOBAL_MUTABLE, "an immutable global that is set");
    if (v->scope->globals[index] & GLOBAL_REFERENCE) v->references |= TAKES_OTHERS;
    return NULL;
}

/* Two indices, the first of which is in the lower half. */
static const char *check_indices(uint64_t immediate, uint64_t low, uint64_t high) {
    RULE((uint32_t)immediate < low && immediate >> 32 < high, "an index that the module does not have");
    return NULL;
}

static const char *check_jumps(const Verifier *v, uint64_t more) {
    const Code *code = v->code;
    const Instr *jump = code->words + v->at + 1;
    RULE(more < code->word_count - v->at - 1, "a table of branches that ends behind the code");
    RULE(v->window == code->window_count || code->windows[v->window].start > v->at + 1 + more,
         "a frame pointer that does not move");
    for (uint64_t i = 0; i <= more; i++) RULE(jump[i].op == OP_jump, "a table of branches with another word in it");
    return NULL;
}

static const char *check_slots(const Verifier *v, uint64_t first, uint64_t count) {
    uint64_t end = (uint64_t)v->code->near_slots + TW_ABOVE - v->base;
    RULE(first < end && count <= end - first, "a slot beyond the frame");
    return NULL;
}

/* Slots that may lie out of reach, from the frame pointer on. */
static const char *check_place(const Verifier *v, int64_t place, uint64_t count) {
    int64_t below = (int64_t)v->far + v->base, above = (int64_t)v->code->near_slots + TW_ABOVE - v->base;
    RULE(place >= -below && place <= above - (int64_t)count, "a slot beyond the frame");
    return NULL;
}

static const char *check_frame(const Verifier *v, const Instr *instr) {
    uint64_t zeros = instr->imm >> 32;
    RULE(v->at == 0, "a frame that is made in the middle of the code");
    RULE(instr->a == v->code->param_slots, "another number of parameters than the function has");
    return check_slots(v, 0, instr->a + zeros);
}

/* Back to where the frame starts: there follows what leaves it, which nothing else leads to. */
static const char *check_leaving(Verifier *v, const Instr *instr) {
    RULE(instr->imm == (uint64_t)v->far + v->base, "another start of the frame");
    RULE(v->at + 1 < v->code->word_count, "the code may be run off its end");
    int op = instr[1].op;
    RULE(op == OP_return0 || is_tail_call(op), "a frame that is left for what is no return");
    RULE(op != OP_return0 || instr->b == v->code->result_slots, "another number of results than the function has");
    v->marks[v->at + 1] = MARK_BEHIND;
    return NULL;
}

static const char *check_shift(const Verifier *v, int64_t distance) {
    RULE(v->at + 1 < v->code->word_count, "the code may be run off its end");
    int64_t there = window_base(v->code, v->at + 1);
    RULE(there - (int64_t)v->base == distance, "a frame pointer that moves elsewhere than the windows say");
    return NULL;
}

/* The immediate, and how many slots those are that it tells the number of. */
static const char *check_immediate(Verifier *v, const Instr *instr, const struct word *word, uint64_t *slots) {
    const Scope *scope = v->scope;
    const TypeInfo *type;
    uint64_t imm = instr->imm;
    switch (word->immediate) {
    case IMMEDIATE_ANY: case IMMEDIATE_DISTANCE: return NULL;
    case IMMEDIATE_SLOT: return check_slots(v, imm, 1);
    case IMMEDIATE_SLOTS: KEEP(check_slots(v, imm & 0xFFFF, 1)); return check_slots(v, imm >> 16, 1);
    case IMMEDIATE_ROW:
        *slots = imm >> 32;
        return check_slots(v, instr->a + (imm & UINT32_MAX), *slots);
    case IMMEDIATE_OFFSET: RULE(imm <= UINT32_MAX, "an offset of more than 32 bits"); return NULL;
    case IMMEDIATE_ADDRESS: RULE(imm <= 2 * (uint64_t)UINT32_MAX, "an address of more than 33 bits"); return NULL;
    case IMMEDIATE_LANE2: RULE(imm < 2, "a lane that vectors do not have"); return NULL;
    case IMMEDIATE_LANE4: RULE(imm < 4, "a lane that vectors do not have"); return NULL;
    case IMMEDIATE_LANE8: RULE(imm < 8, "a lane that vectors do not have"); return NULL;
    case IMMEDIATE_LANE16: RULE(imm < 16, "a lane that vectors do not have"); return NULL;
    case IMMEDIATE_OFFSET_LANE2: RULE(imm >> 56 < 2, "a lane that vectors do not have"); return NULL;
    case IMMEDIATE_OFFSET_LANE4: RULE(imm >> 56 < 4, "a lane that vectors do not have"); return NULL;
    case IMMEDIATE_OFFSET_LANE8: RULE(imm >> 56 < 8, "a lane that vectors do not have"); return NULL;
    case IMMEDIATE_OFFSET_LANE16: RULE(imm >> 56 < 16, "a lane that vectors do not have"); return NULL;
    case IMMEDIATE_DISTANCES: return check_jumps(v, imm);
    case IMMEDIATE_FUEL: RULE(imm <= INT64_MAX, "fuel that is given"); return NULL;
    case IMMEDIATE_FUNCTION:
        RULE(imm < scope->func_count, "a function that the module does not have");
        return check_call(v, instr, scope->funcs[imm], slots);
    case IMMEDIATE_GLOBAL: return check_global(v, imm, 0);
    case IMMEDIATE_GLOBAL_SET: return check_global(v, imm, 1);
    case IMMEDIATE_MEMORY: case IMMEDIATE_FAR_MEMORY:
        RULE(imm < scope->memory_count, "a memory that the module does not have");
        return NULL;
    case IMMEDIATE_MEMORY_MEMORY: return check_indices(imm, scope->memory_count, scope->memory_count);
    case IMMEDIATE_DATA: return check_indices(imm, scope->data_count, 1);
    case IMMEDIATE_DATA_MEMORY: return check_indices(imm, scope->data_count, scope->memory_count);
    case IMMEDIATE_TABLE: RULE(imm < scope->table_count, "a table that the module does not have"); return NULL;
    case IMMEDIATE_TABLE_TABLE: return check_indices(imm, scope->table_count, scope->table_count);
    case IMMEDIATE_ELEM: return check_indices(imm, scope->elem_count, 1);
    case IMMEDIATE_ELEM_TABLE: return check_indices(imm, scope->elem_count, scope->table_count);
    case IMMEDIATE_TAG:
        RULE(imm < scope->tag_count, "a tag that the module does not have");
        return check_call(v, instr, scope->tags[imm], slots);
    case IMMEDIATE_SIGNATURE:
        KEEP(of_kind(scope, imm, KIND_FUNC, &type));
        return check_call(v, instr, type, slots);
    case IMMEDIATE_SIGNATURE_TABLE: return check_table_call(v, instr, slots);
    case IMMEDIATE_RESULTS: case IMMEDIATE_NO_RESULT: case IMMEDIATE_ONE_RESULT: {
        *slots = word->immediate == IMMEDIATE_RESULTS ? imm : word->immediate == IMMEDIATE_ONE_RESULT;
        RULE(*slots == v->code->result_slots || v->marks[v->at] == MARK_BEHIND,
             "another number of results than the function has");
        return NULL;
    }
    case IMMEDIATE_FRAME: return check_frame(v, instr);
    case IMMEDIATE_START: *slots = instr->b; return check_leaving(v, instr);
    case IMMEDIATE_PLACE: return check_place(v, (int64_t)imm, instr->c);
    case IMMEDIATE_SHIFT: return check_shift(v, (int64_t)imm);
    default: return check_aggregate(v, instr, word, slots);
    }
}

/* Field c, where it is no slot. */
static const char *check_third(const Verifier *v, const Instr *instr, const struct word *word) {
    switch (word->third) {
    case THIRD_FLAG: RULE(instr->c <= 1, "a flag that is neither 0 nor 1"); return NULL;
    case THIRD_BITS: RULE(instr->c == 8 || instr->c == 16, "a packed field of neither 8 nor 16 bits"); return NULL;
    case THIRD_SLOTS:
        RULE(instr->c == 1 || instr->c == 2, "a value of neither one slot nor two");
        return check_slots(v, instr->a, instr->c);
    case THIRD_MEMORY:
        if (instr->c != FAR_MEMORY) {
            RULE(instr->c < v->scope->memory_count, "a memory that the module does not have");
            return NULL;
        }
        RULE(v->at > 0 && v->marks[v->at - 1] != MARK_DATA && instr[-1].op == OP_wide_memory,
             "an access to the memory of the word before, which names none");
        return NULL;
    default: return NULL;
    }
}

/* The word behind the first of two in one. */
static const char *check_second(const Verifier *v, const Instr *instr, const struct word *word) {
    RULE(v->at + 1 < v->code->word_count, "the code may be run off its end");
    const Instr *second = instr + 1;
    RULE(second->op < OPCODE_COUNT && words[second->op].first == word->second, "two words in one, and another behind");
    uint64_t taken[] = {instr->a, second->a, second->b, second->c, second->imm};
    RULE(taken[word->taken] == instr->a, "two words in one that do not belong together");
    return NULL;
}

static const char *check_word(Verifier *v, const Instr *instr, const struct word *word) {
    uint64_t slots = 1;
    KEEP(check_immediate(v, instr, word, &slots));
    if (word->a) KEEP(check_slots(v, instr->a, word->a == VARIES ? slots : word->a));
    if (word->b) KEEP(check_slots(v, instr->b, word->b));
    if (word->c) KEEP(check_slots(v, instr->c, word->c == VARIES ? slots : word->c));
    if (word->third) KEEP(check_third(v, instr, word));
    if (word->second != OPCODE_COUNT) KEEP(check_second(v, instr, word));
    if (word->references) v->references |= instr->op == OP_throw_ref ? TAKES_EXCEPTIONS : TAKES_OTHERS;
    return NULL;
}

static const char *check_data(Verifier *v, const struct word *word) {
    RULE(v->at + 1 < v->code->word_count, "data that is cut off");
    v->marks[v->at + 1] = MARK_DATA;
    if (word->flow == FLOW_DATA) return NULL;
    const uint8_t *lanes = (const uint8_t *)(v->code->words + v->at + 1);
    for (int i = 0; i < 16; i++) RULE(lanes[i] < 32, "a lane that vectors do not have");
    return NULL;
}

static void follow_windows(Verifier *v) {
    const Code *code = v->code;
    while (v->window < code->window_count && code->windows[v->window].start <= v->at)
        v->base = code->windows[v->window++].base;
}

/* What runs into the next word comes there with the base that belongs to that. */
static const char *check_flow(Verifier *v, const struct word *word) {
    uint32_t before = v->base;
    int runs_on = word->flow == FLOW_NEXT || word->flow == FLOW_DATA || word->flow == FLOW_LANES;
    if (word->flow == FLOW_DATA || word->flow == FLOW_LANES) {
        KEEP(check_data(v, word));
        v->at++;
    }
    RULE(v->at + 1 < v->code->word_count || word->flow == FLOW_NEVER, "the code may be run off its end");
    v->at++;
    follow_windows(v);
    RULE(!runs_on || v->base == before || word->immediate == IMMEDIATE_SHIFT, "a frame pointer that does not move");
    return NULL;
}

static const char *check_words(Verifier *v) {
    const Code *code = v->code;
    follow_windows(v);
    while (v->at < code->word_count) {
        const Instr *instr = code->words + v->at;
        uint32_t here = v->at;
        RULE(instr->op < OPCODE_COUNT, "an opcode that there is not");
        RULE(instr->op != OP_compiled, "the way into machine code, which no function has among its words");
        const struct word *word = &words[instr->op];
        KEEP(check_word(v, instr, word));
        const char *broken = check_flow(v, word);
        if (broken) { v->at = here; return broken; }
    }
    return NULL;
}

static const char *check_target(const Verifier *v, int64_t target, uint32_t base) {
    RULE(target >= 0 && target < v->code->word_count, "a branch out of the code");
    RULE(v->marks[target] == MARK_HEAD, "a branch to what is no word of its own");
    RULE(window_base(v->code, (uint32_t)target) == base, "a branch to where the frame pointer is another");
    return NULL;
}

static const char *check_branches(Verifier *v) {
    const Code *code = v->code;
    v->window = v->base = 0;
    for (v->at = 0; v->at < code->word_count; v->at++) {
        const Instr *instr = code->words + v->at;
        if (v->marks[v->at] == MARK_DATA || words[instr->op].immediate != IMMEDIATE_DISTANCE) continue;
        follow_windows(v);
        KEEP(check_target(v, (int64_t)v->at + (int32_t)instr->imm, v->base));
    }
    return NULL;
}

static const char *check_clause(Verifier *v, const Clause *clause) {
    uint64_t slots = clause->with_ref;
    RULE(clause->with_ref <= 1, "a flag that is neither 0 nor 1");
    RULE(clause->tag >= -1 && clause->tag < (int64_t)v->scope->tag_count, "a tag that the module does not have");
    if (clause->tag >= 0) {
        slots += v->scope->tags[clause->tag]->param_slots;
        if (v->scope->tags[clause->tag]->references) v->references |= TAKES_OTHERS;
    }
    if (clause->with_ref) v->references |= TAKES_EXCEPTIONS;
    KEEP(check_target(v, clause->target, clause->base));
    RULE(clause->height + slots <= v->code->near_slots, "a slot beyond the frame");
    return NULL;
}

/* The innermost come first: none begins before one that stands behind it. */
static const char *check_handlers(Verifier *v) {
    const Code *code = v->code;
    for (uint32_t i = 0; i < code->handler_count; i++) {
        const Handler *handler = &code->handlers[i];
        v->at = handler->start;
        RULE(handler->start <= handler->end && handler->end <= code->word_count, "a handler beyond the code");
        RULE(i == 0 || handler->start <= handler[-1].start, "handlers in another order than from the innermost");
        for (uint32_t j = 0; j < handler->count; j++) KEEP(check_clause(v, &handler->clauses[j]));
    }
    return NULL;
}

static const char *check_sizes(Verifier *v) {
    const Code *code = v->code;
    RULE(code->word_count > 0, "code without words");
    RULE(code->param_slots == v->type->param_slots, "another number of parameters than the function has");
    RULE(code->result_slots == v->type->result_slots, "another number of results than the function has");
    RULE((uint64_t)code->param_slots + code->zeros <= code->near_slots && code->result_slots <= code->near_slots,
         "locals or results beyond the frame");
    uint32_t highest = 0, start = 0;
    for (uint32_t i = 0; i < code->window_count; i++) {
        const Window *window = &code->windows[i];
        RULE(window->start >= start, "windows out of order");
        start = window->start;
        if (window->base > highest) highest = window->base;
    }
    if (code->words[0].op == OP_wide_enter) {
        v->far = (uint32_t)code->words[0].imm;
        v->marks[0] = MARK_BEHIND;
        RULE(window_base(code, 0) == 0, "a frame that is made above its start");
    }
    RULE(highest <= code->near_slots, "a window beyond the frame");
    RULE((uint64_t)v->far + code->near_slots <= code->frame_slots, "a window beyond the frame");
    return NULL;
}

static const char *check_code(Verifier *v) {
    KEEP(check_sizes(v));
    KEEP(check_words(v));
    KEEP(check_branches(v));
    return check_handlers(v);
}

const char *tw_verify(const Code *code, const Scope *scope, const TypeInfo *type, uint32_t *word, int *references) {
    Verifier v = {.code = code, .scope = scope, .type = type, .references = type->references ? TAKES_OTHERS : 0};
    v.marks = calloc(code->word_count + 1, 1);
    if (!v.marks) { *references = -1; return ""; }
    const char *broken = check_code(&v);
    *word = v.at;
    *references = v.references;
    free(v.marks);
    return broken;
}
