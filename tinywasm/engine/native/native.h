/* What the loop works on. The extension `_loop` builds these structures and owns their memory.

   A slot is 64 bits. An i32 and an f32 lie in the low half with the high half zero; a v128 takes two
   slots; a reference is 0 for null, an odd number for an i31, else the address of an `Object`. */

#ifndef TINYWASM_NATIVE_H
#define TINYWASM_NATIVE_H

#include <stdint.h>
#include <string.h>

#include "heap_kind.h"
#include "trap.h"

typedef struct Instr {
    uint16_t op, a, b, c;
    union {
        uint64_t imm;
        struct { uint32_t low, high; };
    };
} Instr;

enum object_kind { KIND_FUNC, KIND_STRUCT, KIND_ARRAY, KIND_EXN, KIND_HOST };

/* A canonical type definition. `display` has the ancestors from the root on, the type itself last.
   `slots` counts a function's parameters or a structure's fields; `kinds` has one letter a slot of a
   structure: r for a reference, b and h for packed bytes and halves, . for anything else. `params` and
   `results` are a function's value types as letters i l f d v r; `references` tells of an r. An array has `element` (a letter as
   of a structure, or i l f d v) of `element_size` bytes. */
typedef struct TypeInfo {
    int kind;
    uint32_t depth;
    struct TypeInfo **display;
    uint32_t slots;
    char *kinds;
    char *params, *results;
    uint32_t param_slots, result_slots;
    int references;
    char element;
    uint32_t element_size;
    void *python;
} TypeInfo;

typedef struct Object {
    struct Object *next; /* of a cell, which see heap.c: only while it is free */
    TypeInfo *type;
    uint32_t pins; /* how many Python objects hold it */
    uint8_t kind;
    uint16_t marked; /* the latest collection that reached it */
} Object;

typedef struct Struct {
    Object head;
    uint64_t fields[];
} Struct;

typedef struct Array {
    Object head;
    uint64_t length;
    uint64_t unused; /* keeps the elements aligned to 16 bytes */
    uint8_t elements[];
} Array;

typedef struct Tag {
    TypeInfo *type;
    void *python;
} Tag;

typedef struct Exn {
    Object head;
    Tag *tag;
    uint64_t values[];
} Exn;

typedef struct Host {
    Object head;
    void *python;
} Host;

typedef struct Clause {
    int32_t tag; /* index, or -1 for all */
    uint32_t with_ref, target, height, base;
} Clause;

typedef struct Handler {
    uint32_t start, end, count;
    Clause *clauses;
} Handler;

/* What an instruction needs beside its operands lies in so many slots above the frame, which no call leaves
   anything in. */
#define TW_ABOVE 64

/* From the word `start` on `fp` lies `base` slots higher than the frame's first window: `windows.py`. */
typedef struct Window {
    uint32_t start, base;
} Window;

/* `frame_slots` count from the first argument on. In a wide frame `fp` first lies behind the far locals, and
   `near_slots` count from there; so does a clause's `height`. */
struct Instance;

/* Runs machine code with the arguments at `fp`, and leaves its results there: see `machine.c`. */
typedef int64_t (*EnterMachine)(struct Instance *, uint64_t room, int64_t budget, uint64_t *fp, void *machine);

/* The machine code of a function from a word on at which a loop begins: it finds the frame as the words have it. */
typedef struct LoopEntry {
    struct LoopEntry *next;
    uint32_t word;
    EnterMachine entry;
    void *machine;
} LoopEntry;

typedef struct Code {
    /* A call begins at `start`: the first of the words, or the way into machine code. */
    Instr *words, *start;
    uint32_t word_count, frame_slots, near_slots, param_slots, zeros, result_slots, handler_count, window_count;
    Handler *handlers;
    Window *windows;
    /* What entering it counts toward the next look at the interrupt flag, in words. */
    int64_t cost;
    /* What a profile counts: calls, and instructions as fuel counts them. */
    uint64_t calls, own;
    /* How often looks have yet to meet it until it is hot; 0 where nobody asks. */
    uint32_t cool;
    /* How many looks have met it where it begins. */
    uint32_t begun;
    /* NULL, or what the word `compiled` enters, and the function's own convention. */
    EnterMachine entry;
    void *machine;
    LoopEntry *loops;
} Code;

