# Part of `_loop.pyx`: modules and their instances.

cdef class NativeModule:
    """What all instances of a module share: its types as the loop reads them, `codes` and `machine`, which are
    the backend's, and what was `kept` of codes in a serialized module."""

    cdef readonly NativeScope scope
    cdef readonly dict codes, machine
    cdef public object kept

    def __cinit__(self, context):
        self.codes = {}
        self.machine = {}
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
    # The functions of the module itself, and how many are before them in the index space.
    cdef Func *own
    cdef uint64_t imported

    def __cinit__(self, NativeStore store not None, NativeModule module not None, owner):
        store.guard()
        self.store = store
        self.module = module
        self.owner = owner
        self.c.python = <void *>self
        self.c.store = &store.c
        self.c.types, self.c.type_count = module.scope.c.types, module.scope.c.type_count
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

    def define_functions(self):
        """Append the functions of the module itself, once, behind those that are imported."""
        cdef const Scope *scope = &self.module.scope.c
        cdef Func **funcs
        cdef Func *func
        cdef uint64_t index
        if self.own != NULL or scope.func_count < self.c.func_count:
            raise IndexError("a module instance with more functions than its module")
        self.imported = self.c.func_count
        self.own = <Func *>_room(scope.func_count - self.imported, sizeof(Func))
        funcs = <Func **>_room(scope.func_count, sizeof(Func *))
        if self.imported:
            memcpy(funcs, self.c.funcs, self.imported * sizeof(Func *))
        for index in range(self.imported, scope.func_count):
            func = funcs[index] = &self.own[index - self.imported]
            func.head.kind, func.head.type, func.instance = KIND_FUNC, scope.funcs[index], &self.c
        free(self.c.funcs)
        self.c.funcs, self.c.func_count = funcs, scope.func_count

    cdef uint64_t index_of(self, Func *func):
        """The index of a function of the module itself."""
        return self.imported + <uint64_t>(func - self.own)

    def set_segments(self, datas, elems):
        """The data segments' bytes, and the element segments' raw references or indices of functions, once."""
        cdef uint64_t index
        self.c.datas = <Segment *>_room(len(datas), sizeof(Segment))
        self.c.elems = <Segment *>_room(len(elems), sizeof(Segment))
        self.c.data_count = len(datas)
        if isinstance(datas, DataSegments):
            self._set_places(datas)
        else:
            self.contents = tuple([data.init for data in datas])
            for index, data in enumerate(self.contents):
                self._set_data(index, data)
        self.c.elem_count = len(elems)
        for index, elem in enumerate(elems):
            self.c.elems[index].refs = <uint64_t *>_room(len(elem), 8)
            if isinstance(elem, array):
                self._set_functions(&self.c.elems[index], elem)
                continue
            for place, value in enumerate(watched(elem)):
                self.c.elems[index].refs[<uint64_t>place] = self.store.from_python(value)
                self.c.elems[index].length = place + 1

    cdef int _set_functions(self, Segment *segment, const uint32_t[::1] indices) except -1:
        cdef uint64_t place
        for place in range(<uint64_t>indices.shape[0]):
            if indices[place] >= self.c.func_count:
                raise IndexError("an element segment with a function that its module has not")
            segment.refs[place] = <uintptr_t>self.c.funcs[indices[place]]
        segment.length = indices.shape[0]
        return 0

    def run_elem(self, uint64_t index, uint64_t table, uint64_t offset):
        cdef Segment *elem = &self.c.elems[index]
        cdef Table *into = self.c.tables[table]
        if offset > into.size or elem.length > into.size - offset:
            raise Trap(TrapCode.TABLE_OUT_OF_BOUNDS)
        memcpy(into.elements + offset, elem.refs, elem.length * 8)

    cdef int _set_data(self, uint64_t index, data) except -1:
        self.c.datas[index].bytes = _contents(data)
        self.c.datas[index].length = len(data)
        return 0

    cdef int _set_places(self, datas) except -1:
        cdef const uint8_t *code = _contents(datas.code)
        cdef const int64_t[::1] places = datas.places
        cdef uint64_t index, count = len(datas), size = len(datas.code)
        self.contents = (datas.code, *[other.init for other in datas.others.values()])
        for index in range(count):
            if not 0 <= places[4 * index + 2] <= places[4 * index + 3] <= <int64_t>size:
                raise IndexError("a data segment outside of its module")
            self.c.datas[index].bytes = code + places[4 * index + 2]
            self.c.datas[index].length = places[4 * index + 3] - places[4 * index + 2]
        for index, other in datas.others.items():
            self._set_data(index, other.init)
        return 0

    def run_datas(self, const int64_t[::1] places, uint64_t first, uint64_t last):
        cdef Segment *data
        cdef Memory *memory = self.c.memories[0] if self.c.memory_count else NULL
        cdef uint64_t address
        for index in range(first, min(last, self.c.data_count, <uint64_t>places.shape[0] // 4)):
            data, address = &self.c.datas[index], places[4 * index]
            if places[4 * index] < 0:
                continue
            if memory == NULL:
                raise IndexError("an active data segment without a memory")
            if address > memory.size or data.length > memory.size - address:
                raise Trap(TrapCode.MEMORY_OUT_OF_BOUNDS)
            memcpy(memory.base + address, data.bytes, data.length)
            data.length = 0

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
        func.constant = True
        return self.store.run(&func, ())[0]


cdef object _function(Func *func):
    """The function instance that stands for a function; one of a module is made when first asked for."""
    cdef NativeInstance instance
    if func.host:
        return <object>func.python
    instance = <NativeInstance>func.instance.python
    return instance.owner.funcs[instance.index_of(func)]
