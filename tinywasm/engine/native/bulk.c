/* The bulk instructions and the constructors of aggregates: work whose size an operand says.

   It is done in pieces, so that an interruption need not wait for the end of it. Bounds are checked before
   the first piece, so that nothing is written where an operand is wrong; an interrupted instruction leaves
   behind what its first pieces wrote. */

#include <stdlib.h>

#include "native.h"

/* Looks between two at Python's signals, which take the GIL. */
#define LOOKS_A_SIGNAL_CHECK 64
/* The same as in runtime/store.py. */
#define BYTES_A_UNIT 64

#define CHECK(condition, code) do { if (!(condition)) return (code); } while (0)
#define TRY(call) do { int trap_ = (call); if (trap_) return trap_; } while (0)

unsigned long tw_main_thread;

int tw_look(Store *store) {
    if (store->poll_wanted || (store->thread == tw_main_thread && ++store->looks % LOOKS_A_SIGNAL_CHECK == 0)) {
        if (store->thread_state) store->acquire(store);
        if (store->poll(store) != STATUS_DONE) return TRAP_PYTHON;
    }
    if (!store->thread_state) store->release(store);
    return TRAP_NONE;
}

int tw_pause(Store *store) {
    int before = store->busy;
    store->busy = 1;
    int trap = tw_look(store);
    store->busy = before;
    return trap;
}

static int pay(Store *store, int metered, uint64_t bytes) {
    int64_t units = (int64_t)(bytes / BYTES_A_UNIT);
    if (!metered || units == 0) return TRAP_NONE;
    if (store->fuel < units) return TRAP_OUT_OF_FUEL;
    store->fuel -= units;
    return TRAP_NONE;
}

static uint64_t piece_of(uint64_t bytes) { return bytes < TW_PIECE ? bytes : TW_PIECE; }

/* Ranges may overlap: what lies in the way of the target is read first. */
static int move(Store *store, uint8_t *to, const uint8_t *from, uint64_t bytes) {
    int backward = to > from;
    for (uint64_t left = bytes; left;) {
        uint64_t size = piece_of(left), at = backward ? left - size : bytes - left;
        memmove(to + at, from + at, size);
        left -= size;
        if (left) TRY(tw_pause(store));
    }
    return TRAP_NONE;
}

/* Copies of a value of `size` bytes, a power of two. */
static int repeat(Store *store, uint8_t *to, const void *value, uint64_t size, uint64_t count) {
    if (!count) return TRAP_NONE;
    uint64_t first = piece_of(count * size), done = size;
    memcpy(to, value, size);
    while (done < first) {
        uint64_t more = done < first - done ? done : first - done;
        memcpy(to + done, to, more);
        done += more;
    }
    for (uint64_t bytes = count * size; done < bytes;) {
        TRY(tw_pause(store));
        uint64_t more = piece_of(bytes - done);
        memcpy(to + done, to, more);
        done += more;
    }
    return TRAP_NONE;
}

int tw_memory_fill(Store *store, int metered, Memory *memory, const uint64_t *s) {
    CHECK(tw_inside(s[0], s[2], memory->size), TRAP_MEMORY_OUT_OF_BOUNDS);
    TRY(pay(store, metered, s[2]));
    for (uint64_t done = 0; done < s[2];) {
        uint64_t size = piece_of(s[2] - done);
        memset(memory->base + s[0] + done, (int)(s[1] & 0xFF), size);
        done += size;
        if (done < s[2]) TRY(tw_pause(store));
    }
    return TRAP_NONE;
}

int tw_memory_copy(Store *store, int metered, Memory *to, Memory *from, const uint64_t *s) {
    CHECK(tw_inside(s[0], s[2], to->size) && tw_inside(s[1], s[2], from->size), TRAP_MEMORY_OUT_OF_BOUNDS);
    TRY(pay(store, metered, s[2]));
    return move(store, to->base + s[0], from->base + s[1], s[2]);
}

int tw_memory_init(Store *store, int metered, Memory *to, const Segment *data, const uint64_t *s) {
    CHECK(tw_inside(s[0], s[2], to->size) && tw_inside(s[1], s[2], data->length), TRAP_MEMORY_OUT_OF_BOUNDS);
    TRY(pay(store, metered, s[2]));
    return move(store, to->base + s[0], data->bytes + s[1], s[2]);
}