typedef struct Func {
    Object head;
    Code *code; /* NULL until the first call, and for a host function */
    struct Instance *instance;
    void *python; /* the function instance of a host function; others are made when Python asks */
    void *owner; /* the extension's object: that around this structure for a host function, else the code's */
    int host;
    int constant; /* a constant expression, which runs as a function of no name */
    /* NULL, or machine code of the function's own convention: that of `code`, or what this was before. */
    void *machine;
} Func;

/* The bytes that a store's memories, tables and objects take together, and may take; and to what size each
   memory (bytes) and table (elements) may grow. Whatever counts in it may outlive the store: the last of its
   holders frees it. */
typedef struct Budget {
    uint64_t limit, used, holders;
    uint64_t memory_size, table_elements;
} Budget;

typedef struct Memory {
    Budget *budget;
    uint8_t *base;
    uint64_t size, pages, max_pages, page_size, reserved;
    uint64_t opened; /* how far `reserved` is open, in whole units of 64 KiB */
    int is64;
} Memory;

typedef struct Table {
    Budget *budget;
    uint64_t *elements;
    uint64_t size, max, capacity;
    int is64;
} Table;

typedef struct Global {
    uint64_t value[2];
    int is_ref;
} Global;

typedef struct Segment {
    const uint8_t *bytes;
    uint64_t *refs;
    uint64_t length;
} Segment;

struct Store;

/* Small objects are cells of as many bytes as a multiple of the unit, of fewer than so many classes. */
#define CELL_UNIT 16
#define CELL_CLASSES 17
typedef struct Block Block;

typedef struct Instance {
    struct Store *store;
    Func **funcs;
    Memory **memories;
    Table **tables;
    Global **globals;
    Tag **tags;
    TypeInfo **types;
    Segment *datas, *elems;
    void *python; /* the extension's object around this structure */
    uint64_t func_count, memory_count, table_count, global_count, tag_count, type_count, data_count, elem_count;
} Instance;

/* Of machine code: `fp` is NULL, and `pc` a position in the module. */
typedef struct Frame {
    Instr *pc;
    uint64_t *fp;
    Func *func;
} Frame;

/* What a store runs on: see `stack_pool.c`. */
typedef struct Stack Stack;

enum status { STATUS_DONE, STATUS_TRAP, STATUS_THROWN, STATUS_PYTHON };

/* What the instances of one store share.

   A run begins with the GIL held, which makes short calls cheap; the first look whether a poll is wanted
   lets it go (`thread_state` is then not NULL), and callbacks and the end of the run take it back. */
typedef struct Store {
    Budget *budget;
    /* Borrowed while a call is under way, else NULL. At `stack_end` and `frames_mark` the loop asks
       `tw_go_deeper`. */
    Stack *borrowed;
    uint64_t *stack, *stack_end, *slots_end, *top;
    Frame *frames, *frames_mark;
    int64_t depth, max_depth, stack_slots;
    /* Machine code takes no more of the thread's stack than down to here. */
    uintptr_t machine_limit;
    const void *const *helpers; /* what machine code calls, in the order of `tw_helper_names` */
    int status; /* why machine code ended before it was done */
    int64_t fuel;
    int trap;
    uint64_t element; /* the table index of an uninitialized element */
    uint64_t refused; /* the length of an array that was not allocated */
    int failure; /* why the latest allocation failed: a trap code */
    volatile int poll_wanted; /* whether `poll` should be called soon */
    unsigned long thread; /* whose calls are under way */
    int busy; /* in the middle of an instruction or of a collection, where nothing may change */
    uint32_t looks;
    int64_t left; /* what the latest run left of its budget */
    uint32_t chance, called_out;
    Exn *thrown;
    Object *objects;
    uint64_t allocated, threshold;
    uint64_t object_count, host_count, host_threshold; /* host references, of which so many begin a collection */
    uint16_t collection; /* the number of the latest one */
    Block *blocks, *current[CELL_CLASSES], *spare;
    Object *free_cells[CELL_CLASSES];
    uint64_t block_count, spare_count;
    uint64_t pinned; /* objects that have pins */
    Block **unswept_blocks; /* as `unswept` */
    Object **unswept; /* where an interrupted one goes on to sweep; NULL where none was interrupted */
    Host *unreferenced; /* swept host references whose Python objects the next callback releases */
    Instance **instances;
    uint64_t instance_count;
    Global **globals;
    uint64_t global_count;
    Table **tables;
    uint64_t table_count;
    void *python;
    void *thread_state;
    void (*release)(struct Store *);
    void (*acquire)(struct Store *);
    int (*prepare)(struct Store *, Func *);
    int (*call_host)(struct Store *, Func *, uint64_t *);
    int (*poll)(struct Store *);
    int (*hot)(struct Store *, Func *, int64_t word);
} Store;

