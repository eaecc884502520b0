# cython: language_level=3, boundscheck=False, wraparound=False
"""The object around `bodies.c`: a module's context, made of plain numbers, and the working memory."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef extern from "bodies.h" nogil:
    ctypedef uint32_t valtype
    int C_NON_NULL "NON_NULL", C_DEFINED "DEFINED", C_ADDRESS "ADDRESS", C_CLOSED "RULE_CLOSED"
    int C_ROWS "ROWS", C_ROW_TYPES "ROW_TYPES", C_FIRST_PREFIX "FIRST_PREFIX"
    int C_PREFIXED_ROWS "PREFIXED_ROWS", IMMEDIATE_COUNT, RULE_COUNT
    uint32_t C_NO_PARENT "NO_PARENT"
    const char *immediate_names[1]
    const char *rule_names[1]
    ctypedef struct Row "struct row":
        pass
    ctypedef struct FuncType "struct functype":
        const valtype *params
        const valtype *results
        uint32_t param_count, result_count
    ctypedef struct Field "struct field":
        pass
    ctypedef struct Definition "struct definition":
        int composite
        uint32_t canonical, parent, field_count
        uint8_t defaultable
        FuncType function
        const Field *fields
    ctypedef struct Table "struct table":
        pass
    ctypedef struct Global "struct global":
        pass
    ctypedef struct Module "struct module":
        Row *rows
        uint32_t *above
        uint32_t *defined_above
        uint32_t *defined_below
        Definition *types
        uint32_t *funcs
        uint32_t *tags
        uint8_t *declared
        Table *tables
        valtype *memories
        valtype *elems
        Global *globals
        uint32_t type_count, func_count, tag_count, table_count, memory_count, elem_count, global_count
        uint32_t data_count
        bint has_data_count
    ctypedef struct Run "struct local_run":
        uint64_t end
        valtype type
    ctypedef struct State "struct body":
        const Module *module
        const uint8_t *pc
        const uint8_t *end
        const FuncType *type
        Run *runs
        uint32_t run_count, run_room
    void prepare_module(Module *module)
    bint accept_body(State *body)
    size_t accept_entries(
        State *body, const uint8_t *code, const uint32_t *types, const int64_t *places, size_t first, size_t last
    )


NON_NULL, DEFINED, ADDRESS, NO_PARENT = C_NON_NULL, C_DEFINED, C_ADDRESS, C_NO_PARENT
ROWS, ROW_SIZE, ROW_TYPES = C_ROWS, sizeof(Row), C_ROW_TYPES
FIRST_PREFIX, PREFIXED_ROWS = C_FIRST_PREFIX, C_PREFIXED_ROWS
IMMEDIATES = {immediate_names[i].decode(): i + 1 for i in range(IMMEDIATE_COUNT)}
RULES = {rule_names[i].decode(): C_CLOSED + 1 + i for i in range(RULE_COUNT)}
CLOSED = C_CLOSED


cdef class Acceptor:
    """See the stub."""

    cdef Module *module
    cdef State *state
    cdef object values
    # What the context points to.
    cdef list blocks

    def __cinit__(self, context, values):
        self.values = values
        self.blocks = []
        self.module = <Module *>PyMem_Calloc(1, sizeof(Module))
        self.state = <State *>PyMem_Malloc(sizeof(State))
        if self.module is NULL or self.state is NULL:
            raise MemoryError
        self.state.module = self.module
        self.state.runs, self.state.run_room, self.state.run_count = NULL, 0, 0
        self._make_room()
        self._fill(context)

    def __dealloc__(self):
        if self.state is not NULL:
            PyMem_Free(self.state.runs)
        PyMem_Free(self.state)
        PyMem_Free(self.module)

    cdef void *_keep(self, bytes block):
        """The contents of `block`, which live as long as this object."""
        self.blocks.append(block)
        return PyBytes_AS_STRING(block)

    cdef _fill(self, context):
        cdef Module *m = self.module
        memcpy(m.rows, PyBytes_AS_STRING(context.rows), C_ROWS * sizeof(Row))
        for code, above in context.above.items():
            m.above[<uint32_t>code] = above
        for i in range(3):
            m.defined_above[i], m.defined_below[i] = context.defined_above[i], context.defined_below[i]
        self._fill_types(context.types)
        m.funcs, m.func_count = <uint32_t *>self._keep(context.funcs), len(context.declared)
        m.declared = <uint8_t *>self._keep(context.declared)
        m.tags, m.tag_count = <uint32_t *>self._keep(context.tags), len(context.tags) // sizeof(uint32_t)
        m.tables = <Table *>self._keep(context.tables)
        m.table_count = len(context.tables) // sizeof(Table)
        m.memories = <valtype *>self._keep(context.memories)
        m.memory_count = len(context.memories) // sizeof(valtype)
        m.elems, m.elem_count = <valtype *>self._keep(context.elems), len(context.elems) // sizeof(valtype)
        m.globals = <Global *>self._keep(context.globals)
        m.global_count = len(context.globals) // sizeof(Global)
        m.data_count, m.has_data_count = context.datas, context.has_data_count
        prepare_module(m)

    cdef _fill_types(self, types):
        cdef Definition *into = <Definition *>self._keep(bytes(len(types) * sizeof(Definition)))
        self.module.types, self.module.type_count = into, len(types)
        for index, definition in enumerate(types):
            if definition.canonical != index:
                into[<size_t>index] = into[<size_t>definition.canonical]
            else:
                self._fill_type(&into[<size_t>index], definition)

    cdef _fill_type(self, Definition *into, definition):
        into.composite, into.canonical = definition.composite, definition.canonical
        into.parent, into.defaultable = definition.parent, definition.defaultable
        into.function.params = <valtype *>self._keep(definition.params)
        into.function.param_count = len(definition.params) // sizeof(valtype)
        into.function.results = <valtype *>self._keep(definition.results)
        into.function.result_count = len(definition.results) // sizeof(valtype)
        into.fields = <Field *>self._keep(definition.fields)
        into.field_count = len(definition.fields) // sizeof(Field)

    cdef _make_room(self):
        cdef uint32_t room = 2 * self.state.run_room + 64
        cdef Run *grown = <Run *>PyMem_Realloc(self.state.runs, room * sizeof(Run))
        if grown is NULL:
            raise MemoryError
        self.state.runs, self.state.run_room = grown, room

    cdef _add_run(self, uint64_t end, valtype type):
        if self.state.run_count == self.state.run_room:
            self._make_room()
        self.state.runs[self.state.run_count] = Run(end, type)
        self.state.run_count += 1

    def accepts(self, uint32_t type, locals, code, size_t start, size_t end):
        cdef Py_buffer view
        PyObject_GetBuffer(code, &view, PyBUF_SIMPLE)
        try:
            return start <= end <= <size_t>view.len and self._accepts(
                type, locals, <const uint8_t *>view.buf + start, <const uint8_t *>view.buf + end
            )
        finally:
            PyBuffer_Release(&view)

    def accepts_entries(
        self, const uint32_t[::1] types, code, const int64_t[::1] places, size_t first, size_t last
    ):
        cdef Py_buffer view
        cdef size_t index
        PyObject_GetBuffer(code, &view, PyBUF_SIMPLE)
        try:
            last = min(last, <size_t>types.shape[0], <size_t>places.shape[0] // 2)
            for index in range(first, last):
                if not 0 <= places[2 * index] <= places[2 * index + 1] <= view.len:
                    return index
            with nogil:
                if first < last:
                    first = accept_entries(
                        self.state, <const uint8_t *>view.buf, &types[0], &places[0], first, last
                    )
            return first
        finally:
            PyBuffer_Release(&view)

    cdef bint _accepts(
        self, uint32_t type, locals, const uint8_t *start, const uint8_t *end
    ) except -1:
        cdef State *state = self.state
        cdef uint64_t count = 0
        cdef bint accepted
        if type >= self.module.type_count:
            return False
        state.type, state.run_count = &self.module.types[type].function, 0
        while count < state.type.param_count:
            self._add_run(count + 1, state.type.params[count])
            count += 1
        try:
            for run, value in locals:
                count += <uint64_t>run
                self._add_run(count, self.values[value])
        except LookupError:  # a type that the module does not have
            return False
        state.pc, state.end = start, end
        with nogil:
            accepted = accept_body(state)
        return accepted
