# Part of `_loop.pyx`: memories, tables, globals and tags, and the buffers of memories.

cdef const uint8_t *_contents(data) except? NULL:
    """The bytes of an object that stays as it is for as long as they are used."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    PyBuffer_Release(&view)
    return <const uint8_t *>view.buf


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
        reserved = top * self.c.page_size
        if type.limits.max is None and not self.c.is64:
            top = max(type.limits.min, min(top, space.BELOW_ALL // self.c.page_size))
        self.c.max_pages = top
        space.reserve(lambda room, opened: self.map(wanted, room, opened) or None, wanted, reserved)
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
