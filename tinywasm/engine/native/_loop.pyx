# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The native engine's objects: what `loop.c` and `heap.c` work on, owned by Python.

Every structure that C reads belongs to a class here and lives as long as its store. Values cross as
the raw values of `tinywasm.runtime`; structures, arrays and exceptions that leave the loop come as a
`NativeRef`, which keeps the object alive.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport UINT64_MAX, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove, memset, strlen

import gc
import os
import threading

cdef extern from "Python.h" nogil:
    ctypedef struct PyThreadState:
        pass
    PyThreadState *PyEval_SaveThread()
    void PyEval_RestoreThread(PyThreadState *state)
    PyThreadState *PyThreadState_Get()
    uint64_t PyThreadState_GetID(PyThreadState *state)
    unsigned long PyThread_get_thread_ident()


cdef extern from "Python.h":
    ctypedef int (*visitproc)(PyObject *, void *) noexcept
    ctypedef int (*traverseproc)(PyObject *, visitproc, void *) noexcept
    ctypedef struct PyTypeObject:
        traverseproc tp_traverse
    object PyObject_Call(object callable, object args, PyObject *kwargs)
    object PyObject_CallNoArgs(object callable)


from tinywasm.engine.recursion import used_up_by_nesting
from tinywasm.errors import (
    FINER_WORDINGS,
    LinkError,
    OutOfFuel,
    StackExhausted,
    Trap,
    TrapCode,
    WasmError,
    WasmException,
)
from tinywasm.interruption import watched
from tinywasm.numerics.floats import f32_from_bits, f32_to_bits
from tinywasm.runtime import space
from tinywasm.runtime.calls import in_use, out_of_order
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.heap import I31
from tinywasm.types import (
    F32,
    F64,
    I32,
    I64,
    V128,
    AbstractHeap,
    ArrayType,
    DefinedType,
    FuncType,
    Limits,
    MemoryType,
    PackedType,
    StructType,
    TableType,
)


cdef extern from "sys/mman.h" nogil:
    int munmap(void *address, size_t length)
    int madvise(void *address, size_t length, int advice)
    int MADV_NOHUGEPAGE
    int PROT_NONE, PROT_READ, PROT_WRITE


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
        uint32_t pins
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
    ctypedef struct Code:
        Instr *words
        uint32_t word_count, frame_slots, near_slots, param_slots, zeros, result_slots, handler_count
        uint32_t window_count
        Handler *handlers
        Window *windows
        int32_t jumps
        uint64_t calls, own
    ctypedef struct Func:
        Object head
        Code *code
        Instance *instance
        void *python
        void *owner
        int host
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
        Func **funcs
        Memory **memories
        Table **tables
        Global **globals
        Tag **tags
        TypeInfo **types
        Segment *datas
        Segment *elems
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
        int64_t depth, max_depth
        int64_t fuel
        int trap
        uint64_t element, refused
        int failure
        int busy
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
    int tw_borrow_stack(Store *store)
    void tw_return_stack(Store *store)
    int tw_go_deeper(Store *store, const uint64_t *end)
    uint64_t tw_stack_bytes(const Store *store)
    void *tw_map(uint64_t size, int protection)
    unsigned long tw_main_thread
    int tw_run(Store *store, Func *func, uint64_t *fp)
    int tw_memory_open(Memory *memory, uint64_t size)
    int64_t tw_memory_grow(Memory *memory, uint64_t pages)
    int64_t tw_table_enlarge(Table *table, uint64_t count, uint64_t value)
    void tw_elem_drop(Segment *elem)
    Object *tw_new_exn(Store *store, Tag *tag)
    Object *tw_new_host(Store *store, void *python)
    int tw_is_instance(uint64_t ref, TypeInfo *concrete, int heap, int nullable)
    uint64_t tw_first_threshold
    int tw_collect(Store *store)
    void tw_free_objects(Store *store)
    const char *tw_table_digest()


cdef extern from "native.h":
    int tw_visit_hosts(const Store *store, int (*visit)(void *, void *) noexcept, void *argument)


TABLE_DIGEST = tw_table_digest().decode()
# Raised with every change of what this module offers to Python: see `engine.native`.
INTERFACE = 14


def collect_first_at(uint64_t allocated):
    """New stores collect first when they have allocated this many bytes; 0, for tests, at every allocation."""
    global tw_first_threshold
    tw_first_threshold = allocated


_TRAPS = [(code, code.value) for code in TrapCode if code is not TrapCode.EXIT]
_TRAPS += [(code, wording) for wording, code in FINER_WORDINGS.items()]
# How often this process has become a child.
cdef uint64_t _forks = 0
tw_main_thread = threading.main_thread().ident


def _forked():
    """The thread that forked is the only one in the child, and its main one."""
    global _forks, tw_main_thread
    _forks += 1
    tw_main_thread = PyThread_get_thread_ident()


os.register_at_fork(after_in_child=_forked)


cdef void *_room(size_t count, size_t size) except NULL:
    """Zeros for so many things of a size, to `free`. Raises `MemoryError` where there is no room."""
    cdef void *place = calloc(count or 1, size)
    if place == NULL:
        raise MemoryError
    return place


# The order is that of `enum heap_kind`.
_HEAP_NUMBERS = {heap: number for number, heap in enumerate(AbstractHeap)}
_PAGE = 65536


# Types


# From a definition's identity to the address of its `_Type`, which takes itself out.
cdef dict _types = {}
_LETTERS = {I32: "i", I64: "l", F32: "f", F64: "d", V128: "v"}


def _letter(storage):
    if isinstance(storage, PackedType):
        return "b" if storage is PackedType.I8 else "h"
    return _LETTERS.get(storage, "r")


