/* Structures, arrays, exceptions and host references, and their collection.

   Mark and sweep. Frames are scanned conservatively, since a slot does not say what it holds; the
   rest (globals, tables, segments, objects) exactly. Objects never move.

   Small ones are cells of blocks, one size to a block. A block lies where its address says, of a pointer into
   it, where it begins. Large ones, and host references, which have more to free than memory, are in a list. */

/* For `posix_memalign`. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "native.h"
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISON ASAN_POISON_MEMORY_REGION
#define UNPOISON ASAN_UNPOISON_MEMORY_REGION
#else
#define POISON(place, bytes) ((void)(place), (void)(bytes))
#define UNPOISON(place, bytes) ((void)(place), (void)(bytes))
#endif

/* A store collects first when it has allocated this many bytes; with 0, at every allocation. */
uint64_t tw_first_threshold = 16u << 20;
/* Or after so many new host references, since what lies behind them may be of any size. */
#define HOSTS UINT64_C(1024)
/* The same as in runtime/heap.py. */
#define MAX_ARRAY_LENGTH (UINT64_C(1) << 26)

static uint64_t object_bytes(const Object *object) {
    switch (object->kind) {
    case KIND_STRUCT: return sizeof(Struct) + object->type->slots * 8;
    case KIND_ARRAY: return sizeof(Array) + ((const Array *)object)->length * object->type->element_size;
    case KIND_EXN: return sizeof(Exn) + ((const Exn *)object)->tag->type->param_slots * 8;
    default: return sizeof(Host);
    }
}

/* Blocks are aligned to this, and a little shorter, so that malloc has room for what it notes beside them. */
#define BLOCK UINT64_C(0x8000)
#define BLOCK_BYTES (BLOCK - 64)
/* So many empty blocks are kept for what is allocated next. */
#define SPARE_BLOCKS 64

struct Block {
    Block *next;
    uint64_t size;
    uint8_t *fresh; /* the first cell that was never taken */
    uint64_t unused; /* keeps the cells aligned to 16 bytes */
    uint8_t cells[];
};

#define EACH_CELL(block, cell) \
    for (Object *cell = (Object *)(block)->cells; (uint8_t *)cell < (block)->fresh; \
         cell = (Object *)((uint8_t *)cell + (block)->size))

/* The type of a cell that is free, of which no more than `next` and `type` may be looked at. */
static TypeInfo free_cell;
#define SEEN offsetof(Object, pins)

static int is_free(const Object *cell) { return cell->type == &free_cell; }

static int has_fresh(const Block *block) {
    return block && block->fresh + block->size <= (const uint8_t *)block + BLOCK_BYTES;
}

static void make_free(Store *store, Object *cell, uint64_t size) {
    Object **first = &store->free_cells[size / CELL_UNIT];
    UNPOISON(cell, SEEN);
    cell->type = &free_cell;
    cell->next = *first;
    *first = cell;
    POISON((uint8_t *)cell + SEEN, size - SEEN);
}

static Object *take_cell(Store *store, uint64_t class) {
    Object *cell = store->free_cells[class];
    Block *block = store->current[class];
    if (cell) store->free_cells[class] = cell->next;
    else if (has_fresh(block)) {
        cell = (Object *)block->fresh;
        block->fresh += block->size;
    }
    if (cell) UNPOISON(cell, class * CELL_UNIT);
    return cell;
}

/* A block for cells of the class, which has none left; 0 where there is none. */
static int add_block(Store *store, uint64_t class) {
    Block *block = store->spare;
    if (block) {
        store->spare = block->next;
        store->spare_count--;
    } else {
        /* Cells of which most are free may take more than is allowed, but not any amount. */
        uint64_t half = store->block_count * BLOCK / 2, few = BLOCK * CELL_CLASSES;
        if (half > few && half - few > store->budget->limit) return 0;
        void *place;
        if (posix_memalign(&place, BLOCK, BLOCK_BYTES) != 0) return 0;
        block = place;
        store->block_count++;
    }
    block->size = class * CELL_UNIT;
    block->fresh = block->cells;
    POISON(block->cells, BLOCK_BYTES - offsetof(Block, cells));
    block->next = store->blocks;
    store->blocks = store->current[class] = block;
    return 1;
}

