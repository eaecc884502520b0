# Types for the compiled builder, which is the same source: machine integers where the walk spends its time.

cimport cython
from tinywasm.engine.ir.operands cimport Operands

cdef int BLOCK, BRANCH_IF, BRANCH_UNLESS, CONSTANT, JUMP, LOCAL, MOVE_ROW, NOWHERE, NUMBER, RETURN, STRIDE, WIDE
cdef int CONST_F32, CONST_I32, CONST_I64, CONST_V128, CONST_NULL
cdef int LOCAL_GET, LOCAL_SET, LOCAL_TEE, CONST, UNARY, BINARY, LOAD, STORE, PLAIN, LOOP, WHEN, TRY, BR_IF, BR, CALL
cdef int DROP, NOTHING, RETURNS, OTHER, PREFIX, END, OTHERWISE
cdef int INDEX, MEMARG, BYTE, NONE, VARIES, AS_FIRST
cdef int FIRST_PREFIX, PREFIXED, GLOBAL_GET, STRUCT_GET
cdef long STEPS
cdef long long[::1] SHAPES, TAKES, FIRST_KIND, SECOND_KIND, WIDE_RESULT, ORDINALS, OPENS, CONSTANT_KIND, LEAVES, NAMES_TYPE

cdef unsigned long long _ONES, _SIGN
cdef int _EMPTY

@cython.final
cdef class Label:
    cdef long shape, height, target, region, extent, otherwise, own
    cdef bint targeted
    cdef tuple params, results, carried

@cython.final
cdef class Builder(Operands):
    cdef public object context, bytes
    cdef const unsigned char[::1] data, locals
    cdef public long pos
    cdef long end
    cdef long region, blocks, head, next, fuel, skipped
    cdef long long memory
    cdef public list objects, labels
    cdef list regions, constants, kinds, known
    cdef dict layouts
    cdef public bint dead

    @cython.locals(end=long)
    cpdef build(self, tuple results)
    @cython.locals(byte=long)
    cpdef long long leb(self)
    @cython.locals(byte="unsigned long long", value="unsigned long long", weight="unsigned long long", start=long, pos=long, data="const unsigned char[::1]")
    cdef long long long_leb(self, bint signed)
    cdef long long as_signed(self, unsigned long long bits)
    @cython.locals(code=long)
    cdef long opcode(self)
    cpdef long long immediate(self, int row, int kind, int number)
    @cython.locals(flags="long long", offset="long long", number="long long", pos=long)
    cdef long long memory_argument(self, bint lane)
    cpdef long new_block(self)
    cpdef begin(self, long block, bint head)
    cdef long following(self)
    cdef void charge(self)
    @cython.locals(width=long)
    cdef reset(self, Label label, tuple widths)
    @cython.locals(height=long, here=long, width=long)
    cdef bint in_place(self, Label label) except -1
    @cython.locals(height=long, settled=long, own=long, here=long, width=long, target="long long")
    cpdef branch(self, Label label)
    @cython.locals(height=long, here=long)
    cdef branch_in_row(self, Label label)
    @cython.locals(first=long, count=long)
    cdef leave(self, Label label)
    cpdef long edge(self, Label label)
    @cython.locals(label=Label, following=long, target=long)
    cpdef branch_when(self, int operation, long depth, long long place, long second)
    @cython.locals(pos=long, fuel=long, code=long, shape=int, local=long, place="long long", data="const unsigned char[::1]", locals="const unsigned char[::1]")
    cdef walk(self, long end)
    @cython.locals(offset="long long")
    cdef plain(self, int row, int shape)
    @cython.locals(code=long, shape=int, row=int)
    cdef skip(self, long end)
    @cython.locals(value="long long", known=dict, place="long long")
    cdef long long constant(self, int kind)
    @cython.locals(size=int)
    cdef long long wide_constant(self, int kind)
    @cython.locals(a="long long", height=long, result="long long")
    cdef unary(self, int row, long long immediate, long long second)
    @cython.locals(a="long long", b="long long", height=long, wide=int)
    cdef binary(self, int row, long long immediate, long long second)
    @cython.locals(immediate="long long", second="long long", kind=int, a="long long", b="long long", c="long long", taken=int, wide=int, result="long long")
    cdef general(self, int row)
    cdef int wide_result(self, int row, long long immediate, long long second)
    @cython.locals(depth=long)
    cdef unusual(self, long code, int shape)
    @cython.locals(shape=int, row=int)
    cdef rare(self, long code)
    @cython.locals(immediate="long long", second="long long", first=long, count=long, place="long long")
    cdef call(self, int row)
    @cython.locals(params=tuple, results=tuple, taken=long, left=long, first=long)
    cdef call_in_row(self, int row, long long place, long long immediate, long long second, object signature)
    cdef tuple layout(self, object signature)
    @cython.locals(byte=long)
    cdef tuple block_layout(self)
    @cython.locals(condition="long long", height=long, extent=long, taken=long, left=long, label=Label, position=long)
    cdef open(self, int shape)
    @cython.locals(label=Label)
    cdef tuple clauses(self)
    @cython.locals(label=Label)
    cdef alternative(self)
    @cython.locals(label=Label, joined=bint)
    cdef close(self)
    cdef close_function(self, Label label)