# What is cleared with garbage could still be found in `_types`.
@cython.no_gc_clear
cdef class _Type:
    """Owns the `TypeInfo` of a canonical definition. Whatever has a pointer to that holds the owner, too.

    Objects need not: the instances of their store do, which live as long as it does.
    """

    cdef TypeInfo info
    cdef object definition
    cdef list ancestors
    cdef bytes kinds, params, results

    def __cinit__(self, definition):
        composite = definition.composite
        self.definition = definition
        self.info.python = <void *>definition
        chain = definition.ancestors
        self.ancestors = [_type_of(each) for each in chain[: len(chain) - 1]]
        self.info.depth = len(chain) - 1
        self.info.display = <TypeInfo **>_room(len(chain), sizeof(TypeInfo *))
        for index, each in enumerate(self.ancestors):
            self.info.display[index] = &(<_Type>each).info
        self.info.display[self.info.depth] = &self.info
        if isinstance(composite, FuncType):
            self._function(composite)
        elif isinstance(composite, StructType):
            self._structure(composite)
        else:
            self._array(composite)
        _types[id(definition)] = <uintptr_t><void *>self

    def __dealloc__(self):
        if _types.get(id(self.definition)) == <uintptr_t><void *>self:
            del _types[id(self.definition)]
        free(self.info.display)

    cdef _function(self, composite):
        self.info.kind = KIND_FUNC
        self.params = "".join(map(_letter, composite.params)).encode()
        self.results = "".join(map(_letter, composite.results)).encode()
        self.info.params, self.info.results = self.params, self.results
        self.info.param_slots = len(self.params) + self.params.count(b"v")
        self.info.result_slots = len(self.results) + self.results.count(b"v")
        self.info.references = b"r" in self.params or b"r" in self.results

    cdef _structure(self, composite):
        self.info.kind = KIND_STRUCT
        kinds = ""
        for field in composite.fields:
            letter = _letter(field.storage)
            kinds += {"v": "..", "r": "r", "b": "b", "h": "h"}.get(letter, ".")
        self.kinds = kinds.encode()
        self.info.kinds = self.kinds
        self.info.slots = len(kinds)

    cdef _array(self, composite):
        self.info.kind = KIND_ARRAY
        letter = _letter(composite.field.storage)
        self.info.element = <char>ord(letter)
        self.info.element_size = {"b": 1, "h": 2, "i": 4, "f": 4, "v": 16}.get(letter, 8)


cdef _Type _type_of(definition):
    found = _types.get(id(definition))
    if found is None:
        return _Type(definition)
    return <_Type><void *><uintptr_t>found


# Code


include "scope.pxi"


@cython.no_gc
cdef class NativeCode:
    """Register code as the loop reads it, once the verifier has let it pass; `positions` has one module offset
    a word."""

    cdef Code code
    cdef bytes words
    cdef readonly bint references
    cdef public object positions

    def __cinit__(
        self, lowered, NativeScope scope not None, definition, str name not None, NativeInstance instance=None
    ):
        """Code for a function of type `definition`, called `name`, of the module with that scope; for a
        constant expression, of an `instance` that is being made.

        Raises `InternalError` where the code breaks a rule of the verifier.
        """
        cdef Scope seen = scope.c
        if instance is not None:
            # It runs before the rest is there.
            seen.func_count, seen.global_count = instance.c.func_count, instance.c.global_count
        self._copy(lowered)
        self.references = _verify(&self.code, &seen, _type_of(definition), name)

    cdef _copy(self, lowered):
        cdef Clause *clause
        cdef Handler *handler
        self.words = lowered.words
        self.positions = lowered.positions
        # Instructions want an alignment that the buffer of a bytes object does not promise.
        self.code.words = <Instr *>_room(len(self.words), 1)
        memcpy(self.code.words, <const char *>self.words, len(self.words))
        self.code.word_count = len(self.words) // 16
        self.words = b""
        self.code.frame_slots = lowered.frame_slots
        self.code.near_slots = lowered.near_slots
        self.code.param_slots = lowered.param_slots
        self.code.zeros = lowered.zeros
        self.code.result_slots = lowered.result_slots
        self.code.handlers = <Handler *>_room(len(lowered.handlers), sizeof(Handler))
        self.code.handler_count = len(lowered.handlers)
        for index, (start, end, clauses) in enumerate(lowered.handlers):
            handler = &self.code.handlers[index]
            handler.start, handler.end, handler.count = start, end, len(clauses)
            handler.clauses = <Clause *>_room(len(clauses), sizeof(Clause))
            for number, (tag, with_ref, target, height, base) in enumerate(clauses):
                clause = &handler.clauses[number]
                clause.tag, clause.with_ref, clause.target, clause.height = tag, with_ref, target, height
                clause.base = base
        zeros = lowered.zeros + lowered.frame_slots - lowered.near_slots
        self.code.jumps = 1 + zeros // 8 + self.code.word_count // 64
        self.code.window_count = len(lowered.windows)
        self.code.windows = <Window *>_room(len(lowered.windows), sizeof(Window))
        for index, (start, base) in enumerate(lowered.windows):
            self.code.windows[index].start, self.code.windows[index].base = start, base
        if len(self.positions) != self.code.word_count:
            raise InternalError(f"{len(self.positions)} positions for {self.code.word_count} words of native code")

    def closed(self, NativeScope scope not None):
        """Whether the code, of a function of the module with that scope, touches nothing that is not its own:
        it takes no slots for references, and reads none that it has not written."""
        return not self.references and tw_closed(&self.code, &scope.c) != 0

    @property
    def calls(self):
        """How often profiled code was entered."""
        return self.code.calls

    @property
    def own(self):
        """How many instructions profiled code has run."""
        return self.code.own

    def __dealloc__(self):
        cdef uint32_t index
        for index in range(self.code.handler_count):
            free(self.code.handlers[index].clauses)
        free(self.code.handlers)
        free(self.code.windows)
        free(self.code.words)


# The store and its values


# Cleared, it would outlive the store that its object belongs to.
@cython.no_gc_clear
cdef class NativeRef:
    """A structure, an array or an exception outside of the loop."""

    cdef NativeStore store
    cdef Object *object

    def __dealloc__(self):
        if self.object != NULL:
            self.object.pins -= 1

    @property
    def type(self):
        """The canonical definition of a structure or array; None for an exception."""
        self._check()
        return <object>self.object.type.python if self.object.type != NULL else None

    @property
    def heap(self):
        """What `runtime.heap.reference_kind` tells."""
        self._check()
        if self.object.kind == KIND_STRUCT:
            return AbstractHeap.STRUCT
        return AbstractHeap.ARRAY if self.object.kind == KIND_ARRAY else AbstractHeap.EXN

    cdef int _check(self) except -1:
        """Raises `TypeError` for one that its class made, with nothing behind it."""
        if self.object == NULL:
            raise TypeError("references are made by WebAssembly code, not by their class")
        return 0

    def __eq__(self, other):
        return isinstance(other, NativeRef) and (<NativeRef>other).object == self.object

    def __hash__(self):
        return hash(<uintptr_t>self.object)


cdef class _HostFunc:
    """Owns the `Func` of one host function in one store."""

    cdef Func func
    cdef object python
    cdef _Type type
    # A `DirectHost` or None.
    cdef object direct

    def __cinit__(self, instance):
        self.python = instance
        self.type = _type_of(instance.type)
        self.func.head.type = &self.type.info
        self.func.head.kind = KIND_FUNC
        self.func.python = <void *>instance
        self.func.owner = <void *>self
        self.func.host = True
        if _numbers_only(&self.type.info):
            self.direct = instance.direct


