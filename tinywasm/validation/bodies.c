#include "operands.h"
#include "quick.h"

#define X(name) #name,
const char *const immediate_names[] = {FOR_EACH_IMMEDIATE(X)};
const char *const rule_names[] = {FOR_EACH_RULE(X)};
#undef X

/* Control. */

static bool enter(body *b, enum rule kind, struct functype type, valtype single) {
    TRY(b->depth < MAX_FRAMES);
    struct frame *frame = &b->frames[b->depth++];
    *frame = (struct frame){type, b->height, b->init_count, kind, false, single};
    if (single) frame->type.results = &frame->single;
    return push_all(b, type.params, type.param_count);
}

static bool leave(body *b) {
    struct frame *frame = top(b);
    TRY(pop_all(b, frame->type.results, frame->type.result_count) && b->height == frame->height);
    while (b->init_count > frame->inits) b->ready[b->inits[--b->init_count]] = false;
    b->depth--;
    return true;
}

static bool set_unreachable(body *b) {
    b->height = top(b)->height;
    top(b)->unreachable = true;
    return true;
}

/* The operands of a label, in `params`. */
static bool label(body *b, uint32_t index, struct functype *out) {
    TRY(index < b->depth);
    const struct frame *frame = &b->frames[b->depth - 1 - index];
    *out = frame->type;
    if (frame->kind != RULE_loop) {
        out->params = out->results;
        out->param_count = out->result_count;
    }
    return true;
}

static bool read_block(body *b, struct functype *type, valtype *single) {
    const struct module *m = b->module;
    *type = no_type;
    *single = BOT;
    TRY(b->pc < b->end);
    if (*b->pc == EMPTY_BLOCK) return skip(b, 1);
    if (*b->pc == REF_NULL || *b->pc == REF || is_value_code(b, *b->pc)) {
        type->result_count = 1;
        return read_value(b, single);
    }
    int64_t index;
    TRY(read_signed(b, 33, &index) && index >= 0 && index < m->type_count);
    TRY(m->types[index].composite == COMPOSITE_FUNC);
    *type = m->types[index].function;
    return true;
}

static bool open_block(body *b, enum rule kind, struct functype type, valtype single) {
    if (kind == RULE_if) TRY(pop(b, I32));
    return pop_all(b, type.params, type.param_count) && enter(b, kind, type, single);
}

static bool rule_else(body *b) {
    struct frame *frame = top(b);
    TRY(frame->kind == RULE_if && leave(b));
    return enter(b, RULE_else, frame->type, frame->single);
}

static bool rule_end(body *b) {
    struct frame *frame = top(b);
    struct functype type = frame->type;
    TRY(leave(b));
    if (frame->kind == RULE_if) {
        TRY(type.param_count == type.result_count);
        TRY(match_all(b->module, type.params, type.results, type.param_count));
    }
    if (!b->depth) return b->pc == b->end;
    return push_all(b, type.results, type.result_count);
}

static bool rule_br_if(body *b, uint32_t index) {
    struct functype to;
    return label(b, index, &to) && pop(b, I32) && pop_all(b, to.params, to.param_count)
        && push_all(b, to.params, to.param_count);
}

static bool rule_br_table(body *b) {
    uint32_t count, index, there, arity = 0;
    TRY(pop(b, I32) && read_u32(b, &count) && count <= (size_t)(b->end - b->pc));
    for (uint64_t i = 0; i <= count; i++) {
        struct functype to;
        TRY(read_u32(b, &index) && label(b, index, &to));
        if (i == 0) arity = to.param_count;
        TRY(to.param_count == arity && (uint64_t)arity * count <= MAX_LABEL_OPERANDS);
        TRY(peek(b, to.params, arity, &there));
    }
    return set_unreachable(b);
}

static bool call(body *b, const struct functype *type) {
    return pop_all(b, type->params, type->param_count) && push_all(b, type->results, type->result_count);
}

static bool return_call(body *b, const struct functype *type) {
    TRY(type->result_count == b->type->result_count);
    TRY(match_all(b->module, type->results, b->type->results, type->result_count));
    return pop_all(b, type->params, type->param_count) && set_unreachable(b);
}

/* What calls by reference or through a table take on top of the operands. */
static bool callee(body *b, enum rule rule, uint32_t type, uint32_t table) {
    const struct module *m = b->module;
    TRY(m->types[type].composite == COMPOSITE_FUNC);
    if (rule == RULE_call_ref || rule == RULE_return_call_ref) return pop(b, defined(m, type));
    return matches(m, m->tables[table].element, FUNCREF) && pop(b, m->tables[table].address);
}

