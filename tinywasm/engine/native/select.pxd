# Types for compiled selection, which is the same source: machine integers where it spends its time.

cimport cython

cdef int BASE, BLOCK, BRANCH_CAST, BRANCH_CAST_FAIL, BRANCH_IF, BRANCH_NON_NULL, BRANCH_NULL, BRANCH_TABLE
cdef int BRANCH_UNLESS, CONST_V128, CONSTANT, JUMP, LOCAL, MOVE, MOVE_ROW, RETURN, STRIDE, TEMPORARY, NOWHERE
cdef int STEPS, NONE, COUNT, UNARY, BINARY, TERNARY, LOAD, STORE, ONE, TWO, ROW
cdef int ALIVE, ALWAYS, BOTH_HALVES, HALF, HALVES, RIGHT, SINGLE, STEP, SUM
cdef int A1, A2, B1, B2, C1, C2, F1, I1, I2, S1
cdef long long[::1] MANNERS, WORDS, ANY_MEMORY, MADE, FIELD_A, FIELD_B, FIELD_C, LOW, HIGH, WAY, GUARD, LOOSE
cdef long long[::1] FIRSTS, SECONDS, FIRST_OF_PAIR
cdef short[::1] FOUND
cdef long long _HALF, _SIGN, _UP
cdef long SCRATCH, LATER, ABOVE, FAR_MEMORY
cdef int _CONST, _OF_CONSTANT, _CONST128, _MOVED, _MOVED128, _WIDE_GET, _WIDE_SET, _WIDE_SHIFT
cdef int _WIDE_MEMORY, _WIDE_LEAVE, _JUMP, _BR_TABLE, _WHEN, _UNLESS, _REF_TEST, _MOVED_ROW, _WITH_SHUFFLE
cdef int _FUEL, _COUNTS, _RETURN0, _RETURN1, _RETURN_N, _GLOBAL_GET128

@cython.final
cdef class Selector:
    cdef public object context, form
    cdef const long long[::1] code, constants, kinds
    cdef public object lists
    cdef const long long[::1] operands
    cdef public object locals
    cdef public bint plain_locals, profiled, deep, ended
    cdef public long metered, first, base, here, size, barrier, position, region, window_size, reach
    cdef public list windows, branches, regions
    cdef public dict entries, field_slots
    cdef public object data, owed
    cdef unsigned long long[::1] low
    cdef long long[::1] high, positions, starts, sources

    @cython.locals(start=long)
    cpdef run(self, long result_slots)
    @cython.locals(size=long)
    cpdef emit(self, unsigned long long opcode, unsigned long long a, unsigned long long b, unsigned long long c, long long immediate)
    @cython.locals(at=long, number=int)
    cdef int pattern(self, unsigned long long first, long long i1, int word, long long i2, int where, bint dead) except -2
    cdef bint guarded(self, int guard, unsigned long long first, long long i1, long long i2) except -1
    @cython.locals(kind=int, last=long, low="unsigned long long", number=int)
    cdef int joint(self, long long place, int word, int where) except -2
    @cython.locals(made="long long", sources="long long[::1]")
    cdef make(self, int number, unsigned long long first, long long i1, long long a, long long b, long long c, long long i2)
    @cython.locals(last=long, first="unsigned long long", second="unsigned long long", i1="long long", i2="long long", slot="long long", dead=bint, number=int)
    cdef bint join(self, int field) except -1
    @cython.locals(number="long long")
    cpdef long long seen(self, long long place)
    @cython.locals(own="long long", slot="long long")
    cpdef long long slot(self, long long place, long scratch)
    @cython.locals(own="long long", slot="long long")
    cpdef long long target(self, long long place)
    @cython.locals(value="long long")
    cdef put_constant(self, long long slot, long long number)
    @cython.locals(source="long long")
    cpdef move(self, long long slot, long long place)
    @cython.locals(slot="long long", index=long, place="long long")
    cpdef long long row(self, long first, long count)
    @cython.locals(slot="long long", index=long, last="long long")
    cpdef long long behind(self, long first, long count)
    cpdef long window(self, long slot)
    cdef shift(self, long base)
    @cython.locals(row=int)
    cdef record(self, long start)
    @cython.locals(slot="long long")
    cpdef move_record(self, long long result, long long place)
    cdef move_row(self, long long result, long long first, long long count)
    @cython.locals(code="const long long[::1]")
    cdef begin(self, long start)
    cdef branch(self, unsigned long long opcode, unsigned long long slot, long long block)
    @cython.locals(word=long, immediate="long long", distance="long long")
    cdef resolve(self)
    cdef jump(self, long block)
    @cython.locals(slot="long long")
    cdef test(self, long long place, bint when, long block)
    @cython.locals(slot="long long", slots=long, index=long, far=long)
    cdef leave(self, long first, long count)
    @cython.locals(manner=int, wide=int, code="const long long[::1]", word=int, source="long long", x="long long", y="long long", z="long long")
    cdef instruction(self, int row, long start)
    @cython.locals(c="const long long[::1]")
    cdef form_record(self, long start)
    @cython.locals(word=int, number=int, constant="long long", slot="long long", other="long long", before="unsigned long long", high="long long", x="long long", y="long long")
    cdef binary(self, int row, long long result, long long first, long long second, long long immediate)
    @cython.locals(short=bint, word=int, number=int, before="unsigned long long", high="long long", base="long long", third="long long", stored="long long", a="long long", b="long long")
    cdef access(self, int row, long long result, long long address, long long value, long long offset, long long memory)
    cpdef bint large(self, long memory)
    @cython.locals(index=long, word="unsigned long long", opcode=int, following="unsigned long long", made="unsigned long long", taken=int, value="unsigned long long", both="unsigned long long", low="unsigned long long[::1]")
    cdef pair(self)

cdef long long _signed_half(long long bits)
cdef long long _single(long long bits) except? -2