cdef class NativeTag:
    cdef Tag tag
    cdef _Type owner
    cdef readonly object type
    cdef object __weakref__
    kind = "tag"

    def __cinit__(self, type):
        self.type = type
        self.owner = _type_of(type.type)
        self.tag.type = &self.owner.info
        self.tag.python = <void *>self


cdef uint64_t _most(limit):
    return UINT64_MAX if limit is None else min(limit, UINT64_MAX)


cdef struct Call:
    uint64_t *base
    int64_t depth, reached
    PyObject *caller
    bint over, runs


cdef class NativeStore:
    """The loop's side of a store. Everything made in it lives until it dies.

    `calls` has `nested` calls from Python, each of which began with the stack's top at `base` and `depth`
    frames, and came to `reached` when it last called a host function; `caller` is the instance that a
    host function was called for; one that `runs` no code only keeps other threads out. They are all of one
    thread: `running`, as no other thread is ever called, when the process had been forked `forks` times.
    Greenlets may end them in another order than that of their beginning: what is over goes when it is the
    last.
    """

    cdef Store c
    cdef object owner
    cdef dict host_funcs
    cdef list kept
    cdef set thrown_tags
    cdef object pending
    cdef object backend
    cdef Call *calls
    cdef Py_ssize_t nested, room
    cdef uint64_t running, forks
    cdef bint metered

    def __cinit__(self, owner, backend):
        """`owner` is the `runtime.store.Store`; `backend.code(func_instance)` gives a `NativeCode`."""
        cdef object config = owner.engine.config
        self.c.budget = <Budget *>_room(1, sizeof(Budget))
        self.c.budget.holders = 1
        self.set_limits(owner.limits)
        self.owner = owner
        self.metered = owner.fuel is not None
        self.c.poll_wanted = 1
        self.backend = backend
        self.host_funcs = {}
        self.kept = []
        self.c.max_depth = config.max_call_depth
        self.c.python = <void *>self
        self.c.release = _release_gil
        self.c.acquire = _acquire_gil
        self.c.prepare = _prepare
        self.c.call_host = _call_host
        self.c.poll = _poll

    def __dealloc__(self):
        if self.nested:
            # Of a thread that a fork left behind in the midst of changing what this would free.
            for each in (self.kept, self.host_funcs, self.thrown_tags):
                Py_INCREF(each)
            return
        PyMem_Free(self.calls)
        if self.c.budget != NULL:
            tw_free_objects(&self.c)
            self._release()
        tw_return_stack(&self.c)
        _give_back(self.c.budget, 0)
        free(self.c.instances)
        free(self.c.globals)
        free(self.c.tables)

    cdef _release(self):
        """Let go of the Python objects whose references were collected."""
        cdef Host *host = self.c.unreferenced
        cdef Host *following
        self.c.unreferenced = NULL
        while host != NULL:
            following = <Host *>(<Object **>host)[0]
            Py_DECREF(<object>host.python)
            free(host)
            host = following

    cpdef int guard(self) except -1:
        """Raises `WasmError` while another thread runs, or this one's signal handler came in the middle of an
        instruction: what is worked on must not change meanwhile."""
        if self.nested and self.running != PyThreadState_GetID(PyThreadState_Get()):
            raise in_use(self.forks != _forks)
        if self.c.busy:
            raise WasmError("the store is in use: a signal handler came in the middle of an instruction")
        return 0

    cdef Py_ssize_t begin(self) except -1:
        """Claim the store for a call of this thread; the call's number, for its `end`."""
        cdef Call *calls
        cdef Call *call
        self.guard()
        if self.nested == self.room:
            calls = <Call *>PyMem_Realloc(self.calls, (self.room * 2 + 4) * sizeof(Call))
            if calls == NULL:
                raise MemoryError
            self.calls, self.room = calls, self.room * 2 + 4
        if self.nested == 0:
            self.running, self.forks = PyThreadState_GetID(PyThreadState_Get()), _forks
            self.c.thread = PyThread_get_thread_ident()
        call = &self.calls[self.nested]
        call.base, call.caller, call.over, call.runs = self.c.top, NULL, False, True
        call.depth = call.reached = self.c.depth
        self.nested += 1
        return self.nested - 1

    cdef int end(self, Py_ssize_t number) except -1:
        cdef Call *call
        self.calls[number].over = True
        while self.nested and self.calls[self.nested - 1].over:
            self.nested -= 1
            call = &self.calls[self.nested]
            self.c.top, self.c.depth = call.base, call.depth
        if self.nested == 0:
            tw_return_stack(&self.c)
        if self.c.unreferenced != NULL:
            self._release()
        return 0

    cdef int in_order(self, Py_ssize_t nested) except -1:
        """Raises `WasmError` unless there are just the calls that there were."""
        if self.nested != nested:
            raise out_of_order()
        return 0

    def caller(self):
        """The instance whose code calls the host function under way; None where Python calls it."""
        cdef Func *func
        cdef Call *call
        if self.nested == 0:
            return None
        call = &self.calls[self.nested - 1]
        if self.c.depth <= call.depth:
            return <object>call.caller if call.caller != NULL else None
        func = self.c.frames[self.c.depth].func
        return (<object>func.python).module if func.python != NULL else None

    def call_host(self, instance, args, caller):
        """Call a host function from Python: no frame that is there by then is its caller, but `caller` is."""
        cdef Py_ssize_t number = self.begin()
        self.calls[number].caller = <PyObject *>caller
        try:
            return list(instance.host(*args))
        finally:
            self.end(number)

    def claimed(self, work):
        """What `work` returns; meanwhile other threads are kept out."""
        cdef Py_ssize_t number = self.begin()
        self.calls[number].runs = False
        try:
            return work()
        finally:
            self.end(number)

    cdef Py_ssize_t running_calls(self):
        cdef Py_ssize_t index, count = 0
        for index in range(self.nested):
            count += self.calls[index].runs
        return count

    def collect(self):
        """Collect now."""
        # Claimed as for a call, since a long collection lets other threads run.
        cdef Py_ssize_t number = self.begin()
        try:
            self.c.failure = tw_collect(&self.c)
            self._settle()
            if self.c.failure:
                raise self.refusal()
        finally:
            self.end(number)

    cdef _settle(self):
        """After whatever may have collected, which lets go of the interpreter's lock where it takes long."""
        if self.c.thread_state != NULL:
            _acquire_gil(&self.c)

    def set_limits(self, limits):
        """Keep to what a `ResourceLimits` says from now on."""
        self.c.budget.limit = _most(limits.total_memory)
        self.c.budget.memory_size = _most(limits.memory_size)
        self.c.budget.table_elements = _most(limits.table_elements)

    cdef int admit(self, Budget **budget, uint64_t bytes) except -1:
        """The budget for a new memory or table of that size. Raises `Trap` where it is too much."""
        if not tw_fits(self.c.budget, bytes):
            self.collect()
        if not tw_fits(self.c.budget, bytes):
            self.c.refused = 0
            self.c.failure = TRAP_ALLOCATION_TOO_LARGE
            raise self.refusal()
        self.c.budget.holders += 1
        budget[0] = self.c.budget
        return 0

    cdef object refusal(self):
        """What is raised for an allocation that failed."""
        if self.c.failure == TRAP_PYTHON:
            error, self.pending = self.pending, None
            return error
        code = TrapCode.ALLOCATION_TOO_LARGE
        if self.c.refused:
            return Trap(code, f"{code.value}: array of {self.c.refused} elements")
        if self.c.budget.limit != UINT64_MAX:
            return Trap(code, f"{code.value}: the store may take {self.c.budget.limit} bytes")
        return Trap(code)

    def want_poll(self):
        self.c.poll_wanted = 1

    cdef Func *func_of(self, instance) except NULL:
        """The `Func` of a function instance; a host function's is made when it first comes into this store."""
        cdef _HostFunc owned
        if instance.host is None:
            if instance.module.store is not self.owner:
                raise ValueError("a function of another store")
            return (<NativeInstance>instance.module.native).c.funcs[<uint64_t>instance.index]
        owned = self.host_funcs.get(instance)
        if owned is None:
            owned = self.host_funcs[instance] = _HostFunc(instance)
        return &owned.func

    cdef object to_python(self, uint64_t ref):
        """A reference as a raw value."""
        cdef Object *object = <Object *><uintptr_t>ref
        cdef NativeRef wrapper
        if ref == 0:
            return None
        if ref & 1:
            return I31(ref >> 1)
        if object.kind == KIND_FUNC:
            return <object>(<Func *>object).python
        if object.kind == KIND_HOST:
            return <object>(<Host *>object).python
        # Held before anything that may run Python's collector, and so finalizers.
        object.pins += 1
        try:
            wrapper = NativeRef.__new__(NativeRef)
        except BaseException:
            object.pins -= 1
            raise
        wrapper.store = self
        wrapper.object = object
        return wrapper

    cdef uint64_t from_python(self, value) except? 1:
        """A raw value as a reference."""
        cdef Object *object
        cdef Py_ssize_t number
        if value is None:
            return 0
        self.guard()
        if isinstance(value, FuncInstance):
            return <uintptr_t>self.func_of(value)
        if isinstance(value, NativeRef):
            if (<NativeRef>value).store is not self:
                raise ValueError("a reference of another store")
            return <uintptr_t>(<NativeRef>value).object
        if type(value) is I31:
            return <uint64_t>(value.value & 0x7FFFFFFF) << 1 | 1
        # Claimed as for a call, since a collection may let other threads run.
        number = self.begin()
        object = tw_new_host(&self.c, <void *>value)
        self._settle()
        if object == NULL:
            self.end(number)
            raise self.refusal()
        Py_INCREF(value)
        # The end may run finalizers, and nothing else holds the object yet.
        object.pins += 1
        self.end(number)
        object.pins -= 1
        return <uintptr_t>object

    cdef int write(self, char letter, value, uint64_t *slot) except -1:
        """Put a raw value into its slot or slots; the number of slots."""
        cdef double number
        if letter == c"i":
            # The loop takes for granted that the high half is zero.
            slot[0] = <uint32_t>value
        elif letter == c"l":
            slot[0] = value
        elif letter == c"d":
            number = value
            memcpy(slot, &number, 8)
        elif letter == c"f":
            slot[0] = f32_to_bits(value)
        elif letter == c"v":
            if type(value) is not bytes or len(value) != 16:
                raise TypeError(f"a v128 is 16 bytes, not {value!r}")
            memcpy(slot, <const char *><bytes>value, 16)
            return 2
        else:
            slot[0] = self.from_python(value)
        return 1

    cdef object read(self, char letter, uint64_t *slot):
        """The raw value in a slot or two."""
        cdef double number
        if letter == c"i":
            # The loop looks at this half alone.
            return <uint32_t>slot[0]
        if letter == c"l":
            return slot[0]
        if letter == c"d":
            memcpy(&number, slot, 8)
            return number
        if letter == c"f":
            return f32_from_bits(<uint32_t>slot[0])
        if letter == c"v":
            return (<char *>slot)[:16]
        return self.to_python(slot[0])

    cdef list read_all(self, char *letters, uint64_t *slot):
        cdef list values = []
        while letters[0]:
            values.append(self.read(letters[0], slot))
            slot += 2 if letters[0] == c"v" else 1
            letters += 1
        return values

    cdef int write_all(self, TypeInfo *function, bint results, values, uint64_t *slot) except -1:
        """Write a function's arguments or results, which come from outside and may be anything."""
        cdef char *letters = function.results if results else function.params
        cdef Py_ssize_t index = 0
        cdef Py_ssize_t count = strlen(letters)
        if len(values) != count:
            raise TypeError(f"{len(values)} values where {(<object>function.python).composite} has {count}")
        for value in values:
            if index == count:
                raise TypeError("a sequence that changed while it was read")
            if letters[index] == c"r":
                signature = (<object>function.python).composite
                self.write_reference((signature.results if results else signature.params)[index], value, slot)
                slot += 1
            else:
                slot += self.write(letters[index], value, slot)
            index += 1
        return 0

    cdef int write_reference(self, wanted, value, uint64_t *slot) except -1:
        """Write a reference of the closed type `wanted`. Raises `TypeError` where the value is none.

        The loop takes an object for what its type says.
        """
        cdef _Type defined
        cdef TypeInfo *concrete = NULL
        cdef int heap = 0
        cdef uint64_t ref
        if isinstance(wanted.heap, DefinedType):
            defined = _type_of(wanted.heap)
            concrete = &defined.info
        else:
            heap = _HEAP_NUMBERS[wanted.heap]
        # Last, since nothing holds a new object until it is in its slot.
        ref = self.from_python(value)
        if not tw_is_instance(ref, concrete, heap, wanted.nullable):
            raise TypeError(f"{value!r} is no {wanted}")
        slot[0] = ref
        return 0

    def call(self, instance, args):
        """Run a function instance with raw values. Raises `Trap`, `WasmException`, or a host's exception."""
        return self.run(self.func_of(instance), args)

    cdef list run(self, Func *func, args):
        cdef uint64_t *base
        cdef Py_ssize_t number = self.begin()
        try:
            base = self.make_room(func, number)
            self.write_all(func.head.type, False, args, base)
            self.go(func, number)
            return self.read_all(func.head.type.results, base)
        finally:
            self.end(number)

    cdef uint64_t *make_room(self, Func *func, Py_ssize_t number) except NULL:
        """Prepare the run of `func` in a call that has begun; where its arguments go, the call's base."""
        cdef uint64_t *base
        cdef uint64_t *end
        if self.c.poll_wanted and func.python != NULL:
            self.poll()
        if self.c.stack == NULL and tw_borrow_stack(&self.c) != 0:
            self.borrow_again()
        self.in_order(number + 1)
        if self.metered:
            # Also in a nested call: the host function may have set it.
            self.c.fuel = self.owner.fuel
        base = self.calls[number].base = self.c.top
        end = base + func.head.type.param_slots + func.head.type.result_slots + 64
        if end > self.c.stack_end and not tw_go_deeper(&self.c, end):
            raise StackExhausted
        # A collection, or a call out of a finalizer, must find the values below the top.
        self.c.top = base + func.head.type.param_slots
        return base

    cdef int borrow_again(self) except -1:
        """Take a stack where there was no address space for one. Raises `Trap` where there is none still."""
        gc.collect()
        # A finalizer's call may have borrowed one meanwhile.
        if self.c.stack == NULL and tw_borrow_stack(&self.c) != 0:
            raise space.exhausted("the stack of a call", tw_stack_bytes(&self.c))
        return 0

    cdef int poll(self) except -1:
        # Before the look: what asks meanwhile is seen at the next one.
        self.c.poll_wanted = 0
        self.owner.poll()
        return 0

    cdef int go(self, Func *func, Py_ssize_t number) except -1:
        """Run with the arguments at the call's base, where the results will be. Raises what ended the run."""
        cdef uint64_t *base = self.calls[number].base
        cdef int64_t depth = self.c.depth
        cdef int64_t reached
        cdef int status
        self.in_order(number + 1)
        status = tw_run(&self.c, func, base)
        if self.c.thread_state != NULL:
            _acquire_gil(&self.c)
        reached = self.calls[number].reached
        if self.nested == number + 1:
            reached = self.c.depth
            self.c.depth = depth
            self.c.top = base + func.head.type.result_slots
        if self.metered:
            self.owner.fuel = self.c.fuel
        if status != STATUS_DONE:
            self._fail(status, depth, reached)
        return 0

    cdef _fail(self, int status, int64_t base, int64_t depth):
        """Raise what ended a run; frames lie above `base` up to `depth`."""
        cdef Exn *exn
        if status == STATUS_PYTHON:
            error, self.pending = self.pending, None
            # Not where it was caught: with no Python stack left, making the trap may raise the next one,
            # which can go on from here but not from a function that the loop calls.
            if isinstance(error, RecursionError) and used_up_by_nesting(error, self.running_calls()):
                raise StackExhausted from error
            if isinstance(error, Trap):
                error.frames = [*error.frames, *self._frames(base, depth)]
            raise error
        if status == STATUS_THROWN:
            exn = self.c.thrown
            self.c.thrown = NULL
            raise self._exception(exn)
        code, wording = _TRAPS[self.c.trap - 1]
        special = {
            TrapCode.STACK_OVERFLOW: StackExhausted,
            TrapCode.OUT_OF_FUEL: OutOfFuel,
        }.get(code)
        if special is not None:
            trap = special()
        elif code is TrapCode.INDIRECT_CALL_TO_NULL:
            trap = Trap(code, f"{code.value} {self.c.element}")
        elif code is TrapCode.ALLOCATION_TOO_LARGE:
            self.c.failure = TRAP_ALLOCATION_TOO_LARGE
            trap = self.refusal()
        else:
            trap = Trap(code, wording)
        trap.frames = self._frames(base, depth)
        raise trap

    cdef _exception(self, Exn *exn):
        exn.head.pins += 1
        try:
            values = self.read_all(exn.tag.type.params, exn.values)
        finally:
            exn.head.pins -= 1
        return WasmException(<object>exn.tag.python, values)

    cdef list _frames(self, int64_t base, int64_t depth):
        cdef list places = []
        cdef Frame *frame
        while depth > base:
            frame = &self.c.frames[depth]
            depth -= 1
            if frame.func.python == NULL:
                # A constant expression is no function, and has no place in a backtrace.
                continue
            word = (<uintptr_t>frame.pc - <uintptr_t>frame.func.code.words) // 16
            positions = (<NativeCode>frame.func.owner).positions
            places.append((<object>frame.func.python, positions[word]))
        from tinywasm.engine.backtrace import frame as trace_frame

        return [trace_frame(func, position) for func, position in places]

    cdef int thrown(self, error, Py_ssize_t nested) except -1:
        """Bring a `WasmException` of a host function into the loop, where `nested` calls are to be."""
        cdef NativeTag tag = error.tag
        cdef Exn *exn = <Exn *>tw_new_exn(&self.c, &tag.tag)
        self._settle()
        if exn == NULL:
            raise self.refusal()
        # The tag may belong to an instance of another store, which may go before the exception.
        if self.thrown_tags is None:
            self.thrown_tags = set()
        self.thrown_tags.add(tag)
        exn.head.pins += 1
        try:
            self.write_all(tag.tag.type, False, error.values, exn.values)
            self.in_order(nested)
        finally:
            exn.head.pins -= 1
        self.c.thrown = exn
        return 0