static void free_block(Store *store, Block *block) {
    UNPOISON(block->cells, BLOCK_BYTES - offsetof(Block, cells));
    store->block_count--;
    free(block);
}

static uint64_t class_of(uint64_t bytes) { return (bytes + CELL_UNIT - 1) / CELL_UNIT; }

static void count_object(Store *store, Object *object, uint64_t bytes, int kind, TypeInfo *type) {
    store->budget->used += bytes;
    store->allocated += bytes;
    store->object_count++;
    object->type = type;
    object->pins = 0;
    object->kind = (uint8_t)kind;
    object->marked = store->collection; /* a sweep under way is not to take it */
}

Struct *tw_quick_struct(Store *store, TypeInfo *type) {
    uint64_t bytes = sizeof(Struct) + type->slots * 8, class = class_of(bytes);
    if (class >= CELL_CLASSES || store->allocated + bytes > store->threshold) return NULL;
    if (!tw_fits(store->budget, bytes)) return NULL;
    Object *object = take_cell(store, class);
    if (object) count_object(store, object, bytes, KIND_STRUCT, type);
    return (Struct *)object;
}

/* A cell, or what is in the list, of zeros. */
static Object *memory_for(Store *store, uint64_t bytes, int kind) {
    uint64_t class = class_of(bytes);
    if (kind == KIND_HOST || class >= CELL_CLASSES) {
        Object *object = calloc(1, bytes);
        if (!object) return NULL;
        object->next = store->objects;
        store->objects = object;
        return object;
    }
    Object *cell = take_cell(store, class);
    if (!cell && add_block(store, class)) cell = take_cell(store, class);
    return cell ? memset(cell, 0, bytes) : NULL;
}

static Object *allocate(Store *store, uint64_t bytes, int kind, TypeInfo *type) {
    store->failure = TRAP_ALLOCATION_TOO_LARGE;
    if (store->threshold == 0) store->threshold = tw_first_threshold;
    if (store->host_threshold == 0) store->host_threshold = HOSTS;
    int crowded = kind == KIND_HOST && store->host_count >= store->host_threshold;
    if (crowded || store->allocated + bytes > store->threshold || !tw_fits(store->budget, bytes)) {
        int trap = tw_collect(store);
        if (trap) { store->failure = trap; return NULL; }
    }
    if (!tw_fits(store->budget, bytes)) { store->refused = 0; return NULL; }
    Object *object = memory_for(store, bytes, kind);
    if (!object) return NULL;
    count_object(store, object, bytes, kind, type);
    if (kind == KIND_HOST) store->host_count++;
    return object;
}

int tw_visit_hosts(const Store *store, int (*visit)(void *, void *), void *argument) {
    uint64_t left = store->host_count;
    for (Object *object = store->objects; left; object = object->next) {
        if (object->kind != KIND_HOST) continue;
        left--;
        int status = visit(((Host *)object)->python, argument);
        if (status) return status;
    }
    for (Object *object = (Object *)store->unreferenced; object; object = object->next) {
        int status = visit(((Host *)object)->python, argument);
        if (status) return status;
    }
    return 0;
}

Object *tw_new_struct(Store *store, TypeInfo *type) {
    store->refused = 0;
    return allocate(store, sizeof(Struct) + type->slots * 8, KIND_STRUCT, type);
}

int tw_array_too_long(Store *store, uint64_t length) {
    store->refused = length;
    return length > MAX_ARRAY_LENGTH;
}

Object *tw_new_array(Store *store, TypeInfo *type, uint64_t length) {
    store->failure = TRAP_ALLOCATION_TOO_LARGE;
    if (tw_array_too_long(store, length)) return NULL;
    Object *object = allocate(store, sizeof(Array) + length * type->element_size, KIND_ARRAY, type);
    if (object) ((Array *)object)->length = length;
    return object;
}

Object *tw_new_exn(Store *store, Tag *tag) {
    store->refused = 0;
    Object *object = allocate(store, sizeof(Exn) + tag->type->param_slots * 8, KIND_EXN, NULL);
    if (object) ((Exn *)object)->tag = tag;
    return object;
}

Object *tw_new_host(Store *store, void *python) {
    Object *object = allocate(store, sizeof(Host), KIND_HOST, NULL);
    if (object) ((Host *)object)->python = python;
    return object;
}