static bool rule_catches(body *b) {
    const struct module *m = b->module;
    uint32_t count, tag, index;
    TRY(read_u32(b, &count) && count <= (size_t)(b->end - b->pc));
    while (count--) {
        TRY(b->pc < b->end && *b->pc <= 3);
        uint8_t kind = *b->pc++;
        struct functype caught = no_type, to;
        if (kind < 2) {
            TRY(read_u32(b, &tag) && tag < m->tag_count);
            caught = m->types[m->tags[tag]].function;
        }
        uint32_t given = caught.param_count;
        TRY(read_u32(b, &index) && label(b, index, &to));
        TRY(to.param_count == given + (kind & 1) && match_all(m, caught.params, to.params, given));
        if (kind & 1) TRY(matches(m, EXNREF | NON_NULL, to.params[given]));
    }
    return true;
}

/* Variables. */

static bool local(body *b, uint32_t index, valtype *out) {
    if (index < b->unpacked) {
        *out = b->locals[index];
        return true;
    }
    uint32_t low = 0, high = b->run_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (index < b->runs[middle].end) high = middle;
        else low = middle + 1;
    }
    TRY(low < b->run_count && is_defaultable(b->runs[low].type));
    *out = b->runs[low].type;
    return true;
}

static bool rule_local(body *b, enum rule rule, uint32_t index) {
    valtype type;
    TRY(local(b, index, &type));
    if (rule == RULE_local_get) return (index >= b->unpacked || b->ready[index]) && push(b, type);
    if (index < b->unpacked && !b->ready[index]) {
        b->inits[b->init_count++] = index;
        b->ready[index] = true;
    }
    return pop(b, type) && (rule == RULE_local_set || push(b, type));
}

static bool rule_select(body *b, valtype type) {
    valtype first, second;
    TRY(pop(b, I32));
    if (type) return pop_two(b, type, type) && push(b, type);
    TRY(pop_any(b, &second) && pop_any(b, &first) && !is_ref(first) && !is_ref(second));
    TRY(first == second || first == BOT || second == BOT);
    return push(b, first == BOT ? second : first);
}

/* References. */

static bool rule_br_on_null(body *b, uint32_t index) {
    struct functype to;
    valtype ref;
    return label(b, index, &to) && pop_ref(b, &ref) && pop_all(b, to.params, to.param_count)
        && push_all(b, to.params, to.param_count) && push(b, ref | NON_NULL);
}

/* A label whose last operand is a reference. */
static bool ref_label(body *b, uint32_t index, struct functype *to, valtype *last) {
    TRY(label(b, index, to) && to->param_count);
    *last = to->params[--to->param_count];
    return is_ref(*last);
}

static bool rule_br_on_non_null(body *b, uint32_t index) {
    struct functype to;
    valtype last;
    return ref_label(b, index, &to, &last) && pop(b, last & ~NON_NULL)
        && pop_all(b, to.params, to.param_count) && push_all(b, to.params, to.param_count);
}

static bool rule_br_on_cast(body *b, enum rule rule) {
    const struct module *m = b->module;
    uint32_t index;
    valtype source, target, last;
    struct functype to;
    TRY(b->pc < b->end && *b->pc <= 3);
    uint8_t flags = *b->pc++;
    TRY(read_u32(b, &index) && read_heap(b, &source) && read_heap(b, &target));
    source |= flags & 1 ? 0 : NON_NULL;
    target |= flags & 2 ? 0 : NON_NULL;
    TRY(matches(m, target, source));
    /* What is left of the source when the cast fails: a null that the target takes is not. */
    valtype rest = target & NON_NULL ? source : source | NON_NULL;
    valtype branching = rule == RULE_br_on_cast ? target : rest;
    valtype falling = rule == RULE_br_on_cast ? rest : target;
    return ref_label(b, index, &to, &last) && matches(m, branching, last) && pop(b, source)
        && pop_all(b, to.params, to.param_count) && push_all(b, to.params, to.param_count)
        && push(b, falling);
}

static valtype top_type(const struct module *m, valtype ref) {
    static const valtype tops[] = {ANYREF, FUNCREF, EXTERNREF, EXNREF};
    for (size_t i = 0; i < sizeof tops / sizeof *tops; i++)
        if (matches(m, ref & ~NON_NULL, tops[i])) return tops[i];
    return BOT;
}

