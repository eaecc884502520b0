# Types for the compiled builder, which is the same source: machine integers where the walk spends its time.

cimport cython

cdef int BLOCK, BRANCH_IF, BRANCH_CAST, BRANCH_NON_NULL, BRANCH_NULL, BRANCH_TABLE, BRANCH_UNLESS
cdef int CONSTANT, JUMP, LOCAL, MOVE, NOWHERE, RETURN, STRIDE, TEMPORARY
cdef int CONST_I32, CONST_I64, CONST_F32, CONST_F64, CONST_V128
cdef int MAX_OPERANDS, STEPS, FIRST_PREFIX, PREFIXED
cdef int PLAIN, LOCAL_GET, LOCAL_SET, LOCAL_TEE, CONST, OPEN, LOOP, WHEN, OTHERWISE, END, BR, BR_IF, BR_TABLE
cdef int RETURNS, CALL, DROP, SELECT, NOTHING, CHECK, MANY, TRY, BR_NULL, BR_NON_NULL, BR_CAST
cdef int INDEX, MEMARG, BYTE, OBJECT, NONE
cdef long long[::1] SHAPES, TAKES, FIRST_KIND, SECOND_KIND, RESULT_WIDTH, ORDINALS, OPENS, CONSTANT_KIND

cdef unsigned long long _ONES, _SIGN

cdef class Label:
    cdef long shape, height, depth, target, region, otherwise
    cdef bint targeted
    cdef tuple params, results, carried

cdef class Builder:
    cdef object context, bytes
    cdef const unsigned char[::1] data, wide
    cdef long pos, end, position
    cdef long long[::1] code, places, heights, below, topmost, constants, kinds
    cdef long size, most, region, blocks, head, last, depth, height, highest, settled, followed, skipped
    cdef long constant_count
    cdef long long memory
    cdef list lists, objects, regions, labels
    cdef bint dead

    @cython.locals(steps=long)
    cpdef build(self, object wide, tuple results)
    @cython.locals(byte=long, value="unsigned long long", part="unsigned long long", shift=int)
    cdef long long leb(self)
    @cython.locals(byte=long, value="unsigned long long", part="unsigned long long", shift=int)
    cdef long long signed_leb(self)
    cdef long long as_signed(self, unsigned long long bits)
    cdef long long immediate(self, int row, int kind, int number) except? -1
    @cython.locals(flags="long long", offset="long long", number="long long")
    cdef long long memory_argument(self, bint lane)
    @cython.locals(start=long, code="long long[::1]")
    cdef long emit(self, int row, long long result, long long a, long long b, long long c, long long immediate, long long second) except -1
    cdef long new_block(self)
    @cython.locals(record=long)
    cdef begin(self, long block, bint head)
    @cython.locals(start=long, code="long long[::1]")
    cdef count(self)
    @cython.locals(depth=long)
    cdef push(self, long long place, long width)
    @cython.locals(place="long long")
    cdef long long push_result(self, long width) except -1
    @cython.locals(place="long long", depth=long)
    cdef push_local(self, long long local, long long wide)
    @cython.locals(place="long long", depth=long)
    cdef long long pop(self)
    @cython.locals(place="long long", kind=int)
    cdef settle(self, long depth)
    @cython.locals(depth=long)
    cdef settle_top(self, long count)
    @cython.locals(depth=long)
    cdef settle_locals(self)
    @cython.locals(place="long long", target="long long", start=long)
    cdef assign(self, long local)
    @cython.locals(width=long)
    cdef reset(self, Label label, tuple widths)
    @cython.locals(height=long, depth=long, width=long)
    cdef bint in_place(self, Label label)
    @cython.locals(count=long, first=long, height=long, depth=long, width=long, target="long long", index=long)
    cdef branch(self, Label label)
    @cython.locals(label=Label, following=long)
    cdef branch_when(self, int operation, long depth, long long place, long second)
    @cython.locals(label=Label, place="long long", first=long)
    cdef branch_table(self)
    @cython.locals(position=long, code=long, row=int, shape=int, local=long)
    cdef step(self)
    cdef skip(self, int row, int shape)
    @cython.locals(kind=int, value="unsigned long long", size=int, index=int, byte="unsigned long long", number=long, wide=int)
    cdef constant(self, int row)
    @cython.locals(immediate="long long", second="long long", kind=int, a="long long", b="long long", c="long long", taken=int, width=int, record=long)
    cdef plain(self, int row)
    @cython.locals(a="long long", b="long long", c="long long", second="long long", depth=long, record=long)
    cdef unusual(self, int row, int shape)
    @cython.locals(depth=long, place="long long", height=long)
    cdef leave(self, int row, int shape)
    @cython.locals(first=long, index=long)
    cdef long take(self, long count) except -1
    @cython.locals(immediate="long long", second="long long", first=long, count=long, place="long long", leaves=bint, width=long)
    cdef call(self, int row)
    cdef structure(self, int shape)
    @cython.locals(condition="long long", depth=long, height=long, label=Label, position=long)
    cdef open(self, int shape, tuple params, tuple results)
    @cython.locals(label=Label)
    cdef tuple clauses(self)
    @cython.locals(label=Label)
    cdef alternative(self)
    @cython.locals(label=Label, joined=bint)
    cdef close(self)
    cdef close_function(self, Label label)
