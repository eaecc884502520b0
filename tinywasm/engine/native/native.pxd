"""The structures and functions of `native.h` and `verify.h`, as far as Python's side uses them."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t

cdef extern from "native.h" nogil:
    ctypedef struct Instr:
        pass
    enum:
        KIND_FUNC, KIND_STRUCT, KIND_ARRAY, KIND_EXN, KIND_HOST
        STATUS_DONE, STATUS_TRAP, STATUS_THROWN, STATUS_PYTHON
        TRAP_PYTHON, TRAP_ALLOCATION_TOO_LARGE
    ctypedef struct TypeInfo:
        int kind
        uint32_t depth
        TypeInfo **display
        uint32_t slots
        char *kinds
        char *params
        char *results
        uint32_t param_slots, result_slots
        int references
        char element
        uint32_t element_size
        void *python
    ctypedef struct Object:
        TypeInfo *type
        uint8_t kind
    ctypedef struct Struct:
        uint64_t fields[1]
    ctypedef struct Array:
        uint64_t length
    ctypedef struct Tag:
        TypeInfo *type
        void *python
    ctypedef struct Exn:
        Object head
        Tag *tag
        uint64_t values[1]
    ctypedef struct Host:
        Object head
        void *python
    ctypedef struct Clause:
        int32_t tag
        uint32_t with_ref, target, height, base
    ctypedef struct Handler:
        uint32_t start, end, count
        Clause *clauses
    ctypedef struct Window:
        uint32_t start, base
    ctypedef int64_t (*EnterMachine)(Instance *, uint64_t, int64_t, uint64_t *, void *)
    ctypedef struct LoopEntry:
        LoopEntry *next
        uint32_t word
        EnterMachine entry
        void *machine
    ctypedef struct Code:
        Instr *words
        Instr *start
        uint32_t word_count, frame_slots, near_slots, param_slots, zeros, result_slots, handler_count
        uint32_t window_count
        Handler *handlers
        Window *windows
        int64_t cost
        uint64_t calls, own
        uint32_t cool
        uint32_t begun
        EnterMachine entry
        void *machine
        LoopEntry *loops
    ctypedef struct Func:
        Object head
        Code *code
        Instance *instance
        void *python
        void *owner
        int host, constant
    ctypedef struct Budget:
        uint64_t limit, used, holders, memory_size, table_elements
    bint tw_fits(const Budget *budget, uint64_t bytes)
    ctypedef struct Memory:
        Budget *budget
        uint8_t *base
        uint64_t size, pages, max_pages, page_size, reserved, opened
        int is64
    ctypedef struct Table:
        Budget *budget
        uint64_t *elements
        uint64_t size, max, capacity
        int is64
    ctypedef struct Global:
        uint64_t value[2]
        int is_ref
    ctypedef struct Segment:
        const uint8_t *bytes
        uint64_t *refs
        uint64_t length
    ctypedef struct Instance:
        Store *store
        Func **funcs
        Memory **memories
        Table **tables
        Global **globals
        Tag **tags
        TypeInfo **types
        Segment *datas
        Segment *elems
        void *python
        uint64_t func_count, memory_count, table_count, global_count, tag_count, type_count
        uint64_t data_count, elem_count
    ctypedef struct Frame:
        Instr *pc
        uint64_t *fp
        Func *func
    ctypedef struct Store:
        Budget *budget
        uint64_t *stack
        uint64_t *stack_end
        uint64_t *top
        Frame *frames
        int64_t depth, max_depth, stack_slots
        uintptr_t machine_limit
        const void *const *helpers
        int64_t fuel
        int trap
        uint64_t element, refused
        int failure
        int busy
        int64_t left
        int poll_wanted
        unsigned long thread
        Exn *thrown
        Host *unreferenced
        Instance **instances
        uint64_t instance_count
        Global **globals
        uint64_t global_count
        Table **tables
        uint64_t table_count
        void *python
        void *thread_state
        void (*release)(Store *) noexcept nogil
        void (*acquire)(Store *) noexcept nogil
        int (*prepare)(Store *, Func *) noexcept
        int (*call_host)(Store *, Func *, uint64_t *) noexcept
        int (*poll)(Store *) noexcept
        int (*hot)(Store *, Func *, int64_t) noexcept
    int tw_borrow_stack(Store *store)
    void tw_return_stack(Store *store)
    int tw_go_deeper(Store *store, const uint64_t *end)
    uint64_t tw_stack_bytes(const Store *store)
    int tw_thread_stack_is_low()
    int tw_map_flags
    void *tw_map(uint64_t size, int protection)
    unsigned long tw_main_thread
    int tw_run(Store *store, Func *func, uint64_t *fp)
    int64_t POLL_WORDS
    int64_t tw_poll_words
    uintptr_t tw_machine_limit()
    void tw_enter_machine(Code *code, EnterMachine entry, void *machine)
    void tw_enter_loop(Code *code, LoopEntry *loop)
    void tw_processor(uint32_t *found)
    void *tw_machine_open(const void *bytes, uint64_t size)
    void tw_machine_close(void *place, uint64_t size)
    const char *const tw_place_names[]
    const char *const tw_helper_names[]
    const uint64_t tw_places[]
    const void *const tw_helpers[]
    int tw_memory_open(Memory *memory, uint64_t size)
    int64_t tw_memory_grow(Memory *memory, uint64_t pages)
    int64_t tw_table_enlarge(Table *table, uint64_t count, uint64_t value)
    void tw_elem_drop(Segment *elem)
    Object *tw_new_exn(Store *store, Tag *tag)
    Object *tw_new_host(Store *store, void *python)
    void tw_pin(Store *store, Object *object)
    void tw_unpin(Store *store, Object *object)
    int tw_is_instance(uint64_t ref, TypeInfo *concrete, int heap, int nullable)
    uint64_t tw_first_threshold
    int tw_collect(Store *store)
    void tw_free_objects(Store *store)
    const char *tw_table_digest()


cdef extern from "native.h":
    int tw_visit_hosts(const Store *store, int (*visit)(void *, void *) noexcept, void *argument)


cdef extern from "verify.h" nogil:
    enum:
        GLOBAL_REFERENCE, GLOBAL_MUTABLE, TAKES_OTHERS
    ctypedef struct Scope:
        TypeInfo **types
        TypeInfo **funcs
        TypeInfo **tags
        uint8_t *globals
        uint8_t *calls
        uint64_t type_count, func_count, tag_count, global_count, table_count, memory_count
        uint64_t data_count, elem_count
    const char *tw_verify(
        const Code *code, const Scope *scope, const TypeInfo *type, uint32_t *word, int *references
    )
    int tw_closed(const Code *code, const Scope *scope)
