# Part of `_loop.pyx`: register code as the loop reads it.

# How many bytes of machine code there are.
cdef uint64_t _machine_bytes = 0


def machine_bytes():
    """How many bytes of machine code there are in this process."""
    return _machine_bytes


def processor():
    """What the processor says of itself, as `tw_processor` has it."""
    cdef uint32_t found[4]
    tw_processor(found)
    return found[0], found[1], found[2], found[3]


@cython.no_gc
cdef class MachineText:
    """Machine code in memory, from position-independent bytes, which are trusted."""

    cdef void *place
    cdef readonly uint64_t size

    def __cinit__(self, const uint8_t[::1] image not None):
        global _machine_bytes
        self.size = len(image)
        self.place = tw_machine_open(&image[0] if self.size else NULL, self.size)
        if self.place == NULL:
            raise space.exhausted("machine code", self.size)
        _machine_bytes += self.size

    @property
    def address(self):
        return <uintptr_t>self.place

    def image(self):
        """The bytes."""
        return (<const char *>self.place)[:self.size]

    def __dealloc__(self):
        global _machine_bytes
        if self.place != NULL:
            tw_machine_close(self.place, self.size)
            _machine_bytes -= self.size


@cython.no_gc
cdef class MappedText:
    """Machine code in a file, from a map of it that can be run and is not written any more."""

    cdef Py_buffer view
    cdef readonly uint64_t size

    def __cinit__(self, mapped):
        PyObject_GetBuffer(mapped, &self.view, PyBUF_SIMPLE)
        self.size = self.view.len

    @property
    def address(self):
        return <uintptr_t>self.view.buf

    def image(self):
        """The bytes."""
        return (<const char *>self.view.buf)[:self.size]

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


@cython.no_gc
cdef class NativeCode:
    """Register code as the loop reads it, once the verifier has let it pass; `positions` has one module offset
    a word."""

    cdef Code code
    cdef bytes words
    cdef int taken
    cdef public object positions
    # What holds the machine code.
    cdef list machines

    def __cinit__(
        self,
        lowered,
        NativeScope scope not None,
        definition,
        str name not None,
        NativeInstance instance=None,
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
        self.taken = _verify(&self.code, &seen, _type_of(definition), name)

    def enter(self, machine):
        """Have calls enter machine code from now on: a `MachineCode`, which is trusted.

        Raises `InternalError` where it is of another frame.
        """
        self._hold(machine)
        tw_enter_machine(
            &self.code, <EnterMachine><uintptr_t>machine.entry, <void *><uintptr_t>machine.address
        )

    def enter_loop(self, uint32_t word, machine):
        """Have the loop that begins at a word enter machine code, as `enter` has calls do it."""
        cdef LoopEntry *loop
        self._hold(machine)
        loop = <LoopEntry *>_room(1, sizeof(LoopEntry))
        loop.word = word
        loop.entry, loop.machine = <EnterMachine><uintptr_t>machine.entry, <void *><uintptr_t>machine.address
        tw_enter_loop(&self.code, loop)

    cdef _hold(self, machine):
        if machine.slots != self.code.frame_slots:
            raise InternalError(f"machine code with {machine.slots} slots for {self.code.frame_slots} of words")
        if self.machines is None:
            self.machines = []
        self.machines.append(machine)

    def has_words(self, bytes words not None):
        """Whether these are the words."""
        cdef size_t size = <size_t>self.code.word_count * 16
        return len(words) == size and memcmp(<const char *>words, self.code.words, size) == 0

    @property
    def slots(self):
        """How many the frame has."""
        return self.code.frame_slots

    @property
    def cool(self):
        """How often looks have yet to meet the function until its backend is told that it is hot; 0 for never."""
        return self.code.cool

    @cool.setter
    def cool(self, uint32_t looks):
        self.code.cool = looks

    @property
    def begun(self):
        """How many looks have met the function where it begins, and not in a loop."""
        return self.code.begun

    cdef _copy(self, lowered):
        cdef Clause *clause
        cdef Handler *handler
        self.words = lowered.words
        self.positions = lowered.positions
        # Instructions want an alignment that the buffer of a bytes object does not promise.
        self.code.words = self.code.start = <Instr *>_room(len(self.words), 1)
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
        zeros = lowered.zeros + max(0, lowered.frame_slots - lowered.near_slots)
        self.code.cost = 16 + 2 * zeros + self.code.word_count
        self.code.window_count = len(lowered.windows)
        self.code.windows = <Window *>_room(len(lowered.windows), sizeof(Window))
        for index, (start, base) in enumerate(lowered.windows):
            self.code.windows[index].start, self.code.windows[index].base = start, base
        if len(self.positions) != self.code.word_count:
            raise InternalError(f"{len(self.positions)} positions for {self.code.word_count} words of native code")

    @property
    def references(self):
        """Whether the code takes slots for references."""
        return self.taken != 0

    def closed(self, NativeScope scope not None):
        """Whether the code, of a function of the module with that scope, touches nothing that is not its own:
        it takes slots for no references but exceptions, and reads none that it has not written."""
        return not self.taken & TAKES_OTHERS and tw_closed(&self.code, &scope.c) != 0

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
        cdef LoopEntry *loop
        while self.code.loops != NULL:
            loop = self.code.loops
            self.code.loops = loop.next
            free(loop)
        for index in range(self.code.handler_count):
            free(self.code.handlers[index].clauses)
        free(self.code.handlers)
        free(self.code.windows)
        free(self.code.words)