/* The thread that Python tells of signals. */
extern unsigned long tw_main_thread;

/* Run `func` with its arguments at `fp`; results are left there. Returns a `status`. */
int tw_run(Store *store, Func *func, uint64_t *fp);
/* The same with what is left of a `budget`, where `by_words` without machine code for `func` itself. */
int tw_run_within(Store *store, Func *func, uint64_t *fp, int64_t *budget, int by_words);
/* What a run has until it looks whether it shall end, and what a host function takes of it. */
#define POLL_WORDS (1 << 18)
extern int64_t tw_poll_words; /* so many but in tests */
#define HOST_CALL_WORDS 4096
#define ALLOCATION_WORDS 128
/* A memory grows by a system call. */
#define GROWTH_WORDS 4096

/* How many frames fit above the one at `depth`, in the upper half, and how many slots from its `fp` on. */
static inline uint64_t tw_room(const Store *store, int64_t depth, const uint64_t *fp) {
    return (uint64_t)(store->max_depth - depth) << 32 | (uint64_t)(store->slots_end - fp);
}

/* Where a call of the function begins. What was written before that, in any thread, is there. */
static inline Instr *tw_start(const Code *code) { return __atomic_load_n(&code->start, __ATOMIC_RELAXED); }

/* From now on calls of the function enter machine code, in whatever thread. */
void tw_enter_machine(Code *code, EnterMachine entry, void *machine);
/* The same for what runs it and comes to the head of a loop. */
void tw_enter_loop(Code *code, LoopEntry *loop);
/* The machine code from that word on, if there is some. */
static inline const LoopEntry *tw_loop_at(const Code *code, const Instr *pc) {
    const LoopEntry *each = __atomic_load_n(&code->loops, __ATOMIC_ACQUIRE);
    while (each && code->words + each->word != pc) each = each->next;
    return each;
}
/* Where Python code may run: the function is warmer by one look, and the engine is told when it is hot, with the
   word if a loop begins there, else with -1. 0, or a trap code. Lets go of the GIL. */
int tw_warm(Store *store, Func *func, int64_t word);
/* The budget until the next look. It varies, so that not every look meets the same place of a loop. */
int64_t tw_next_budget(Store *store);
void tw_processor(uint32_t found[4]);
void *tw_machine_open(const void *bytes, uint64_t size);
void tw_machine_close(void *place, uint64_t size);
/* Down to where machine code may use this thread's stack: UINTPTR_MAX, which is nowhere, if that is not known. */
uintptr_t tw_machine_limit(void);
/* By the names of structures' members, where they lie; by their names, what machine code calls. Both end with
   NULL. */
extern const char *const tw_place_names[], *const tw_helper_names[];
extern const uint64_t tw_places[];
extern const void *const tw_helpers[];

/* -1 where there is no address space for one. */
int tw_borrow_stack(Store *store);
void tw_return_stack(Store *store);
/* Whether a frame that ends at `end` still fits, now that the marks have been passed. */
int tw_go_deeper(Store *store, const uint64_t *end);
uint64_t tw_stack_bytes(const Store *store);
/* Address space, for which stacks that no store has borrowed give way; NULL where there is none. */
extern int tw_map_flags; /* how `tw_map` maps */
void *tw_map(uint64_t size, int protection);

static inline int tw_fits(const Budget *budget, uint64_t bytes) {
    return bytes == 0 || (budget->used <= budget->limit && bytes <= budget->limit - budget->used);
}

/* Whether the thread's own stack is nearly used up, as far as that can be told. */
int tw_thread_stack_is_low(void);

/* How far `fp` lies above the frame's first window at `word`. */
static inline uint32_t window_base(const Code *code, uint32_t word) {
    uint32_t low = 0, high = code->window_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (code->windows[middle].start <= word) low = middle + 1; else high = middle;
    }
    return low ? code->windows[low - 1].base : 0;
}

