# Types for the compiled readers, which are the same source.

cimport cython

cdef int _I32_CONST, _END

@cython.locals(byte="long long", number="long long", count="long long")
cdef long long _short(const unsigned char[::1] data, Py_ssize_t pos)

@cython.locals(
    size=Py_ssize_t, number=Py_ssize_t, at=Py_ssize_t, start=Py_ssize_t, end=Py_ssize_t, bits=int,
    constant="long long", length="long long", address="long long",
)
cpdef tuple read_datas(const unsigned char[::1] data, Py_ssize_t pos, long long[::1] places, Py_ssize_t most)
