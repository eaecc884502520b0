/* Structures, arrays, exceptions and host references, and their collection.

   Mark and sweep. Frames are scanned conservatively, since a slot does not say what it holds; the
   rest (globals, tables, segments, objects) exactly. Objects never move. */

#include <stdlib.h>
#include <string.h>

#include "native.h"

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
    Object *object = calloc(1, bytes);
    if (!object) return NULL;
    store->budget->used += bytes;
    object->kind = (uint8_t)kind;
    object->marked = store->collection; /* a sweep under way is not to take it */
    object->type = type;
    object->next = store->objects;
    store->objects = object;
    store->allocated += bytes;
    store->object_count++;
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

/* The set of live addresses, for the conservative scan, and the marker's stack. `stopped` is the trap code
   of what broke the collection off: all that follows is then skipped. */
typedef struct Marker {
    Store *store;
    Object **set;
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

static uint64_t hash(const Object *object, uint64_t mask) {
    return (((uintptr_t)object >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 20) & mask;
}

static int known(const Marker *marker, const Object *object) {
    for (uint64_t at = hash(object, marker->mask); marker->set[at]; at = (at + 1) & marker->mask)
        if (marker->set[at] == object) return 1;
    return 0;
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
    Object *object = (Object *)(uintptr_t)bits;
    if (known(marker, object)) push(marker, object);
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

static int build_set(Store *store, Marker *marker) {
    uint64_t count = 0, size = 1024;
    for (Object *object = store->objects; object && !stopped(marker); object = object->next) count++;
    while (size < count * 2) size *= 2;
    marker->set = calloc(size, sizeof *marker->set);
    if (!marker->set) return 0;
    marker->mask = size - 1;
    for (Object *object = store->objects; object && !stopped(marker); object = object->next) {
        uint64_t at = hash(object, marker->mask);
        while (marker->set[at]) at = (at + 1) & marker->mask;
        marker->set[at] = object;
    }
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

/* Free what was not marked, from where the last sweep was broken off. */
static void sweep(Store *store, Marker *marker) {
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

/* Marks count for one collection only, so that those of one that was broken off need not be taken back. */
static void begin(Store *store) {
    if (++store->collection) return;
    store->collection = 1;
    for (Object *object = store->objects; object; object = object->next) object->marked = 0;
}

/* Without memory for the marker nothing is freed, and the heap grows instead. A collection that is broken
   off while it marks leaves all as it was; one that sweeps goes on where it was, before the next begins. */
int tw_collect(Store *store) {
    Marker marker = {.store = store};
    store->busy = 1;
    if (store->unswept) sweep(store, &marker);
    if (!marker.stopped) {
        begin(store);
        if (build_set(store, &marker)) {
            mark_roots(store, &marker);
            while (marker.count && !marker.failed && !stopped(&marker))
                mark_children(&marker, marker.pending[--marker.count]);
            if (!marker.failed && !marker.stopped) {
                store->unswept = &store->objects;
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
    while (store->objects) {
        Object *object = store->objects;
        store->objects = object->next;
        discard(store, object);
    }
}
