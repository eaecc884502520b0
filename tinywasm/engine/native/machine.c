/* Where machine code and the loop meet. What machine code is made of, and by which conventions, says
   `engine/llvm/emit.py`.

   Machine code keeps its frames on the thread's stack, but counts them as the loop does: `room` says how many
   frames and slots are left, and with them where the frame's slots lie. So whatever is at the edge, the loop
   decides: a call for which the room or the thread's stack may not be enough is one that the loop runs
   (`helper_deeper`). Its `budget` is the loop's too. Each function returns what is left of it, or -1 after a trap
   or a throw, which `Store.status` tells; on the way back each records its own frame for the backtrace.

   A `site` is the function's index and, in the lower half, the position of its instruction in the module; a
   `shape` how many slots the frame has and, in the lower half, at which of them the operands begin.

   Where a collection may begin, the first slots of each frame have the references that are needed. */

#include <stddef.h>
#include <sys/mman.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "native.h"
#include "opcodes.h"

int64_t tw_poll_words = POLL_WORDS;

/* No word of any function: the verifier refuses it there. */
static Instr way_in = {.op = OP_compiled};

/* Threads run the function meanwhile: each of the three is there before what leads to it. */
void tw_enter_machine(Code *code, EnterMachine entry, void *machine) {
    __atomic_store_n(&code->machine, machine, __ATOMIC_RELEASE);
    __atomic_store_n(&code->entry, entry, __ATOMIC_RELEASE);
    __atomic_store_n(&code->start, &way_in, __ATOMIC_RELEASE);
}

void tw_enter_loop(Code *code, LoopEntry *loop) {
    loop->next = code->loops;
    __atomic_store_n(&code->loops, loop, __ATOMIC_RELEASE);
}

/* Several threads may count at once, which may lose a look. */
int tw_warm(Store *store, Func *func, int64_t word) {
    /* Machine code may run a function that the loop has never run for this instance. */
    if (!func->code) return TRAP_NONE;
    uint32_t cool = __atomic_load_n(&func->code->cool, __ATOMIC_RELAXED);
    if (cool == 0) return TRAP_NONE;
    __atomic_store_n(&func->code->cool, cool - 1, __ATOMIC_RELAXED);
    if (cool > 1) return TRAP_NONE;
    if (store->thread_state) store->acquire(store);
    if (store->hot(store, func, word) != STATUS_DONE) return TRAP_PYTHON;
    store->release(store);
    return TRAP_NONE;
}

int64_t tw_next_budget(Store *store) {
    store->chance = store->chance * UINT32_C(1664525) + UINT32_C(1013904223);
    return tw_poll_words - (int64_t)((uint64_t)store->chance * (uint64_t)(tw_poll_words / 4) >> 32);
}

/* Bytes that can be run, and not be written. */
void *tw_machine_open(const void *bytes, uint64_t size) {
    void *place = tw_map(size, PROT_READ | PROT_WRITE);
    if (!place) return NULL;
    memcpy(place, bytes, size);
    if (mprotect(place, size, PROT_READ | PROT_EXEC) == 0) return place;
    munmap(place, size);
    return NULL;
}

/* What CPUID says of features, and XGETBV of registers that the system keeps: all 0 on another processor. */
void tw_processor(uint32_t found[4]) {
    memset(found, 0, 4 * sizeof(uint32_t));
#if defined(__x86_64__)
    uint32_t a, b, c, d, high;
    if (__get_cpuid(1, &a, &b, &c, &d)) found[0] = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) found[1] = b;
    if (__get_cpuid(0x80000001, &a, &b, &c, &d)) found[2] = c;
    if (found[0] & 1u << 27) __asm__("xgetbv" : "=a"(found[3]), "=d"(high) : "c"(0));
#endif
}

void tw_machine_close(void *place, uint64_t size) { munmap(place, size); }

static int64_t failed(Store *store, int status) {
    store->status = status;
    return -1;
}

static int64_t trapped(Store *store, int trap) {
    if (trap == TRAP_PYTHON) return failed(store, STATUS_PYTHON);
    store->trap = trap;
    return failed(store, STATUS_TRAP);
}

/* From now on machine code of the same instance enters the function's own, if it has some, at once. */
static void know(Func *func) {
    if (func->code) func->machine = __atomic_load_n(&func->code->machine, __ATOMIC_ACQUIRE);
}

