/* Acceptance of function bodies: the algorithm of appendix 7.6 over compact types.
 *
 * accept_body says yes only to a body that is valid. No means "perhaps": the validator in Python, which
 * alone knows what to tell people, decides. Rows of the instruction table come from Python as they
 * stand there; only the rules and the immediate kinds listed here are known by name. */

#ifndef TINYWASM_BODIES_H
#define TINYWASM_BODIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rule_names.h"

/* A value type is a heap type (or number type) shifted left, or'ed with NON_NULL for such references.
 * Number types and abstract heap types are their byte of the binary format (section 5.3), a defined
 * type is DEFINED plus the least index of its definition in the module. */
typedef uint32_t valtype;

enum {
    NON_NULL = 1,
    BOT = 0,
    /* A reference of which unreachable code says no more than that it is one. */
    BOT_REF = 1 << 1 | NON_NULL,
    I32 = 0x7F << 1,
    I64 = 0x7E << 1,
    FUNCREF = 0x70 << 1,
    EXTERNREF = 0x6F << 1,
    ANYREF = 0x6E << 1,
    EXNREF = 0x69 << 1,
    LEAST_NUMBER = 0x7B,
    DEFINED = 0x80,
    /* In a row: the address type of the memory or table that the instruction names. */
    ADDRESS = 0xFF,
    NO_PARENT = 0xFFFFFFFF,
    /* How large a body may be in each respect to be looked at here, so that no body takes much memory, nor
     * more time than in Python. */
    MAX_OPERANDS = 1 << 16,
    MAX_FRAMES = 1 << 14,
    MAX_LOCALS_UNPACKED = 1 << 8,
    MAX_LABEL_OPERANDS = 1 << 20,
};

#define FOR_EACH_IMMEDIATE(X) \
    X(block) X(label) X(labels) X(func) X(type) X(local) X(global) X(table) X(mem) X(tag) X(data) X(elem) \
    X(memarg1) X(memarg2) X(memarg4) X(memarg8) X(memarg16) X(lane2) X(lane4) X(lane8) X(lane16) \
    X(i32) X(i64) X(f32) X(f64) X(v128) X(shuffle) X(heap) X(ref) X(refnull) X(types) X(catches) \
    X(field) X(count) X(cast)

enum immediate {
    IMMEDIATE_NONE,
#define X(name) IMMEDIATE_##name,
    FOR_EACH_IMMEDIATE(X)
#undef X
};

enum rule {
    /* A row that Python did not hand over: unknown, switched off, or with a rule not listed here. */
    RULE_NONE,
    RULE_CLOSED,
#define X(name) RULE_##name,
    FOR_EACH_RULE(X)
#undef X
};

enum { ROW_TYPES = 11, FIRST_PREFIX = 0xFB, PREFIXES = 3, PREFIXED_ROWS = 512 };
enum { ROWS = 256 + PREFIXES * PREFIXED_ROWS };

/* A row of the instruction table; `types` are the operands, then the results. */
struct row {
    uint8_t rule, immediates[2], params, results, types[ROW_TYPES];
};

/* The types of a block, function or label. */
struct functype {
    const valtype *params, *results;
    uint32_t param_count, result_count;
};

enum composite { COMPOSITE_FUNC, COMPOSITE_STRUCT, COMPOSITE_ARRAY };

/* A field of a structure or array. `type` is that on the stack, `packed` the width in bits or 0. */
struct field {
    valtype type;
    uint32_t mutable, packed;
};

/* A definition. `parent` is its supertype's canonical index, or NO_PARENT; `defaultable` says whether all
 * fields have a default value. */
struct definition {
    enum composite composite;
    uint32_t canonical, parent, field_count;
    uint8_t defaultable;
    struct functype function;
    const struct field *fields;
};

struct table {
    valtype element, address;
};

struct global {
    valtype content;
    uint32_t mutable;
};

/* As `quick.h` sees a row of one byte, in a module: what kind it is, and the operands, then the result. */
struct quick_row {
    uint8_t kind, rule, natural;
    valtype types[3];
};

/* A module's context. `rows` are those of one byte, then those behind each prefix. `funcs` and `tags` are
 * canonical type indices; `declared` says of each function whether ref.func may name it. `above[heap]` has a bit for each abstract heap type or number type that
 * the abstract one is a subtype of, `defined_above` and `defined_below` those above and below
 * definitions of a composite kind; the bit is that of the code's last five bits. */
struct module {
    struct row rows[ROWS];
    uint32_t above[DEFINED], defined_above[3], defined_below[3];
    struct definition *types;
    uint32_t *funcs, *tags;
    uint8_t *declared;
    struct table *tables;
    valtype *memories, *elems;
    struct global *globals;
    uint32_t type_count, func_count, tag_count, table_count, memory_count, elem_count, global_count;
    uint32_t data_count;
    bool has_data_count;
    struct quick_row quick[256];
};

struct frame {
    struct functype type;
    uint32_t height, inits;
    enum rule kind;
    bool unreachable;
    /* What `type.results` points at where a block type is a lone value type. */
    valtype single;
};

struct local_run {
    uint64_t end;
    valtype type;
};

/* Working memory of one body after the other. */
struct body {
    const struct module *module;
    const uint8_t *pc, *end;
    const struct functype *type;
    uint32_t height, depth, init_count, unpacked;
    valtype address;
    struct local_run *runs;
    uint32_t run_count, run_room;
    valtype operands[MAX_OPERANDS];
    struct frame frames[MAX_FRAMES];
    valtype locals[MAX_LOCALS_UNPACKED];
    uint8_t ready[MAX_LOCALS_UNPACKED];
    uint32_t inits[MAX_LOCALS_UNPACKED];
};

/* What looking quickly needs to know of a module that is otherwise complete. */
void prepare_module(struct module *module);

/* `body` has module, pc, end, type and runs (the parameters and the declared locals) set. */
bool accept_body(struct body *body);

/* Of the entries of the code section from `first` on and before `last`, the first that is not accepted, or
 * `last`. `types` and `places` are as `Functions` of `tinywasm.syntax` has them, all within `code`. */
size_t accept_entries(
    struct body *body, const uint8_t *code, const uint32_t *types, const int64_t *places, size_t first, size_t last
);

/* Names in the order of their enums, without the first ones, which have none. */
extern const char *const immediate_names[], *const rule_names[];
#define X(name) + 1
enum { IMMEDIATE_COUNT = 0 FOR_EACH_IMMEDIATE(X), RULE_COUNT = 0 FOR_EACH_RULE(X) };
#undef X

#endif