/* Room for `count` more elements: -1 where they are refused. */
static int reserve(Table *table, uint64_t count) {
    uint64_t size = table->size;
    if (count > table->max - size || !tw_fits(table->budget, count * 8)) return -1;
    if (count && size + count > table->budget->table_elements) return -1;
    if (size + count <= table->capacity) return 0;
    uint64_t capacity = (size + count) + (size + count) / 2;
    if (capacity > SIZE_MAX / sizeof *table->elements) return -1;
    uint64_t *grown = realloc(table->elements, capacity * sizeof *grown);
    if (!grown) return -1;
    table->elements = grown;
    table->capacity = capacity;
    return 0;
}

static int64_t enlarged(Table *table, uint64_t count) {
    uint64_t old = table->size;
    table->size += count;
    table->budget->used += count * 8;
    return (int64_t)old;
}

int64_t tw_table_enlarge(Table *table, uint64_t count, uint64_t value) {
    if (reserve(table, count) != 0) return -1;
    for (uint64_t i = 0; i < count; i++) table->elements[table->size + i] = value;
    return enlarged(table, count);
}

int tw_table_grow(Store *store, int metered, Table *table, uint64_t *s) {
    uint64_t count = s[1];
    int64_t old = -1;
    if (reserve(table, count) == 0) {
        TRY(pay(store, metered, count * 8));
        TRY(repeat(store, (uint8_t *)(table->elements + table->size), s, 8, count));
        old = enlarged(table, count);
    }
    s[0] = table->is64 ? (uint64_t)old : (uint32_t)old;
    return TRAP_NONE;
}

int tw_table_fill(Store *store, int metered, Table *table, const uint64_t *s) {
    CHECK(tw_inside(s[0], s[2], table->size), TRAP_TABLE_OUT_OF_BOUNDS);
    TRY(pay(store, metered, s[2] * 8));
    return repeat(store, (uint8_t *)(table->elements + s[0]), s + 1, 8, s[2]);
}

int tw_table_copy(Store *store, int metered, Table *to, Table *from, const uint64_t *s) {
    CHECK(tw_inside(s[0], s[2], to->size) && tw_inside(s[1], s[2], from->size), TRAP_TABLE_OUT_OF_BOUNDS);
    TRY(pay(store, metered, s[2] * 8));
    return move(store, (uint8_t *)(to->elements + s[0]), (const uint8_t *)(from->elements + s[1]), s[2] * 8);
}

int tw_table_init(Store *store, int metered, Table *to, const Segment *elem, const uint64_t *s) {
    CHECK(tw_inside(s[0], s[2], to->size) && tw_inside(s[1], s[2], elem->length), TRAP_TABLE_OUT_OF_BOUNDS);
    TRY(pay(store, metered, s[2] * 8));
    return move(store, (uint8_t *)(to->elements + s[0]), (const uint8_t *)(elem->refs + s[1]), s[2] * 8);
}

void tw_elem_drop(Segment *elem) {
    elem->length = 0;
    /* Never down to nothing: an index, which can only be 0, is added to the pointer. */
    uint64_t *least = realloc(elem->refs, sizeof *least);
    if (least) elem->refs = least;
}

static uint64_t packed(char kind, uint64_t value) {
    return kind == 'b' ? value & 0xFF : kind == 'h' ? value & 0xFFFF : value;
}

int tw_struct_new(Store *store, int metered, TypeInfo *type, uint64_t *s, int with_values) {
    TRY(pay(store, metered, type->slots * 8));
    Struct *object = with_values ? tw_quick_struct(store, type) : NULL;
    if (!object) object = (Struct *)tw_new_struct(store, type);
    CHECK(object, store->failure);
    if (with_values)
        for (uint32_t i = 0; i < type->slots; i++) object->fields[i] = packed(type->kinds[i], s[i]);
    s[0] = (uint64_t)(uintptr_t)object;
    return TRAP_NONE;
}