uint64_t tw_array_read(const Array *array, uint64_t index, uint64_t *high) {
    uint64_t value = 0;
    uint32_t size = array->head.type->element_size;
    const uint8_t *place = array->elements + index * size;
    if (size == 16) {
        memcpy(&value, place, 8);
        memcpy(high, place + 8, 8);
    } else {
        memcpy(&value, place, size);
    }
    return value;
}

/* Section 4.2.17. A host reference is in the hierarchies of both `extern` and `any`. */
int tw_is_instance(uint64_t ref, TypeInfo *concrete, int heap, int nullable) {
    if (ref == 0) return nullable;
    if (ref & 1) return !concrete && (heap == HEAP_I31 || heap == HEAP_EQ || heap == HEAP_ANY || heap == HEAP_EXTERN);
    const Object *object = (const Object *)(uintptr_t)ref;
    if (concrete) {
        const TypeInfo *type = object->type;
        return type && type->depth >= concrete->depth && type->display[concrete->depth] == concrete;
    }
    switch (heap) {
    case HEAP_ANY: case HEAP_EXTERN: return 1;
    case HEAP_EQ: return object->kind == KIND_STRUCT || object->kind == KIND_ARRAY;
    case HEAP_STRUCT: return object->kind == KIND_STRUCT;
    case HEAP_ARRAY: return object->kind == KIND_ARRAY;
    case HEAP_FUNC: return object->kind == KIND_FUNC;
    case HEAP_EXN: return object->kind == KIND_EXN;
    default: return 0;
    }
}

/* The sets of blocks, and of what is in the list, for the conservative scan; and the marker's stack. `stopped` is the trap code
   of what broke the collection off: all that follows is then skipped. */
typedef struct Marker {
    Store *store;
    const void **set;
    uint64_t mask;
    Object **pending;
    uint64_t count, capacity;
    int failed;
    int stopped;
    uint32_t steps;
} Marker;

/* Steps between two looks whether the run shall end. */
#define STEPS_A_LOOK 2048

/* After each object or reference. A collection that Python asks for outside of a run is not broken off. */
static int stopped(Marker *marker) {
    if (++marker->steps % STEPS_A_LOOK == 0 && !marker->stopped && marker->store->depth > 0)
        marker->stopped = tw_pause(marker->store);
    return marker->stopped;
}

/* The same for a block, in which there is much to do. */
static int stopped_at_block(Marker *marker) {
    marker->steps |= STEPS_A_LOOK - 1;
    return stopped(marker);
}