cdef traverseproc _traverse_attributes = (<PyTypeObject *>NativeStore).tp_traverse


cdef int _traverse_store(PyObject *self, visitproc visit, void *argument) noexcept:
    """Shows Python's collector what host references hold as well, or a store would hold itself for ever.

    Not while a call is under way, which may be changing them in another thread: they then count as held
    from outside, which is true.
    """
    cdef int status = _traverse_attributes(self, visit, argument)
    if status or (<NativeStore>self).nested or (<NativeStore>self).c.busy:
        return status
    return tw_visit_hosts(&(<NativeStore>self).c, <int (*)(void *, void *) noexcept>visit, argument)


(<PyTypeObject *>NativeStore).tp_traverse = _traverse_store


cdef const uint8_t *_contents(data) except? NULL:
    """The bytes of an object that stays as it is for as long as they are used."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    PyBuffer_Release(&view)
    return <const uint8_t *>view.buf


cdef void _release_gil(Store *c) noexcept nogil:
    c.thread_state = PyEval_SaveThread()


cdef void _acquire_gil(Store *c) noexcept nogil:
    cdef void *state = c.thread_state
    c.thread_state = NULL
    PyEval_RestoreThread(<PyThreadState *>state)


cdef int _prepare(Store *c, Func *func) noexcept:
    cdef NativeStore store = <NativeStore>c.python
    cdef NativeCode code
    cdef Py_ssize_t nested = store.nested
    try:
        if store.metered:
            store.owner.fuel = c.fuel
        store.owner.poll()
        # The backend holds it for as long as there is the module, or, profiled, the store.
        code = store.backend.code(<object>func.python)
        func.owner = <void *>code
        func.code = &code.code
        if store.metered:
            # Lowering may run finalizers, and those Wasm code.
            c.fuel = store.owner.fuel
        store.in_order(nested)
        return STATUS_DONE
    except BaseException as error:
        store.pending = error
        return STATUS_PYTHON


cdef bint _numbers_only(TypeInfo *type):
    """Whether a function takes and returns numbers only, at most one of them as its result."""
    for letters in (<bytes>type.params, <bytes>type.results):
        if letters.translate(None, b"ilfd"):
            return False
    return len(<bytes>type.results) <= 1


cdef object _shown(char letter, uint64_t *slot):
    """A number as Python programs see it: integers signed."""
    cdef double number
    cdef float single
    if letter == c"i":
        return <int32_t>slot[0]
    if letter == c"l":
        return <int64_t>slot[0]
    if letter == c"d":
        memcpy(&number, slot, 8)
        return number
    memcpy(&single, slot, 4)
    return f32_from_bits(<uint32_t>slot[0]) if single != single else <double>single


cdef bint _plain(char letter, value, uint64_t *slot) except -1:
    """Put an ordinary Python number into a slot; False leaves the judgement of it to the slow way."""
    cdef double number
    cdef float single
    cdef long long integer
    cdef int overflow = 0
    if letter == c"d" or letter == c"f":
        if type(value) is not float:
            return False
        number = value
        if letter == c"d":
            memcpy(slot, &number, 8)
            return True
        if number != number:
            return False
        single = <float>number
        slot[0] = 0
        memcpy(slot, &single, 4)
        return True
    if type(value) is not int:
        return False
    integer = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow:
        return False
    if letter == c"i":
        if integer < -0x80000000LL or integer > 0xFFFFFFFFLL:
            return False
        slot[0] = <uint32_t>integer
    else:
        slot[0] = <uint64_t>integer
    return True


cdef bint _call_direct(NativeStore store, Func *func, uint64_t *args) except -1:
    """Call a Python callable with numbers, past the raw values; False where that way is not open."""
    cdef _HostFunc owned = <_HostFunc>func.owner
    cdef char *letter = func.head.type.params
    cdef Py_ssize_t index, count
    cdef tuple values
    if owned.direct is None:
        return False
    count = func.head.type.param_slots
    if count == 0:
        result = PyObject_CallNoArgs(<object>PyTuple_GET_ITEM(owned.direct, 0))
    else:
        values = PyTuple_New(count)
        for index in range(count):
            value = _shown(letter[index], args + index)
            Py_INCREF(value)
            PyTuple_SET_ITEM(values, index, value)
        result = PyObject_Call(<object>PyTuple_GET_ITEM(owned.direct, 0), values, NULL)
    letter = func.head.type.results
    if letter[0] == 0 and result is None:
        return True
    if letter[0] == 0 or not _plain(letter[0], result, args):
        store.write_all(func.head.type, True, owned.direct.raw_results(result), args)
    return True


cdef class Entry:
    """A function as a Python callable that takes and returns numbers without a detour.

    `slow(arguments)` calls the same function with any arguments, and refuses those that do not fit;
    `shown(thrown)` is what becomes of an exception that leaves Wasm.
    """

    cdef NativeStore store
    cdef Func *target
    cdef Py_ssize_t count
    cdef object slow, shown
    cdef readonly object func

    def __cinit__(self, backend, instance, func, slow, shown):
        """`func` is the handle that the callable stands for."""
        cdef NativeStore store = backend.native
        self.store = store
        self.func = func
        self.target = store.func_of(instance)
        self.count = len(<bytes>self.target.head.type.params)
        self.slow = slow
        self.shown = shown

    @staticmethod
    def serves(instance):
        """Whether the function's type is one of numbers only."""
        cdef _Type type = _type_of(instance.type)
        return instance.host is None and _numbers_only(&type.info)

    def __call__(self, *args):
        cdef char *letter = self.target.head.type.params
        cdef uint64_t *base
        cdef Py_ssize_t index, number
        if len(args) != self.count:
            return self.slow(args)
        number = self.store.begin()
        try:
            base = self.store.make_room(self.target, number)
            for index in range(self.count):
                if not _plain(letter[index], args[index], base + index):
                    break
            else:
                self.store.go(self.target, number)
                letter = self.target.head.type.results
                return _shown(letter[0], base) if letter[0] else None
        except WasmException as thrown:
            raise self.shown(thrown) from None
        finally:
            self.store.end(number)
        return self.slow(args)


