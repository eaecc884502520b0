# cython: language_level=3, boundscheck=False, wraparound=False
"""The relay's wait, which passes plain traffic on by itself, without the interpreter lock.

Plain is what comes from a descriptor that `pass_on` named and what the other one takes at once. Anything else,
ends and errors among it, is left to `relay`, which alone decides.
"""

from cpython.exc cimport PyErr_SetFromErrno
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.memoryview cimport PyMemoryView_GET_BUFFER
from libc.errno cimport EINTR, errno
from libc.stdint cimport uint32_t, uint64_t


cdef extern from "<sys/epoll.h>" nogil:
    enum: EPOLLIN
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_wait(int epoll, epoll_event *events, int size, int milliseconds)

cdef extern from "<sys/socket.h>" nogil:
    enum: MSG_DONTWAIT, MSG_NOSIGNAL
    ssize_t recv(int descriptor, void *buffer, size_t size, int flags)
    ssize_t send(int descriptor, const void *buffer, size_t size, int flags)

cdef extern from "<time.h>" nogil:
    enum: CLOCK_MONOTONIC
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *now)

cdef extern from *:
    """
    /* Other threads read the counters at any time. */
    #define put(place, value) __atomic_store_n(place, value, __ATOMIC_RELAXED)
    """
    void put(uint64_t *place, uint64_t value) nogil


cdef enum:
    EVENTS = 64
    LAST = 2  # Where a session's counters hold the time.

cdef struct Way:
    int to
    uint64_t *passed  # NULL where nothing is to be passed on.
    uint64_t *last


cdef uint64_t now() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <uint64_t> time.tv_sec * 1_000_000_000 + <uint64_t> time.tv_nsec


cdef class Pump:
    """Waits at an epoll descriptor, with `buffer` for what it passes on; one thread uses it."""

    cdef int epoll
    cdef object buffer
    cdef char *bytes
    cdef size_t size
    cdef Way *ways
    cdef int way_count
    cdef dict held
    cdef size_t start, end  # What was taken in and not passed on, in the buffer.
    cdef epoll_event events[EVENTS]

    def __init__(self, int epoll, object buffer):
        view = memoryview(buffer)
        if view.readonly or not view.c_contiguous or not view.nbytes:
            raise ValueError("the relay's buffer has to be writable and in one piece")
        self.epoll = epoll
        self.buffer = view
        self.bytes = <char *> PyMemoryView_GET_BUFFER(view).buf
        self.size = view.nbytes
        self.held = {}

    def __dealloc__(self):
        PyMem_Free(self.ways)

    def pass_on(self, int source, int target, object counts, int direction):
        if source < 0 or target < 0:
            raise ValueError("a closed socket passes nothing on")
        view = memoryview(counts)
        if view.readonly or view.format != "Q" or view.shape != (LAST + 1,) or not 0 <= direction < LAST:
            raise ValueError(f"counters are {LAST + 1} numbers of the format Q")
        self._reserve(source + 1)
        self.held[source] = view
        numbers = <uint64_t *> PyMemoryView_GET_BUFFER(view).buf
        self.ways[source] = Way(target, numbers + direction, numbers + LAST)

    def forget(self, int source):
        if 0 <= source < self.way_count:
            self.ways[source].passed = NULL
            self.held.pop(source, None)

    def poll(self):
        cdef int count, index
        cdef bint all_passed = True
        left = []
        with nogil:
            while all_passed:
                count = self._wait()
                if count < 0:
                    break
                for index in range(count):
                    if not self._passed(&self.events[index]):
                        all_passed = False
                        # At once: the next piece takes its place in the buffer.
                        with gil:
                            left.append((self.events[index].data.fd, self.bytes[self.start:self.end]))
        if count < 0:
            PyErr_SetFromErrno(OSError)
        return left

    cdef int _reserve(self, int count) except -1:
        """Have a place for each descriptor below `count`."""
        if count > self.way_count:
            grown = <Way *> PyMem_Realloc(self.ways, 2 * <size_t> count * sizeof(Way))
            if grown is NULL:
                raise MemoryError
            self.ways = grown
            for index in range(self.way_count, 2 * count):
                grown[index].passed = NULL
            self.way_count = 2 * count
        return 0

    cdef int _wait(self) noexcept nogil:
        """How many events there are, at least one; -1 with `errno` set."""
        cdef int count
        while True:
            count = epoll_wait(self.epoll, self.events, EVENTS, -1)
            if count >= 0 or errno != EINTR:
                return count

    cdef bint _passed(self, const epoll_event *event) noexcept nogil:
        """Whether all that an event stands for is done; else `start` and `end` tell what is still to be sent."""
        cdef ssize_t size, sent
        cdef int source = event.data.fd
        cdef Way *way
        self.start = self.end = 0
        if event.events != EPOLLIN or source >= self.way_count or self.ways[source].passed is NULL:
            return False
        way = &self.ways[source]
        size = recv(source, self.bytes, self.size, MSG_DONTWAIT)
        if size <= 0:
            return False
        sent = send(way.to, self.bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent > 0:
            put(way.passed, way.passed[0] + sent)
            put(way.last, now())
            self.start = sent
        self.end = size
        return sent == size