static bool rule_cast(body *b, enum rule rule, valtype target) {
    valtype wanted = top_type(b->module, target);
    return wanted && pop(b, wanted) && push(b, rule == RULE_ref_test ? I32 : target);
}

static bool rule_convert(body *b, valtype from, valtype to) {
    bool polymorphic = b->height == top(b)->height;
    valtype nullness = polymorphic || b->operands[b->height - 1] == BOT
        ? NON_NULL : b->operands[b->height - 1] & NON_NULL;
    return pop(b, from) && push(b, to | nullness);
}

/* Aggregates. */

static bool aggregate(const body *b, uint32_t type, enum composite composite) {
    return b->module->types[type].composite == composite;
}

static bool rule_struct_new(body *b, enum rule rule, uint32_t index) {
    const struct definition *type = &b->module->types[index];
    TRY(aggregate(b, index, COMPOSITE_STRUCT));
    if (rule == RULE_struct_new_default) {
        TRY(type->defaultable);
    } else {
        uint32_t count = type->field_count, there;
        TRY(at_hand(b, count, &there));
        for (uint32_t i = 1; i <= there; i++) TRY(pop(b, type->fields[count - i].type));
    }
    return push(b, defined(b->module, index) | NON_NULL);
}

static bool rule_field(body *b, enum rule rule, uint32_t index, uint32_t field) {
    const struct definition *type = &b->module->types[index];
    TRY(aggregate(b, index, COMPOSITE_STRUCT) && field < type->field_count);
    const struct field *at = &type->fields[field];
    valtype ref = defined(b->module, index);
    if (rule == RULE_struct_set) return at->mutable && pop_two(b, ref, at->type);
    return !at->packed == (rule == RULE_struct_get) && pop(b, ref) && push(b, at->type);
}

/* `second` is a count, a data segment or an element segment. */
static bool rule_array_new(body *b, enum rule rule, uint32_t index, uint32_t second) {
    const struct module *m = b->module;
    TRY(aggregate(b, index, COMPOSITE_ARRAY));
    valtype element = m->types[index].fields->type, new = defined(m, index) | NON_NULL;
    uint32_t count;
    if (rule == RULE_array_new) return pop_two(b, element, I32) && push(b, new);
    if (rule == RULE_array_new_default) return is_defaultable(element) && pop(b, I32) && push(b, new);
    if (rule == RULE_array_new_data) return !is_ref(element) && pop_two(b, I32, I32) && push(b, new);
    if (rule == RULE_array_new_elem)
        return matches(m, m->elems[second], element) && pop_two(b, I32, I32) && push(b, new);
    TRY(at_hand(b, second, &count));
    while (count--) TRY(pop(b, element));
    return push(b, new);
}

static bool rule_element(body *b, enum rule rule, uint32_t index) {
    TRY(aggregate(b, index, COMPOSITE_ARRAY));
    const struct field *at = b->module->types[index].fields;
    valtype ref = defined(b->module, index);
    if (rule == RULE_array_set) return at->mutable && pop_three(b, ref, I32, at->type);
    if (rule == RULE_array_fill)
        return at->mutable && pop(b, I32) && pop_three(b, ref, I32, at->type);
    return !at->packed == (rule == RULE_array_get) && pop_two(b, ref, I32) && push(b, at->type);
}

static bool rule_array_init(body *b, enum rule rule, uint32_t index, uint32_t elem) {
    const struct module *m = b->module;
    TRY(aggregate(b, index, COMPOSITE_ARRAY) && m->types[index].fields->mutable);
    valtype element = m->types[index].fields->type;
    TRY(rule == RULE_array_init_data ? !is_ref(element) : matches(m, m->elems[elem], element));
    return pop_three(b, I32, I32, I32) && pop(b, defined(m, index));
}

static bool rule_array_copy(body *b, uint32_t target, uint32_t source) {
    const struct module *m = b->module;
    TRY(aggregate(b, target, COMPOSITE_ARRAY) && aggregate(b, source, COMPOSITE_ARRAY));
    const struct field *to = m->types[target].fields, *of = m->types[source].fields;
    TRY(to->mutable && to->packed == of->packed && matches(m, of->type, to->type));
    return pop_three(b, defined(m, source), I32, I32) && pop_two(b, defined(m, target), I32);
}

/* Instructions. */