cdef int _call_host(Store *c, Func *func, uint64_t *args) noexcept:
    cdef NativeStore store = <NativeStore>c.python
    cdef Py_ssize_t nested = store.nested
    instance = <object>func.python
    store.calls[nested - 1].reached = c.depth
    try:
        if store.metered:
            store.owner.fuel = c.fuel
        if c.unreferenced != NULL:
            store._release()
        try:
            if not _call_direct(store, func, args):
                results = instance.host(*store.read_all(func.head.type.params, args))
                store.write_all(func.head.type, True, results, args)
        finally:
            if store.metered:
                c.fuel = store.owner.fuel
        store.in_order(nested)
        return STATUS_DONE
    except WasmException as error:
        try:
            direct = (<_HostFunc>func.owner).direct
            store.thrown(error if direct is None else direct.hidden(error), nested)
            return STATUS_THROWN
        except BaseException as inner:
            store.pending = inner
    except BaseException as error:
        store.pending = error
    return STATUS_PYTHON


cdef int _poll(Store *c) noexcept:
    cdef NativeStore store = <NativeStore>c.python
    cdef Py_ssize_t nested = store.nested
    try:
        if store.metered:
            store.owner.fuel = c.fuel
        if c.poll_wanted:
            store.poll()
        PyErr_CheckSignals()
        if store.metered:
            c.fuel = store.owner.fuel
        store.in_order(nested)
        return STATUS_DONE
    except BaseException as error:
        store.pending = error
        return STATUS_PYTHON