static int64_t at_least_0(int64_t budget) { return budget > 0 ? budget : 0; }

static Frame *record(const Instance *instance, uint64_t room, uint64_t site) {
    Store *store = instance->store;
    Frame *frame = store->frames + (store->max_depth - (int64_t)(room >> 32));
    if (frame >= store->frames_mark) tw_go_deeper(store, store->stack);
    frame->pc = (Instr *)(uintptr_t)(uint32_t)site;
    frame->fp = NULL;
    frame->func = instance->funcs[site >> 32];
    return frame;
}

/* As the loop's `save`; where the operands are. */
static uint64_t *save(const Instance *instance, uint64_t room, uint64_t site, uint64_t shape) {
    Store *store = instance->store;
    uint64_t *fp = store->slots_end - (uint32_t)room;
    store->depth = record(instance, room, site) - store->frames;
    store->top = fp + (shape >> 32);
    return fp + (uint32_t)shape;
}

static int64_t helper_trap(const Instance *instance, uint64_t room, uint64_t site, int trap) {
    Store *store = instance->store;
    store->depth = record(instance, room, site) - store->frames;
    return trapped(store, trap);
}

/* A call through an element of a table that has none. */
static int64_t helper_trap_null(const Instance *instance, uint64_t room, uint64_t site, uint64_t element) {
    instance->store->element = element;
    return helper_trap(instance, room, site, TRAP_INDIRECT_CALL_TO_NULL);
}

static int64_t helper_unwind(const Instance *instance, uint64_t room, uint64_t site) {
    record(instance, room, site);
    return -1;
}

static int64_t look(Store *store) {
    int trap = tw_look(store);
    return trap ? trapped(store, trap) : tw_next_budget(store);
}

static int64_t helper_look(const Instance *instance, uint64_t room, uint64_t site, uint64_t shape) {
    save(instance, room, site, shape);
    return look(instance->store);
}

/* The same, where the function is to be compiled again if it stays hot. */
static int64_t helper_warm(const Instance *instance, uint64_t room, uint64_t site, uint64_t shape) {
    Func *func = instance->funcs[site >> 32];
    save(instance, room, site, shape);
    know(func);
    int trap = tw_warm(instance->store, func, -1);
    return trap ? trapped(instance->store, trap) : look(instance->store);
}

/* So many calls out of machine code, which take long, warm the callee like a look. */
#define CALLS_A_LOOK 64

/* The operands end where the arguments do, or the results. */
static void hold(Store *store, uint64_t *args, const TypeInfo *type) {
    store->top = args + type->param_slots;
    /* Nothing of what other calls left there is to be taken for a reference. */
    while (store->top < args + type->result_slots) *store->top++ = 0;
}

/* Call a function that may be anyone's, with its arguments among the slots. */
static int64_t helper_call(
    const Instance *instance, uint64_t room, int64_t budget, Func *callee, uint64_t site, uint64_t shape
) {
    Store *store = instance->store;
    uint64_t *args = save(instance, room, site, shape);
    hold(store, args, callee->head.type);
    if (!callee->host) {
        if (++store->called_out % CALLS_A_LOOK == 0) {
            int trap = tw_warm(store, callee, -1);
            if (trap) return trapped(store, trap);
        }
        int status = tw_run_within(store, callee, args, &budget, 0);
        know(callee);
        return status == STATUS_DONE ? budget : failed(store, status);
    }
    if (store->thread_state) store->acquire(store);
    int status = store->call_host(store, callee, args);
    if (status != STATUS_DONE) return failed(store, status);
    budget -= HOST_CALL_WORDS;
    return budget < 0 || store->poll_wanted ? look(store) : budget;
}

/* A tail call, with the arguments where those of the caller were: as the loop's. Until the callee begins, a trap
   is the caller's. */
static int64_t helper_replace(
    const Instance *instance, uint64_t room, int64_t budget, Func *callee, uint64_t site, uint64_t shape
) {
    Store *store = instance->store;
    uint64_t *fp = store->slots_end - (uint32_t)room;
    save(instance, room, site, shape);
    hold(store, fp, callee->head.type);
    if (callee->host || !callee->code) {
        if (store->thread_state) store->acquire(store);
        int status = callee->host ? store->call_host(store, callee, fp) : store->prepare(store, callee);
        if (status != STATUS_DONE) return failed(store, status);
        if (callee->host) return at_least_0(budget - HOST_CALL_WORDS);
    }
    if (callee->code->frame_slots > (uint32_t)room) return trapped(store, TRAP_STACK_OVERFLOW);
    store->depth--;
    int status = tw_run_within(store, callee, fp, &budget, 0);
    return status == STATUS_DONE ? budget : failed(store, status);
}