static bool read_memarg(body *b, uint32_t natural) {
    const struct module *m = b->module;
    uint32_t flags, memory = 0;
    uint64_t offset;
    TRY(read_u32(b, &flags) && flags < 0x80);
    if (flags & 0x40) TRY(read_u32(b, &memory));
    TRY(memory < m->memory_count && (flags & 0x3F) <= natural);
    b->address = m->memories[memory];
    if (b->pc < b->end && *b->pc < 0x80) return skip(b, 1);
    return read_unsigned(b, 64, &offset) && !(offset >> 32 && b->address == I32);
}

static bool read_lane(body *b, uint8_t count) {
    return b->pc < b->end && *b->pc++ < count;
}

static bool read_shuffle(body *b) {
    TRY(b->end - b->pc >= 16);
    for (int i = 0; i < 16; i++) TRY(*b->pc++ < 32);
    return true;
}

static bool read_select(body *b, uint32_t *value) {
    uint32_t count;
    return read_u32(b, &count) && count == 1 && read_value(b, value);
}

static bool read_table(body *b, uint32_t *value) {
    TRY(read_u32(b, value) && *value < b->module->table_count);
    b->address = b->module->tables[*value].address;
    return true;
}

static bool read_memory(body *b, uint32_t *value) {
    TRY(read_u32(b, value) && *value < b->module->memory_count);
    b->address = b->module->memories[*value];
    return true;
}

/* Read an immediate and check it; `value` is an index or a value type. */
static bool read_immediate(body *b, enum immediate kind, uint32_t *value) {
    const struct module *m = b->module;
    int64_t ignored;
    switch (kind) {
    case IMMEDIATE_label: case IMMEDIATE_local: case IMMEDIATE_field: case IMMEDIATE_count:
        return read_u32(b, value);
    case IMMEDIATE_func: return read_u32(b, value) && *value < m->func_count;
    case IMMEDIATE_type: return read_u32(b, value) && *value < m->type_count;
    case IMMEDIATE_global: return read_u32(b, value) && *value < m->global_count;
    case IMMEDIATE_tag: return read_u32(b, value) && *value < m->tag_count;
    case IMMEDIATE_elem: return read_u32(b, value) && *value < m->elem_count;
    case IMMEDIATE_data: return m->has_data_count && read_u32(b, value) && *value < m->data_count;
    case IMMEDIATE_table: return read_table(b, value);
    case IMMEDIATE_mem: return read_memory(b, value);
    case IMMEDIATE_memarg1: return read_memarg(b, 0);
    case IMMEDIATE_memarg2: return read_memarg(b, 1);
    case IMMEDIATE_memarg4: return read_memarg(b, 2);
    case IMMEDIATE_memarg8: return read_memarg(b, 3);
    case IMMEDIATE_memarg16: return read_memarg(b, 4);
    case IMMEDIATE_lane2: return read_lane(b, 2);
    case IMMEDIATE_lane4: return read_lane(b, 4);
    case IMMEDIATE_lane8: return read_lane(b, 8);
    case IMMEDIATE_lane16: return read_lane(b, 16);
    case IMMEDIATE_i32: return read_signed(b, 32, &ignored);
    case IMMEDIATE_i64: return read_signed(b, 64, &ignored);
    case IMMEDIATE_f32: return skip(b, 4);
    case IMMEDIATE_f64: return skip(b, 8);
    case IMMEDIATE_v128: return skip(b, 16);
    case IMMEDIATE_shuffle: return read_shuffle(b);
    case IMMEDIATE_heap: case IMMEDIATE_refnull: return read_heap(b, value);
    case IMMEDIATE_ref:
        TRY(read_heap(b, value));
        *value |= NON_NULL;
        return true;
    case IMMEDIATE_types: return read_select(b, value);
    /* The rules read these themselves. */
    case IMMEDIATE_NONE: case IMMEDIATE_block: case IMMEDIATE_labels: case IMMEDIATE_catches:
    case IMMEDIATE_cast:
        return true;
    }
    return false;
}

static bool closed(body *b, const struct row *row) {
    for (unsigned i = row->params; i--;)
        TRY(pop(b, row->types[i] == ADDRESS ? b->address : row->types[i]));
    for (unsigned i = row->params; i < (unsigned)row->params + row->results; i++)
        TRY(push(b, row->types[i] == ADDRESS ? b->address : row->types[i]));
    return true;
}

static valtype narrower(valtype first, valtype second) {
    return first == I64 && second == I64 ? I64 : I32;
}