# External values


cdef void _give_back(Budget *budget, uint64_t bytes) noexcept:
    """What held `bytes` of a budget is gone."""
    if budget == NULL:
        return
    budget.used -= bytes
    budget.holders -= 1
    if budget.holders == 0:
        free(budget)


# Neither its type nor what stands for its presence ever refers to it.
@cython.no_gc
cdef class NativeMemory:
    """A memory in reserved address space: grown in place, never moved, so that views stay valid."""

    cdef Memory c
    cdef object presence
    cdef readonly object type
    cdef object __weakref__
    kind = "memory"

    def __cinit__(self, NativeStore store not None, type, uint64_t max_pages):
        cdef uint64_t limit = max_pages * 65536
        self.type = type
        self.c.page_size = type.page_size
        self.c.is64 = type.address is I64
        self.c.pages = type.limits.min
        wanted = type.limits.min * type.page_size
        if wanted > limit:
            raise Trap(TrapCode.ALLOCATION_TOO_LARGE, f"allocation too large: memory of {wanted} bytes")
        store.guard()
        store.admit(&self.c.budget, wanted)
        top = limit // self.c.page_size
        if type.limits.max is not None:
            top = min(top, type.limits.max)
        self.c.max_pages = top
        space.reserve(lambda room, opened: self.map(wanted, room, opened) or None, wanted, top * self.c.page_size)
        self.presence = space.presence

    cdef bint map(self, uint64_t least, uint64_t room, bint opened):
        """Address space of `room` bytes, open up to `least` or throughout; False where it is refused."""
        # Whole units as `tw_memory_open` opens them, and never nothing.
        cdef uint64_t size = (max(room, 1) + 0xFFFF) & ~<uint64_t>0xFFFF
        cdef int protection = PROT_READ | PROT_WRITE if opened else PROT_NONE
        cdef void *place = tw_map(size, protection)
        if place == NULL:
            return False
        if opened:
            # Where the system gives huge pages unasked, the first byte would take two megabytes.
            madvise(place, size, MADV_NOHUGEPAGE)
        self.c.opened = size if opened else 0
        self.c.base = <uint8_t *>place
        self.c.reserved = size
        if tw_memory_open(&self.c, least) == 0:
            return True
        self.c.base = NULL
        munmap(place, size)
        return False

    def __dealloc__(self):
        if self.c.base != NULL:
            munmap(self.c.base, self.c.reserved)
        _give_back(self.c.budget, self.c.size)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.c.base, self.c.size, 0, flags)

    @property
    def data(self):
        return memoryview(self)

    @property
    def pages(self):
        return self.c.pages

    @property
    def current_type(self):
        limits = Limits(self.c.pages, self.type.limits.max)
        return MemoryType(limits, self.type.address, self.type.page_size)

    def grow(self, pages):
        if pages > self.c.max_pages:
            return -1
        return tw_memory_grow(&self.c, pages)

    cdef check(self, address, count):
        if address + count > self.c.size:
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS)

    def init(self, target, segment, source, count):
        self.check(target, count)
        if source + count > len(segment):
            raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS)
        memcpy(self.c.base + <uint64_t>target, _contents(segment) + <uint64_t>source, count)