/* A new array of default values. */
static int make_array(Store *store, int metered, TypeInfo *type, uint64_t length, Array **made) {
    CHECK(!tw_array_too_long(store, length), TRAP_ALLOCATION_TOO_LARGE);
    TRY(pay(store, metered, length * type->element_size));
    *made = (Array *)tw_new_array(store, type, length);
    return *made ? TRAP_NONE : store->failure;
}

static int finished(uint64_t *s, Array *array) {
    s[0] = (uint64_t)(uintptr_t)array;
    return TRAP_NONE;
}

int tw_array_new(Store *store, int metered, TypeInfo *type, uint64_t *s, int with_value, uint64_t length) {
    Array *array;
    TRY(make_array(store, metered, type, length, &array));
    if (with_value) TRY(repeat(store, array->elements, s, type->element_size, length));
    return finished(s, array);
}

int tw_array_new_fixed(Store *store, int metered, TypeInfo *type, uint64_t *s, uint64_t length) {
    Array *array;
    TRY(make_array(store, metered, type, length, &array));
    uint32_t stride = type->element_size == 16 ? 2 : 1;
    for (uint64_t i = 0; i < length; i++) tw_array_write(array, i, s + i * stride);
    return finished(s, array);
}

int tw_array_new_data(Store *store, int metered, TypeInfo *type, const Segment *data, uint64_t *s) {
    Array *array;
    uint64_t bytes = s[1] * type->element_size;
    CHECK(tw_inside(s[0], bytes, data->length), TRAP_MEMORY_OUT_OF_BOUNDS);
    TRY(make_array(store, metered, type, s[1], &array));
    TRY(move(store, array->elements, data->bytes + s[0], bytes));
    return finished(s, array);
}

int tw_array_new_elem(Store *store, int metered, TypeInfo *type, const Segment *elem, uint64_t *s) {
    Array *array;
    CHECK(tw_inside(s[0], s[1], elem->length), TRAP_TABLE_OUT_OF_BOUNDS);
    TRY(make_array(store, metered, type, s[1], &array));
    TRY(move(store, array->elements, (const uint8_t *)(elem->refs + s[0]), s[1] * 8));
    return finished(s, array);
}

int tw_array_fill(Store *store, int metered, uint64_t count, const uint64_t *s) {
    Array *array = (Array *)(uintptr_t)s[0];
    CHECK(array, TRAP_NULL_ARRAY_REFERENCE);
    CHECK(tw_inside(s[1], count, array->length), TRAP_ARRAY_OUT_OF_BOUNDS);
    uint64_t size = array->head.type->element_size;
    TRY(pay(store, metered, count * size));
    return repeat(store, array->elements + s[1] * size, s + 2, size, count);
}

int tw_array_copy(Store *store, int metered, const uint64_t *s) {
    Array *to = (Array *)(uintptr_t)s[0], *from = (Array *)(uintptr_t)s[2];
    CHECK(to && from, TRAP_NULL_ARRAY_REFERENCE);
    CHECK(tw_inside(s[1], s[4], to->length) && tw_inside(s[3], s[4], from->length), TRAP_ARRAY_OUT_OF_BOUNDS);
    uint64_t size = to->head.type->element_size;
    TRY(pay(store, metered, s[4] * size));
    return move(store, to->elements + s[1] * size, from->elements + s[3] * size, s[4] * size);
}

int tw_array_init(Store *store, int metered, const Segment *segment, int refs, const uint64_t *s) {
    Array *array = (Array *)(uintptr_t)s[0];
    CHECK(array, TRAP_NULL_ARRAY_REFERENCE);
    CHECK(tw_inside(s[1], s[3], array->length), TRAP_ARRAY_OUT_OF_BOUNDS);
    uint64_t size = array->head.type->element_size;
    if (refs) CHECK(tw_inside(s[2], s[3], segment->length), TRAP_TABLE_OUT_OF_BOUNDS);
    else CHECK(tw_inside(s[2], s[3] * size, segment->length), TRAP_MEMORY_OUT_OF_BOUNDS);
    TRY(pay(store, metered, s[3] * size));
    const uint8_t *source = refs ? (const uint8_t *)(segment->refs + s[2]) : segment->bytes + s[2];
    return move(store, array->elements + s[1] * size, source, s[3] * size);
}