static bool control(body *b, enum rule rule, uint32_t first, uint32_t second) {
    const struct module *m = b->module;
    struct functype type;
    valtype single;
    switch (rule) {
    case RULE_unreachable: return set_unreachable(b);
    case RULE_try_table:
        return read_block(b, &type, &single) && rule_catches(b) && open_block(b, rule, type, single);
    case RULE_block: case RULE_loop: case RULE_if:
        return read_block(b, &type, &single) && open_block(b, rule, type, single);
    case RULE_else: return rule_else(b);
    case RULE_end: return rule_end(b);
    case RULE_br:
        return label(b, first, &type) && pop_all(b, type.params, type.param_count) && set_unreachable(b);
    case RULE_br_if: return rule_br_if(b, first);
    case RULE_br_table: return rule_br_table(b);
    case RULE_return: return pop_all(b, b->type->results, b->type->result_count) && set_unreachable(b);
    case RULE_call: return call(b, &m->types[m->funcs[first]].function);
    case RULE_return_call: return return_call(b, &m->types[m->funcs[first]].function);
    case RULE_call_indirect: case RULE_call_ref:
        return callee(b, rule, first, second) && call(b, &m->types[first].function);
    case RULE_return_call_indirect: case RULE_return_call_ref:
        return callee(b, rule, first, second) && return_call(b, &m->types[first].function);
    case RULE_throw:
        type = m->types[m->tags[first]].function;
        return pop_all(b, type.params, type.param_count) && set_unreachable(b);
    case RULE_throw_ref: return pop(b, EXNREF) && set_unreachable(b);
    default: return false;
    }
}

static bool one_table(body *b, enum rule rule, const struct table *at) {
    switch (rule) {
    case RULE_table_get: return pop(b, at->address) && push(b, at->element);
    case RULE_table_set: return pop_two(b, at->address, at->element);
    case RULE_table_grow: return pop_two(b, at->element, at->address) && push(b, at->address);
    case RULE_table_fill: return pop_three(b, at->address, at->element, at->address);
    default: return false;
    }
}

static bool two_places(body *b, enum rule rule, uint32_t first, uint32_t second) {
    const struct module *m = b->module;
    if (rule == RULE_memory_copy) {
        valtype target = m->memories[first], source = m->memories[second];
        return pop_three(b, target, source, narrower(target, source));
    }
    const struct table *of = &m->tables[second];
    if (rule == RULE_table_init)
        return matches(m, m->elems[first], of->element) && pop_three(b, of->address, I32, I32);
    const struct table *to = &m->tables[first];
    return rule == RULE_table_copy && matches(m, of->element, to->element)
        && pop_three(b, to->address, of->address, narrower(to->address, of->address));
}

static bool reference(body *b, enum rule rule, uint32_t first, uint32_t second) {
    const struct module *m = b->module;
    valtype ref;
    switch (rule) {
    case RULE_ref_null: return push(b, first);
    case RULE_ref_is_null: return pop_ref(b, &ref) && push(b, I32);
    case RULE_ref_func:
        return m->declared[first] && push(b, (DEFINED + m->funcs[first]) << 1 | NON_NULL);
    case RULE_ref_as_non_null: return pop_ref(b, &ref) && push(b, ref | NON_NULL);
    case RULE_br_on_null: return rule_br_on_null(b, first);
    case RULE_br_on_non_null: return rule_br_on_non_null(b, first);
    case RULE_br_on_cast: case RULE_br_on_cast_fail: return rule_br_on_cast(b, rule);
    case RULE_ref_test: case RULE_ref_cast: return rule_cast(b, rule, first);
    case RULE_struct_new: case RULE_struct_new_default: return rule_struct_new(b, rule, first);
    case RULE_struct_get: case RULE_struct_get_s: case RULE_struct_get_u: case RULE_struct_set:
        return rule_field(b, rule, first, second);
    case RULE_array_new: case RULE_array_new_default: case RULE_array_new_fixed:
        return rule_array_new(b, rule, first, second);
    case RULE_array_get: case RULE_array_get_s: case RULE_array_get_u: case RULE_array_set:
    case RULE_array_fill:
        return rule_element(b, rule, first);
    case RULE_array_new_data: case RULE_array_new_elem: return rule_array_new(b, rule, first, second);
    case RULE_array_init_data: case RULE_array_init_elem:
        return rule_array_init(b, rule, first, second);
    case RULE_array_copy: return rule_array_copy(b, first, second);
    case RULE_any_convert_extern: return rule_convert(b, EXTERNREF, ANYREF);
    case RULE_extern_convert_any: return rule_convert(b, ANYREF, EXTERNREF);
    default: return false;
    }
}