/* The loop goes on for a function that has just been entered; `room` is its own. */
static int64_t helper_deeper(const Instance *instance, uint64_t room, int64_t budget, uint64_t index) {
    Store *store = instance->store;
    Func *func = instance->funcs[index];
    uint64_t *fp = store->slots_end - (uint32_t)room;
    store->depth = store->max_depth - (int32_t)(room >> 32) - 1;
    store->top = fp + func->head.type->param_slots;
    int status = tw_run_within(store, func, fp, &budget, 1);
    return status == STATUS_DONE ? budget : failed(store, status);
}

static int64_t helper_is_instance(const Object *object, TypeInfo *type, int heap) {
    return tw_is_instance((uintptr_t)object, type, heap, 0);
}

static int64_t helper_memory_grow(Memory *memory, uint64_t pages) { return tw_memory_grow(memory, pages); }

/* A bulk instruction may take long: as the loop's BULK. */
static int begin_bulk(Store *store, int64_t *budget, uint64_t bytes) {
    if (bytes <= TW_PIECE && (int64_t)bytes <= *budget) {
        *budget -= (int64_t)bytes;
        return TRAP_NONE;
    }
    *budget = tw_poll_words;
    return tw_pause(store);
}

static int64_t end_bulk(Store *store, int64_t budget, int trap) {
    return trap ? trapped(store, trap) : at_least_0(budget);
}

static int begin_allocation(Store *store, int64_t *budget, uint64_t bytes) {
    uint64_t words = ALLOCATION_WORDS + bytes;
    if ((int64_t)words <= *budget) {
        *budget -= (int64_t)words;
        return TRAP_NONE;
    }
    *budget = tw_poll_words;
    return tw_pause(store);
}

/* `to` and `from` are the instruction's immediates; its operands begin at `s`, where its result goes. */
#define LONG(name, begin, bytes, call) \
    static int64_t helper_##name( \
        const Instance *instance, uint64_t room, int64_t budget, uint64_t site, uint64_t shape, int metered, \
        uint32_t to, uint32_t from \
    ) { \
        Store *store = instance->store; \
        uint64_t *s = save(instance, room, site, shape); \
        TypeInfo *type = to < instance->type_count ? instance->types[to] : NULL; \
        (void)from; \
        (void)type; \
        int trap = begin(store, &budget, bytes); \
        return end_bulk(store, budget, trap ? trap : (call)); \
    }
#define BULK(name, bytes, call) LONG(name, begin_bulk, bytes, call)
#define ALLOCATE(name, bytes, call) LONG(name, begin_allocation, bytes, call)

#define REFERENCES(count) ((count) > UINT64_MAX / 8 ? UINT64_MAX : (count) * 8)

BULK(memory_fill, s[2], tw_memory_fill(store, metered, instance->memories[to], s))
BULK(memory_copy, s[2], tw_memory_copy(store, metered, instance->memories[to], instance->memories[from], s))
BULK(memory_init, s[2], tw_memory_init(store, metered, instance->memories[to], &instance->datas[from], s))
BULK(table_grow, REFERENCES(s[1]), tw_table_grow(store, metered, instance->tables[to], s))
BULK(table_fill, REFERENCES(s[2]), tw_table_fill(store, metered, instance->tables[to], s))
BULK(table_copy, REFERENCES(s[2]), tw_table_copy(store, metered, instance->tables[to], instance->tables[from], s))
BULK(table_init, REFERENCES(s[2]), tw_table_init(store, metered, instance->tables[to], &instance->elems[from], s))

/* How many elements: behind the value for them, and what comes before it. */
static uint64_t length(const TypeInfo *type, const uint64_t *s, int before) {
    return (uint32_t)s[before + (type->element_size == 16 ? 2 : 1)];
}

