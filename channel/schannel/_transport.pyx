# cython: language_level=3
"""Waiting awake at a socket; `transport` says what the function does."""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_FromStringAndSize

cdef extern from *:
    """
    #include <errno.h>
    #include <sched.h>
    #include <sys/socket.h>
    #include <time.h>

    /* A core that has gone to sleep takes longer to wake than a call needs. So what answers at once is waited
       for awake, but for no longer than this, and others that want the core go first. */
    static const long long AWAKE = 300 * 1000; /* nanoseconds */

    static long long clock_now(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * 1000000000LL + now.tv_nsec;
    }

    /* The bytes received, 0 at the end of the stream, -1 where there are none yet or something is wrong. */
    static Py_ssize_t receive_awake(int descriptor, char *buffer, Py_ssize_t size) {
        long long end = 0;
        for (;;) {
            ssize_t received = recv(descriptor, buffer, size, MSG_DONTWAIT);
            if (received >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
                return received;
            long long now = clock_now();
            if (end == 0)
                end = now + AWAKE;
            else if (now >= end)
                return -1;
            sched_yield();
        }
    }
    """
    Py_ssize_t receive_awake(int descriptor, char *buffer, Py_ssize_t size) nogil


def receive_soon(int descriptor, bytearray buffer not None):
    """See `transport.receive_soon`."""
    cdef char *into = PyByteArray_AS_STRING(buffer)
    cdef Py_ssize_t size = PyByteArray_GET_SIZE(buffer)
    with nogil:
        size = receive_awake(descriptor, into, size)
    return None if size < 0 else PyBytes_FromStringAndSize(into, size)