static uint64_t hash(const void *place, uint64_t mask) {
    return (((uintptr_t)place >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 20) & mask;
}

static int known(const Marker *marker, const void *place) {
    for (uint64_t at = hash(place, marker->mask); marker->set[at]; at = (at + 1) & marker->mask)
        if (marker->set[at] == place) return 1;
    return 0;
}

/* A block's place in the set, where no object is. */
static const void *mark_of(const Block *block) { return (const uint8_t *)block + 1; }

static int is_object(const Marker *marker, uint64_t bits) {
    const Block *block = (const Block *)(uintptr_t)(bits & ~(BLOCK - 1));
    /* What is in the list may begin right behind a block. */
    if (bits % BLOCK >= BLOCK_BYTES || !known(marker, mark_of(block)))
        return known(marker, (const void *)(uintptr_t)bits);
    const uint8_t *place = (const uint8_t *)(uintptr_t)bits;
    if (place < block->cells || place >= block->fresh || (uint64_t)(place - block->cells) % block->size) return 0;
    return !is_free((const Object *)place);
}

static void push(Marker *marker, Object *object) {
    if (object->marked == marker->store->collection) return;
    object->marked = marker->store->collection;
    if (marker->count == marker->capacity) {
        uint64_t capacity = marker->capacity ? marker->capacity * 2 : 1024;
        Object **grown = realloc(marker->pending, capacity * sizeof *grown);
        if (!grown) { marker->failed = 1; return; }
        marker->pending = grown;
        marker->capacity = capacity;
    }
    marker->pending[marker->count++] = object;
}

static void mark_ref(Marker *marker, uint64_t ref) {
    if (ref == 0 || ref & 1) return;
    Object *object = (Object *)(uintptr_t)ref;
    if (object->kind != KIND_FUNC) push(marker, object);
}

static void mark_guess(Marker *marker, uint64_t bits) {
    if (bits == 0 || bits & 15) return;
    if (is_object(marker, bits)) push(marker, (Object *)(uintptr_t)bits);
}

static void mark_refs(Marker *marker, const uint64_t *refs, uint64_t count) {
    for (uint64_t i = 0; i < count && !stopped(marker); i++) mark_ref(marker, refs[i]);
}

static void mark_children(Marker *marker, Object *object) {
    if (object->kind == KIND_STRUCT) {
        Struct *instance = (Struct *)object;
        for (uint32_t i = 0; i < object->type->slots && !stopped(marker); i++)
            if (object->type->kinds[i] == 'r') mark_ref(marker, instance->fields[i]);
    } else if (object->kind == KIND_ARRAY && object->type->element == 'r') {
        Array *array = (Array *)object;
        mark_refs(marker, (uint64_t *)array->elements, array->length);
    } else if (object->kind == KIND_EXN) {
        Exn *exn = (Exn *)object;
        uint32_t slot = 0;
        for (const char *kind = exn->tag->type->params; *kind; kind++) {
            if (*kind == 'r') mark_ref(marker, exn->values[slot]);
            slot += *kind == 'v' ? 2 : 1;
        }
    }
}

static void mark_roots(Store *store, Marker *marker) {
    for (Object *object = store->objects; object && !stopped(marker); object = object->next)
        if (object->pins) push(marker, object);
    if (store->pinned)
        for (Block *block = store->blocks; block && !stopped_at_block(marker); block = block->next)
            EACH_CELL(block, cell) if (!is_free(cell) && cell->pins) push(marker, cell);
    for (uint64_t *slot = store->stack; slot < store->top && !stopped(marker); slot++) mark_guess(marker, *slot);
    if (store->thrown) push(marker, &store->thrown->head);
    for (uint64_t i = 0; i < store->global_count && !stopped(marker); i++)
        if (store->globals[i]->is_ref) mark_ref(marker, store->globals[i]->value[0]);
    for (uint64_t i = 0; i < store->table_count; i++)
        mark_refs(marker, store->tables[i]->elements, store->tables[i]->size);
    for (uint64_t i = 0; i < store->instance_count; i++) {
        Instance *instance = store->instances[i];
        for (uint64_t j = 0; j < instance->elem_count; j++)
            mark_refs(marker, instance->elems[j].refs, instance->elems[j].length);
    }
}

static void add(Marker *marker, const void *place) {
    uint64_t at = hash(place, marker->mask);
    while (marker->set[at]) at = (at + 1) & marker->mask;
    marker->set[at] = place;
}

static int build_set(Store *store, Marker *marker) {
    uint64_t count = store->block_count, size = 1024;
    for (Object *object = store->objects; object && !stopped(marker); object = object->next) count++;
    while (size < count * 2) size *= 2;
    marker->set = calloc(size, sizeof *marker->set);
    if (!marker->set) return 0;
    marker->mask = size - 1;
    for (Block *block = store->blocks; block && !stopped(marker); block = block->next) add(marker, mark_of(block));
    for (Object *object = store->objects; object && !stopped(marker); object = object->next) add(marker, object);
    return 1;
}

static void discard(Store *store, Object *object) {
    store->object_count--;
    if (object->kind == KIND_HOST) {
        store->host_count--;
        object->next = (Object *)store->unreferenced;
        store->unreferenced = (Host *)object;
    } else {
        free(object);
    }
}

/* Free the cells of a block that were not marked; how many are left. */
static uint64_t sweep_block(Store *store, Block *block) {
    uint64_t left = 0, size = block->size;
    Object *first = store->free_cells[size / CELL_UNIT];
    EACH_CELL(block, cell) {
        if (!is_free(cell)) {
            if (cell->marked == store->collection) { left++; continue; }
            uint64_t bytes = object_bytes(cell);
            store->allocated -= bytes;
            store->budget->used -= bytes;
            store->object_count--;
        }
        make_free(store, cell, size);
    }
    if (left) {
        /* So that all of it is in the list. */
        for (; has_fresh(block); block->fresh += size) make_free(store, (Object *)block->fresh, size);
    } else {
        store->free_cells[size / CELL_UNIT] = first;
    }
    return left;
}

static void sweep_blocks(Store *store, Marker *marker) {
    Block **link = store->unswept_blocks;
    while (*link) {
        if (stopped_at_block(marker)) { store->unswept_blocks = link; return; }
        Block *block = *link;
        if (sweep_block(store, block)) {
            link = &block->next;
            continue;
        }
        *link = block->next;
        if (store->spare_count == SPARE_BLOCKS) { free_block(store, block); continue; }
        block->next = store->spare;
        store->spare = block;
        store->spare_count++;
    }
    store->unswept_blocks = NULL;
}

static void sweep_list(Store *store, Marker *marker) {
    Object **link = store->unswept;
    while (*link) {
        if (stopped(marker)) { store->unswept = link; return; }
        Object *object = *link;
        if (object->marked == store->collection) {
            link = &object->next;
            continue;
        }
        *link = object->next;
        uint64_t bytes = object_bytes(object);
        store->allocated -= bytes;
        store->budget->used -= bytes;
        discard(store, object);
    }
    store->unswept = NULL;
}

/* Free what was not marked, from where the last sweep was broken off. */
static void sweep(Store *store, Marker *marker) {
    if (store->unswept_blocks) sweep_blocks(store, marker);
    if (store->unswept && !marker->stopped) sweep_list(store, marker);
}

/* From now on cells are taken of those that the sweep finds, and of new blocks. */
static void begin_sweep(Store *store) {
    memset(store->free_cells, 0, sizeof store->free_cells);
    memset(store->current, 0, sizeof store->current);
    store->unswept_blocks = &store->blocks;
    store->unswept = &store->objects;
}

/* Marks count for one collection only, so that those of one that was broken off need not be taken back. */
static void begin(Store *store) {
    if (++store->collection) return;
    store->collection = 1;
    for (Object *object = store->objects; object; object = object->next) object->marked = 0;
    for (Block *block = store->blocks; block; block = block->next)
        EACH_CELL(block, cell) if (!is_free(cell)) cell->marked = 0;
}

/* Without memory for the marker nothing is freed, and the heap grows instead. A collection that is broken
   off while it marks leaves all as it was; one that sweeps goes on where it was, before the next begins. */
int tw_collect(Store *store) {
    Marker marker = {.store = store};
    store->busy = 1;
    if (store->unswept_blocks || store->unswept) sweep(store, &marker);
    if (!marker.stopped) {
        begin(store);
        if (build_set(store, &marker)) {
            mark_roots(store, &marker);
            while (marker.count && !marker.failed && !stopped(&marker))
                mark_children(&marker, marker.pending[--marker.count]);
            if (!marker.failed && !marker.stopped) {
                begin_sweep(store);
                sweep(store, &marker);
            }
        }
    }
    store->busy = 0;
    free(marker.set);
    free(marker.pending);
    if (marker.stopped) return marker.stopped;
    store->threshold = store->allocated * 2 > tw_first_threshold ? store->allocated * 2 : tw_first_threshold;
    if (tw_first_threshold == 0) store->threshold = 0;
    /* A collection looks at all objects and tables: that many host references pay for the next one. */
    uint64_t work = store->object_count;
    for (uint64_t i = 0; i < store->table_count; i++) work += store->tables[i]->size;
    store->host_threshold = store->host_count + (work / 4 > HOSTS ? work / 4 : HOSTS);
    return 0;
}

/* Everything, whoever holds it; host references go to `unreferenced`. */
void tw_free_objects(Store *store) {
    store->budget->used -= store->allocated;
    store->allocated = 0;
    store->unswept = NULL;
    store->unswept_blocks = NULL;
    Block *lists[] = {store->blocks, store->spare};
    for (int i = 0; i < 2; i++)
        for (Block *block = lists[i], *next; block; block = next) {
            next = block->next;
            free_block(store, block);
        }
    store->blocks = store->spare = NULL;
    store->spare_count = store->object_count = 0;
    memset(store->free_cells, 0, sizeof store->free_cells);
    memset(store->current, 0, sizeof store->current);
    while (store->objects) {
        Object *object = store->objects;
        store->objects = object->next;
        discard(store, object);
    }
}