/* Look whether the run shall end: polls where that is wanted, and sometimes, in the main thread, for Python's
   signals. 0, or a trap code. Lets go of the GIL. The frames must be saved: Python code may run. */
int tw_look(Store *store);
/* The same in the middle of an instruction or a collection: that code may not enter the store. */
int tw_pause(Store *store);
/* Bulk work is done in pieces of so many bytes at most, with a pause between any two. */
#define TW_PIECE (UINT64_C(256) << 10)

/* Make reserved space usable up to `size`; -1 where the system does not give that much. Space that is not
   open counts toward no limit of the process (RLIMIT_DATA). */
int tw_memory_open(Memory *memory, uint64_t size);

/* -1 where refused, else the old size. */
int64_t tw_memory_grow(Memory *memory, uint64_t pages);
/* The same for a table, without a store: a call is not under way. */
int64_t tw_table_enlarge(Table *table, uint64_t count, uint64_t value);
/* An element segment is empty from now on. */
void tw_elem_drop(Segment *elem);

/* The bulk instructions, and constructors of aggregates, with their operands from `s` on, in order; results
   are left at `s`. Each returns a trap code. `metered` ones pay with fuel for the bytes that they write,
   when everything else has been checked. */
int tw_memory_fill(Store *, int metered, Memory *, const uint64_t *s);
int tw_memory_copy(Store *, int metered, Memory *to, Memory *from, const uint64_t *s);
int tw_memory_init(Store *, int metered, Memory *, const Segment *, const uint64_t *s);
int tw_table_grow(Store *, int metered, Table *, uint64_t *s);
int tw_table_fill(Store *, int metered, Table *, const uint64_t *s);
int tw_table_copy(Store *, int metered, Table *to, Table *from, const uint64_t *s);
int tw_table_init(Store *, int metered, Table *, const Segment *, const uint64_t *s);
int tw_struct_new(Store *, int metered, TypeInfo *, uint64_t *s, int with_values);
int tw_array_new(Store *, int metered, TypeInfo *, uint64_t *s, int with_value, uint64_t length);
int tw_array_new_fixed(Store *, int metered, TypeInfo *, uint64_t *s, uint64_t length);
int tw_array_new_data(Store *, int metered, TypeInfo *, const Segment *, uint64_t *s);
int tw_array_new_elem(Store *, int metered, TypeInfo *, const Segment *, uint64_t *s);
int tw_array_fill(Store *, int metered, uint64_t count, const uint64_t *s);
int tw_array_copy(Store *, int metered, const uint64_t *s);
int tw_array_init(Store *, int metered, const Segment *, int refs, const uint64_t *s);

extern uint64_t tw_first_threshold;
Object *tw_new_struct(Store *store, TypeInfo *type);
/* The same, with fields that have yet to be written; NULL unless it can be had at once. */
Struct *tw_quick_struct(Store *store, TypeInfo *type);
/* A Python object holds the object from now on, or lets go of it. */
static inline void tw_pin(Store *store, Object *object) { store->pinned += object->pins++ == 0; }
static inline void tw_unpin(Store *store, Object *object) { store->pinned -= --object->pins == 0; }
Object *tw_new_array(Store *store, TypeInfo *type, uint64_t length);
Object *tw_new_exn(Store *store, Tag *tag);
Object *tw_new_host(Store *store, void *python);
/* Call `visit` with the Python object of each host reference; what it gives unless 0 ends that. */
int tw_visit_hosts(const Store *store, int (*visit)(void *, void *), void *argument);
/* 0, or the trap code of what broke it off; `look`s only while a run is under way. */
int tw_collect(Store *store);
/* Whether an array of that length is refused, whatever memory there is. */
int tw_array_too_long(Store *store, uint64_t length);
void tw_free_objects(Store *store);
static inline int tw_inside(uint64_t start, uint64_t count, uint64_t size) {
    return start <= size && count <= size - start;
}

static inline void tw_array_write(Array *array, uint64_t index, const uint64_t *value) {
    memcpy(array->elements + index * array->head.type->element_size, value, array->head.type->element_size);
}

uint64_t tw_array_read(const Array *array, uint64_t index, uint64_t *high);
int tw_is_instance(uint64_t ref, TypeInfo *concrete, int heap, int nullable);
const char *tw_table_digest(void);

#endif