cdef class NativeTable:
    cdef Table c
    cdef NativeStore store
    cdef readonly object type
    cdef object __weakref__
    kind = "table"

    def __cinit__(self, NativeStore store not None, type, init, max_elements):
        cdef uint64_t ref
        cdef uint64_t index
        store.guard()
        self.type = type
        self.store = store
        size = type.limits.min
        if size > max_elements:
            raise Trap(TrapCode.ALLOCATION_TOO_LARGE, f"allocation too large: table of {size} elements")
        self.c.is64 = type.address is I64
        self.c.max = max_elements if type.limits.max is None else min(max_elements, type.limits.max)
        store.admit(&self.c.budget, size * 8)
        self.c.budget.used += size * 8
        self.c.size = size
        self.c.elements = <uint64_t *>calloc(size or 1, 8)
        if self.c.elements == NULL:
            raise space.exhausted(f"table of {size} elements", size * 8)
        store.write_reference(type.element, init, &ref)
        self.c.capacity = size
        for index in range(self.c.size):
            self.c.elements[index] = ref
        # Again: another thread may have begun meanwhile.
        store.guard()
        store.kept.append(self)
        _append(<void ***>&store.c.tables, &store.c.table_count, &self.c)

    def __dealloc__(self):
        free(self.c.elements)
        _give_back(self.c.budget, self.c.size * 8)

    def __len__(self):
        return self.c.size

    @property
    def current_type(self):
        limits = Limits(self.c.size, self.type.limits.max)
        return TableType(self.type.element, limits, self.type.address)

    cdef check(self, index, count):
        self.store.guard()
        if index + count > self.c.size:
            raise Trap(TrapCode.TABLE_OUT_OF_BOUNDS)

    def get(self, index):
        self.check(index, 1)
        return self.store.to_python(self.c.elements[<uint64_t>index])

    def set(self, index, value):
        cdef uint64_t ref
        self.check(index, 1)
        self.store.write_reference(self.type.element, value, &ref)
        self.c.elements[<uint64_t>index] = ref

    def grow(self, count, value):
        cdef uint64_t ref
        self.store.guard()
        if count > self.c.max:
            return -1
        self.store.write_reference(self.type.element, value, &ref)
        return tw_table_enlarge(&self.c, count, ref)

    def init(self, target, segment, source, count):
        cdef uint64_t place
        self.check(target, count)
        if source + count > len(segment):
            raise Trap(TrapCode.TABLE_OUT_OF_BOUNDS)
        place = target
        for value in segment[source : source + count]:
            self.c.elements[place] = self.store.from_python(value)
            place += 1