static bool apply(body *b, const struct row *row, uint32_t first, uint32_t second) {
    const struct module *m = b->module;
    enum rule rule = row->rule;
    valtype ignored;
    switch (rule) {
    case RULE_NONE: return false;
    case RULE_CLOSED: return closed(b, row);
    case RULE_local_get: case RULE_local_set: case RULE_local_tee: return rule_local(b, rule, first);
    case RULE_global_get: return push(b, m->globals[first].content);
    case RULE_global_set: return m->globals[first].mutable && pop(b, m->globals[first].content);
    case RULE_drop: return pop_any(b, &ignored);
    case RULE_select: return rule_select(b, row->immediates[0] == IMMEDIATE_NONE ? BOT : first);
    case RULE_table_get: case RULE_table_set: case RULE_table_grow: case RULE_table_fill:
        return one_table(b, rule, &m->tables[first]);
    case RULE_table_copy: case RULE_table_init: case RULE_memory_copy:
        return two_places(b, rule, first, second);
    case RULE_unreachable: case RULE_block: case RULE_loop: case RULE_if: case RULE_else: case RULE_end:
    case RULE_br: case RULE_br_if: case RULE_br_table: case RULE_return: case RULE_call:
    case RULE_call_indirect: case RULE_call_ref: case RULE_return_call: case RULE_return_call_indirect:
    case RULE_return_call_ref: case RULE_try_table: case RULE_throw: case RULE_throw_ref:
        return control(b, rule, first, second);
    default: return reference(b, rule, first, second);
    }
}

static bool find_row(body *b, const struct row **row) {
    uint32_t index = *b->pc++;
    if (index >= FIRST_PREFIX && index < FIRST_PREFIX + PREFIXES) {
        uint32_t code;
        TRY(read_u32(b, &code) && code < PREFIXED_ROWS);
        index = 256 + (index - FIRST_PREFIX) * PREFIXED_ROWS + code;
    }
    *row = &b->module->rows[index];
    return true;
}

static void unpack_locals(body *b) {
    uint64_t index = 0;
    for (uint32_t run = 0; run < b->run_count && index < MAX_LOCALS_UNPACKED; run++) {
        valtype type = b->runs[run].type;
        for (; index < b->runs[run].end && index < MAX_LOCALS_UNPACKED; index++) {
            b->locals[index] = type;
            b->ready[index] = index < b->type->param_count || is_defaultable(type);
        }
    }
    b->unpacked = (uint32_t)index;
}

/* The parameters, and the locals that an entry of the code section begins with (section 5.5.13). */
static bool read_locals(body *b) {
    uint32_t runs, count;
    uint64_t index = 0;
    TRY(b->type->param_count <= b->run_room);
    for (; index < b->type->param_count; index++)
        b->runs[index] = (struct local_run){index + 1, b->type->params[index]};
    b->run_count = b->type->param_count;
    TRY(read_u32(b, &runs) && runs <= b->run_room - b->run_count);
    while (runs--) {
        struct local_run *run = &b->runs[b->run_count++];
        TRY(read_u32(b, &count) && read_value(b, &run->type));
        run->end = index += count;
    }
    return true;
}

size_t accept_entries(
    struct body *b, const uint8_t *code, const uint32_t *types, const int64_t *places, size_t first, size_t last
) {
    for (; first < last; first++) {
        if (types[first] >= b->module->type_count) break;
        b->type = &b->module->types[types[first]].function;
        b->pc = code + places[2 * first];
        b->end = code + places[2 * first + 1];
        if (!read_locals(b) || !accept_body(b)) break;
    }
    return first;
}

bool accept_body(struct body *b) {
    struct functype type = {nothing, b->type->results, 0, b->type->result_count};
    b->height = b->depth = b->init_count = 0;
    unpack_locals(b);
    TRY(enter(b, RULE_NONE, type, BOT));
    while (b->pc < b->end) {
        const struct row *row;
        uint32_t first = 0, second = 0;
        TRY(b->depth);
        quickly(b);
        TRY(find_row(b, &row));
        TRY(read_immediate(b, row->immediates[0], &first));
        if (row->immediates[1]) TRY(read_immediate(b, row->immediates[1], &second));
        TRY(apply(b, row, first, second));
    }
    return !b->depth;
}
