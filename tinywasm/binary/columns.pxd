# Types for the compiled readers, which are the same source.

cimport cython

cdef int _I32_CONST, _END, _LEAST_HEAP, _MOST_HEAP, _LEAST_NUMBER, _MOST_NUMBER

@cython.locals(byte="long long", number="long long", count="long long")
cdef long long _short(const unsigned char[::1] data, Py_ssize_t pos)

@cython.locals(size=Py_ssize_t, number=Py_ssize_t, found="long long")
cpdef tuple read_short(const unsigned char[::1] data, Py_ssize_t pos, unsigned int[::1] numbers, Py_ssize_t most)

@cython.locals(
    size=Py_ssize_t, number=Py_ssize_t, start=Py_ssize_t, end=Py_ssize_t, body=Py_ssize_t, length="long long"
)
cpdef tuple read_codes(const unsigned char[::1] data, Py_ssize_t pos, long long[::1] places, Py_ssize_t most)

@cython.locals(total="long long", runs=int, count="long long", type=int)
cdef Py_ssize_t _behind_locals(const unsigned char[::1] data, Py_ssize_t pos, Py_ssize_t end)

@cython.locals(
    size=Py_ssize_t, number=Py_ssize_t, at=Py_ssize_t, before=Py_ssize_t, start=Py_ssize_t, end=Py_ssize_t,
    bits=int,
    constant="long long", length="long long", address="long long",
)
cpdef tuple read_datas(const unsigned char[::1] data, Py_ssize_t pos, long long[::1] places, Py_ssize_t most)
