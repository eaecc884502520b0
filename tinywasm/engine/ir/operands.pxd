# Types for the compiled class, which is the same source.

cimport cython

cdef int LOCAL, MOVE, NOWHERE, STRIDE, WIDE
cdef long MAX_OPERANDS
cdef bint _INTERPRETED

cdef class Operands:
    cdef public long long[::1] code, places
    cdef public long size, height
    cdef long position, made, settled, own
    cdef public long highest, singly
    cdef public list lists
    cdef public dict rows
    cdef str name

    cdef records(self)
    @cython.locals(start=long, code="long long[::1]")
    cpdef emit(self, int row, long long result, long long a, long long b, long long c, long long immediate, long long second)
    @cython.locals(start=long, code=object)
    cdef tuple withdraw(self, long long place)
    @cython.locals(height=long)
    cpdef push(self, long long place)
    cdef reach(self, long height)
    @cython.locals(place="long long")
    cpdef long long push_result(self, long width)
    @cython.locals(place="long long", height=long)
    cpdef long long pop(self)
    cdef void unsettle(self)
    cdef void cut(self, long height)
    @cython.locals(place="long long", target="long long")
    cdef long settle(self, long height)
    @cython.locals(height=long)
    cdef settle_top(self, long count)
    @cython.locals(height=long)
    cdef settle_row(self)
    @cython.locals(known=bint, width=long)
    cdef push_row(self, tuple widths)
    @cython.locals(height=long, place="long long")
    cdef settle_locals(self, long long which)
    @cython.locals(place="long long")
    cdef assign(self, long long target)
    cpdef long take(self, long count)
    cpdef take_row(self, long extent)
    @cython.locals(height=long, width=long)
    cpdef tuple list_row(self, object key, tuple taken, tuple left=*)
