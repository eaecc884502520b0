# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The native engine's objects: what `loop.c` and `heap.c` work on, owned by Python.

Every structure that C reads belongs to a class here and lives as long as its store. Values cross as
the raw values of `tinywasm.runtime`; structures, arrays and exceptions that leave the loop come as a
`NativeRef`, which keeps the object alive.

The parts are included and not modules of their own, so that they call each other, and see each other's
structures, at the cost of C, in one extension; what they import stands here.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport UINT64_MAX, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset, strlen

from tinywasm.engine.native.native cimport *

import gc
import os
import threading
from array import array

cdef extern from "Python.h" nogil:
    ctypedef struct PyThreadState:
        pass
    PyThreadState *PyEval_SaveThread()
    void PyEval_RestoreThread(PyThreadState *state)
    PyThreadState *PyThreadState_Get()
    uint64_t PyThreadState_GetID(PyThreadState *state)
    unsigned long PyThread_get_thread_ident()


cdef extern from "Python.h":
    ctypedef int (*visitproc)(PyObject *, void *) noexcept
    ctypedef int (*traverseproc)(PyObject *, visitproc, void *) noexcept
    ctypedef struct PyTypeObject:
        traverseproc tp_traverse
    object PyObject_Call(object callable, object args, PyObject *kwargs)
    object PyObject_CallNoArgs(object callable)


from tinywasm.engine.recursion import STACK_SLOTS, used_up_by_nesting
from tinywasm.errors import (
    FINER_WORDINGS,
    LinkError,
    OutOfFuel,
    StackExhausted,
    Trap,
    TrapCode,
    WasmError,
    WasmException,
)
from tinywasm.interruption import STEPS, look, watched
from tinywasm.numerics.floats import f32_from_bits, f32_to_bits
from tinywasm.runtime import space
from tinywasm.runtime.calls import in_use, out_of_order
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.heap import I31
from tinywasm.syntax import DataSegments
from tinywasm.types import (
    F32,
    F64,
    I32,
    I64,
    V128,
    AbstractHeap,
    DefinedType,
    FuncType,
    Limits,
    MemoryType,
    PackedType,
    StructType,
    TableType,
)


cdef extern from "sys/mman.h" nogil:
    int munmap(void *address, size_t length)
    int madvise(void *address, size_t length, int advice)
    int MADV_NOHUGEPAGE
    int PROT_NONE, PROT_READ, PROT_WRITE


TABLE_DIGEST = tw_table_digest().decode()
# Raised with every change of what code is to this module: see `engine.native.kept`.
INTERFACE = 16


def _named(bint places):
    """What machine code has to know of the structures, or of the functions that it calls, by their names."""
    cdef uint64_t number = 0
    cdef dict found = {}
    cdef const char *name = tw_place_names[0] if places else tw_helper_names[0]
    while name != NULL:
        found[name.decode()] = tw_places[number] if places else number
        number += 1
        name = tw_place_names[number] if places else tw_helper_names[number]
    return found


# Where the members of structures lie, and the numbers of helpers.
PLACES, HELPERS = _named(True), _named(False)

tw_map_flags = space.FLAGS


def collect_first_at(uint64_t allocated):
    """New stores collect first when they have allocated this many bytes; 0, for tests, at every allocation."""
    global tw_first_threshold
    tw_first_threshold = allocated


def look_after(int64_t words):
    """For tests: runs look after so many words at most whether they shall end, and who is hot; 0 as usual."""
    global tw_poll_words
    tw_poll_words = words or POLL_WORDS


# How often this process has become a child.
cdef uint64_t _forks = 0
tw_main_thread = threading.main_thread().ident


def _forked():
    """The thread that forked is the only one in the child, and its main one."""
    global _forks, tw_main_thread
    _forks += 1
    tw_main_thread = PyThread_get_thread_ident()


os.register_at_fork(after_in_child=_forked)


cdef void *_room(size_t count, size_t size) except NULL:
    """Zeros for so many things of a size, to `free`. Raises `MemoryError` where there is no room."""
    cdef void *place = calloc(count or 1, size)
    if place == NULL:
        raise MemoryError
    return place


cdef _append(void ***array, uint64_t *count, void *item):
    """Append to an array that doubles: room is there up to the next power of two."""
    cdef void **grown
    if count[0] & (count[0] - 1) == 0:
        grown = <void **>_room(count[0] * 2, sizeof(void *))
        if count[0]:
            memcpy(grown, array[0], count[0] * sizeof(void *))
        free(array[0])
        array[0] = grown
    array[0][count[0]] = item
    count[0] += 1


include "types.pxi"
include "scope.pxi"
include "native_code.pxi"
include "store.pxi"
include "calls.pxi"
include "externals.pxi"
include "module_instance.pxi"
