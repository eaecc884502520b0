# Part of `_loop.pyx`: calls from the loop into Python, and of functions of numbers from Python.

cdef void _release_gil(Store *c) noexcept nogil:
    c.thread_state = PyEval_SaveThread()


cdef void _acquire_gil(Store *c) noexcept nogil:
    cdef void *state = c.thread_state
    c.thread_state = NULL
    PyEval_RestoreThread(<PyThreadState *>state)


cdef int _prepare(Store *c, Func *func) noexcept:
    cdef NativeStore store = <NativeStore>c.python
    cdef NativeInstance instance
    cdef NativeCode code
    cdef Py_ssize_t nested = store.nested
    try:
        if store.metered:
            store.owner.fuel = c.fuel
        store.owner.poll()
        # The backend holds it for as long as there is the module, or, profiled, the store.
        instance = <NativeInstance>func.instance.python
        code = store.backend.code(instance.owner, instance.index_of(func))
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


cdef int _hot(Store *c, Func *func, int64_t word) noexcept:
    cdef NativeStore store = <NativeStore>c.python
    cdef NativeInstance instance
    cdef Py_ssize_t nested = store.nested
    try:
        if store.metered:
            store.owner.fuel = c.fuel
        instance = <NativeInstance>func.instance.python
        store.backend.hot(instance.owner, instance.index_of(func), None if word < 0 else word)
        if store.metered:
            # It may run finalizers, and those Wasm code.
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