cdef class NativeGlobal:
    cdef Global c
    cdef NativeStore store
    cdef readonly object type
    cdef char letter
    cdef object __weakref__
    kind = "global"

    def __cinit__(self, NativeStore store not None, type, value):
        store.guard()
        self.type = type
        self.store = store
        self.letter = <char>ord(_letter(type.content))
        self.c.is_ref = self.letter == c"r"
        self.value = value
        # Again: another thread may have begun meanwhile.
        store.guard()
        store.kept.append(self)
        _append(<void ***>&store.c.globals, &store.c.global_count, &self.c)

    @property
    def value(self):
        self.store.guard()
        return self.store.read(self.letter, self.c.value)

    @value.setter
    def value(self, value):
        self.store.guard()
        if self.letter == c"r":
            self.store.write_reference(self.type.content, value, self.c.value)
        else:
            self.store.write(self.letter, value, self.c.value)


cdef _append(void ***array, uint64_t *count, void *item):
    """Append to an array that doubles: room is there up to the next power of two."""
    cdef void **grown
    if count[0] & (count[0] - 1) == 0:
        grown = <void **>_room(count[0] * 2, sizeof(void *))
        if count[0]:
            memcpy(grown, array[0], count[0] * sizeof(void *))
        free(array[0])
        array[0] = grown
    array[0][count[0]] = item
    count[0] += 1


cdef class NativeModule:
    """What all instances of a module share: its types as the loop reads them, `codes`, which is the
    backend's, and what was `kept` of them in a serialized module."""

    cdef readonly NativeScope scope
    cdef readonly dict codes
    cdef public object kept

    def __cinit__(self, context):
        self.codes = {}
        self.scope = NativeScope(context)


cdef class NativeInstance:
    """The index spaces as the loop reads them, filled as `add` brings each external value.

    `owner` is the `NativeModuleInstance`, whose own index spaces keep everything alive. The segments are here
    alone; `contents` keeps the data segments' bytes, which are the module's.
    """

    cdef Instance c
    cdef NativeStore store
    cdef NativeModule module
    cdef object owner
    cdef tuple contents
    cdef Func *own
    cdef uint64_t own_count, own_used

    def __cinit__(self, NativeStore store not None, NativeModule module not None, owner, uint64_t own_count):
        """For a module with `own_count` functions of its own."""
        store.guard()
        self.store = store
        self.module = module
        self.owner = owner
        self.c.types, self.c.type_count = module.scope.c.types, module.scope.c.type_count
        self.own = <Func *>_room(own_count, sizeof(Func))
        self.own_count = own_count
        # Again: another thread may have begun meanwhile.
        store.guard()
        store.kept.append(self)
        _append(<void ***>&store.c.instances, &store.c.instance_count, &self.c)

    def __dealloc__(self):
        cdef uint64_t index
        for index in range(self.c.elem_count):
            free(self.c.elems[index].refs)
        free(self.c.elems)
        free(self.c.datas)
        free(self.c.funcs)
        free(self.own)
        free(self.c.memories)
        free(self.c.tables)
        free(self.c.globals)
        free(self.c.tags)

    def add(self, extern):
        """Append to the index space of its kind.

        Raises `LinkError` for what another engine made, and for what holds references of another store.
        """
        if isinstance(extern, FuncInstance):
            if extern.module is self.owner:
                self._add_own(extern)
                return
            if extern.module is not None and extern.module.store is not self.store.owner:
                raise LinkError("incompatible import: a function of another store")
            _append(<void ***>&self.c.funcs, &self.c.func_count, self.store.func_of(extern))
        elif isinstance(extern, NativeMemory):
            _append(<void ***>&self.c.memories, &self.c.memory_count, &(<NativeMemory>extern).c)
        elif isinstance(extern, NativeTable):
            if (<NativeTable>extern).store is not self.store:
                raise LinkError("incompatible import: a table of another store")
            _append(<void ***>&self.c.tables, &self.c.table_count, &(<NativeTable>extern).c)
        elif isinstance(extern, NativeGlobal):
            if (<NativeGlobal>extern).store is not self.store:
                raise LinkError("incompatible import: a global of another store")
            _append(<void ***>&self.c.globals, &self.c.global_count, &(<NativeGlobal>extern).c)
        elif isinstance(extern, NativeTag):
            _append(<void ***>&self.c.tags, &self.c.tag_count, &(<NativeTag>extern).tag)
        else:
            raise LinkError(f"incompatible import: a {extern.kind} that another engine made")

    cdef int _add_own(self, extern) except -1:
        cdef Func *func = &self.own[self.own_used]
        if self.own_used == self.own_count:
            raise IndexError("a module instance with more functions than its module")
        func.head.kind = KIND_FUNC
        func.head.type = &(_type_of(extern.type)).info
        func.instance = &self.c
        func.python = <void *>extern
        _append(<void ***>&self.c.funcs, &self.c.func_count, func)
        self.own_used += 1
        return 0

    def set_segments(self, datas, elems):
        """The data segments' bytes and the element segments' raw references, once."""
        cdef uint64_t index
        self.contents = tuple(datas)
        self.c.datas = <Segment *>_room(len(datas), sizeof(Segment))
        self.c.elems = <Segment *>_room(len(elems), sizeof(Segment))
        self.c.data_count = len(datas)
        for index, data in enumerate(datas):
            self.c.datas[index].bytes = _contents(data)
            self.c.datas[index].length = len(data)
        self.c.elem_count = len(elems)
        for index, elem in enumerate(elems):
            self.c.elems[index].refs = <uint64_t *>_room(len(elem), 8)
            for place, value in enumerate(watched(elem)):
                self.c.elems[index].refs[<uint64_t>place] = self.store.from_python(value)
                self.c.elems[index].length = place + 1

    def drop_data(self, uint64_t index):
        self.c.datas[index].length = 0

    def drop_elem(self, uint64_t index):
        tw_elem_drop(&self.c.elems[index])

    def evaluate(self, NativeCode code not None, definition):
        """The value of a constant expression lowered as a function of type `definition`."""
        cdef _Type type = _type_of(definition)
        cdef Func func
        memset(&func, 0, sizeof(Func))
        func.head.kind = KIND_FUNC
        func.head.type = &type.info
        func.code = &code.code
        func.instance = &self.c
        return self.store.run(&func, ())[0]


# For embedders


cdef class Buffered:
    """Gives the handle of a memory of either engine the buffer protocol.

    What exports is the mapping: CPython up to 3.12 crashes where the collector clears a memoryview that
    somebody has a view of.
    """

    def __getbuffer__(self, Py_buffer *view, int flags):
        raw = self._raw
        if isinstance(raw, NativeMemory):
            PyObject_GetBuffer(raw, view, flags)
            return
        size = len(raw.data)
        PyObject_GetBuffer(raw.space, view, flags)
        # The mapping has the room to grow as well.
        view.len = size
        if view.shape != NULL:
            view.shape[0] = size
