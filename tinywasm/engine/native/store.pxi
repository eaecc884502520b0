# Part of `_loop.pyx`: a store, with the calls under way in it, and values on their way into it and out.

# As tools/gen_loop.py numbers `enum trap_code`, from 1.
_TRAPS = [(code, code.value) for code in TrapCode if code is not TrapCode.EXIT]
_TRAPS += [(code, wording) for wording, code in FINER_WORDINGS.items()]


# Cleared, it would outlive the store that its object belongs to.
@cython.no_gc_clear
cdef class NativeRef:
    """A structure, an array or an exception outside of the loop."""

    cdef NativeStore store
    cdef Object *object

    def __dealloc__(self):
        if self.object != NULL:
            tw_unpin(&self.store.c, self.object)

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
    cdef Py_ssize_t nested, room, most_nested
    cdef uint64_t running, forks
    cdef bint metered

    def __cinit__(self, owner, backend):
        """`owner` is the `runtime.store.Store`; `backend.code(module_instance, index)` gives a `NativeCode`,
        and `backend.hot` is told which of them is hot."""
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
        self.c.stack_slots = STACK_SLOTS
        self.most_nested = config.max_nested_calls
        self.c.python = <void *>self
        self.c.release = _release_gil
        self.c.acquire = _acquire_gil
        self.c.prepare = _prepare
        self.c.call_host = _call_host
        self.c.poll = _poll
        self.c.hot = _hot
        self.c.left = tw_poll_words
        self.c.helpers = tw_helpers

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
        return None if func.constant else (<NativeInstance>func.instance.python).owner

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
            return _function(<Func *>object)
        if object.kind == KIND_HOST:
            return <object>(<Host *>object).python
        # Held before anything that may run Python's collector, and so finalizers.
        tw_pin(&self.c, object)
        try:
            wrapper = NativeRef.__new__(NativeRef)
        except BaseException:
            tw_unpin(&self.c, object)
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
        tw_pin(&self.c, object)
        self.end(number)
        tw_unpin(&self.c, object)
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
        if not func.constant and (
            tw_thread_stack_is_low() or number >= self.most_nested and self.running_calls() > self.most_nested
        ):
            raise StackExhausted
        if self.c.poll_wanted and not func.constant:
            self.poll()
        if self.c.stack == NULL and tw_borrow_stack(&self.c) != 0:
            self.borrow_again()
        self.in_order(number + 1)
        if self.metered:
            # Also in a nested call: the host function may have set it.
            self.c.fuel = self.owner.fuel
        base = self.calls[number].base = self.c.top
        end = base + max(func.head.type.param_slots, func.head.type.result_slots)
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
        cdef uintptr_t limit = self.c.machine_limit
        cdef int status
        self.in_order(number + 1)
        self.c.machine_limit = tw_machine_limit()
        status = tw_run(&self.c, func, base)
        self.c.machine_limit = limit
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
                self._trace(error, base, depth)
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
        self._trace(trap, base, depth)
        raise trap

    cdef _exception(self, Exn *exn):
        tw_pin(&self.c, &exn.head)
        try:
            values = self.read_all(exn.tag.type.params, exn.values)
        finally:
            tw_unpin(&self.c, &exn.head)
        return WasmException(<object>exn.tag.python, values)

    cdef _trace(self, trap, int64_t base, int64_t depth):
        """Add the frames above `base` up to `depth` to a trap's."""
        cdef list places = []
        cdef Frame *frame
        while depth > base:
            frame = &self.c.frames[depth]
            depth -= 1
            if frame.func.constant:
                # It has no place in a backtrace.
                continue
            if frame.fp == NULL:
                places.append((_function(frame.func), <uintptr_t>frame.pc))
                continue
            word = (<uintptr_t>frame.pc - <uintptr_t>frame.func.code.words) // 16
            positions = (<NativeCode>frame.func.owner).positions
            places.append((_function(frame.func), positions[word]))
        from tinywasm.engine.backtrace import add_frames

        add_frames(trap, places)

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
        tw_pin(&self.c, &exn.head)
        try:
            self.write_all(tag.tag.type, False, error.values, exn.values)
            self.in_order(nested)
        finally:
            tw_unpin(&self.c, &exn.head)
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