ALLOCATE(struct_new, type->slots * 8, tw_struct_new(store, metered, type, s, 1))
ALLOCATE(struct_new_default, type->slots * 8, tw_struct_new(store, metered, type, s, 0))
ALLOCATE(array_new, length(type, s, 0) * type->element_size, tw_array_new(store, metered, type, s, 1, length(type, s, 0)))
ALLOCATE(array_new_default, s[0] * type->element_size, tw_array_new(store, metered, type, s, 0, s[0]))
ALLOCATE(array_new_fixed, (uint64_t)from * type->element_size, tw_array_new_fixed(store, metered, type, s, from))
ALLOCATE(array_new_data, s[1] * type->element_size, tw_array_new_data(store, metered, type, &instance->datas[from], s))
ALLOCATE(array_new_elem, s[1] * 8, tw_array_new_elem(store, metered, type, &instance->elems[from], s))
BULK(array_fill, length(type, s, 2) * type->element_size, tw_array_fill(store, metered, length(type, s, 2), s))
/* Elements have 16 bytes at most. */
BULK(array_copy, s[4] * 16, tw_array_copy(store, metered, s))
BULK(array_init_data, s[3] * 16, tw_array_init(store, metered, &instance->datas[from], 0, s))
BULK(array_init_elem, s[3] * 8, tw_array_init(store, metered, &instance->elems[from], 1, s))

static int64_t helper_throw_ref(Store *store, Exn *exn) {
    store->thrown = exn;
    return failed(store, STATUS_THROWN);
}

static int64_t helper_throw(
    const Instance *instance, uint64_t room, int64_t budget, uint64_t site, uint64_t shape, int metered, uint32_t to,
    uint32_t from
) {
    Store *store = instance->store;
    Tag *tag = instance->tags[to];
    const uint64_t *s = save(instance, room, site, shape);
    (void)budget, (void)metered, (void)from;
    Exn *exn = (Exn *)tw_new_exn(store, tag);
    if (!exn) return trapped(store, store->failure);
    memcpy(exn->values, s, tag->type->param_slots * 8);
    return helper_throw_ref(store, exn);
}

/* The exception that ended a call, if it was one. */
static int64_t helper_thrown(const Store *store) {
    return store->status == STATUS_THROWN ? (int64_t)(uintptr_t)store->thrown : 0;
}

static int64_t helper_data_drop(Instance *instance, uint64_t index) { return instance->datas[index].length = 0; }

static int64_t helper_elem_drop(Instance *instance, uint64_t index) {
    tw_elem_drop(&instance->elems[index]);
    return 0;
}

/* What is known to be inside and to be done soon is the C library's to do. */
#define helper_memmove memmove
#define helper_memset memset

#define EACH_HELPER(X) \
    X(trap) X(trap_null) X(unwind) X(look) X(warm) X(call) X(replace) X(deeper) X(is_instance) X(memory_grow) \
    X(memory_fill) X(memory_copy) X(memory_init) X(table_grow) X(table_fill) X(table_copy) X(table_init) \
    X(data_drop) X(elem_drop) X(struct_new) X(struct_new_default) X(array_new) X(array_new_default) \
    X(array_new_fixed) X(array_new_data) X(array_new_elem) X(array_fill) X(array_copy) X(array_init_data) \
    X(array_init_elem) X(throw) X(throw_ref) X(thrown) X(memmove) X(memset)

#define NAME(name) #name,
const char *const tw_helper_names[] = {EACH_HELPER(NAME) NULL};
#define FUNCTION(name) (const void *)helper_##name,
const void *const tw_helpers[] = {EACH_HELPER(FUNCTION) NULL};

#define EACH_PLACE(X) \
    X(Instance, store) X(Instance, funcs) X(Instance, memories) X(Instance, tables) X(Instance, globals) \
    X(Instance, tags) X(Instance, types) X(Memory, base) X(Memory, size) X(Memory, pages) X(Table, elements) X(Table, size) \
    X(Global, value) X(Func, code) X(Func, instance) X(Func, machine) X(Object, type) X(Struct, fields) X(Array, length) \
    X(Array, elements) X(Exn, tag) X(Exn, values) X(Code, machine) X(Code, frame_slots) X(Store, fuel) X(Store, slots_end) X(Store, machine_limit) \
    X(Store, helpers) X(Store, thrown)

#define PLACE_NAME(type, member) #type "." #member,
const char *const tw_place_names[] = {EACH_PLACE(PLACE_NAME) NULL};
#define PLACE(type, member) offsetof(type, member),
const uint64_t tw_places[] = {EACH_PLACE(PLACE) 0};
