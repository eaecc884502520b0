"""How much is left of the stack of a thread; the native engine asks the same in `stack_pool.c`."""

from __future__ import annotations

import ctypes
import sys
import threading

_LOW_BITS = 0xFFFF_FFFF
# It calls no Python function and waits for nothing, so that nobody else has to run meanwhile.
_c = ctypes.PyDLL(None)
_KNOWN = sys.platform == "linux" and hasattr(_c, "dl_iterate_phdr") and hasattr(_c, "pthread_getattr_np")


def left_bytes(size: int) -> int:
    """What is left of a stack to Python, the lowering and the host function when no further call is taken."""
    return min(max(size // 4, 16 << 10), 64 << 10)


class _Bounds(threading.local):
    """Where this thread's stack begins, and up to how many bytes it is low; both 0 where nobody tells."""

    def __init__(self) -> None:
        # Larger than a `pthread_attr_t` of any machine.
        attributes = ctypes.create_string_buffer(256)
        start, size, guard = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_size_t()
        self.start = self.low = 0
        if not _c.pthread_getattr_np(ctypes.c_size_t(threading.get_ident()), attributes):
            _c.pthread_attr_getstack(attributes, ctypes.byref(start), ctypes.byref(size))
            _c.pthread_attr_getguardsize(attributes, ctypes.byref(guard))
            _c.pthread_attr_destroy(attributes)
            self.start, self.low = start.value, guard.value + left_bytes(size.value)


if _KNOWN:
    _here = _Bounds()
    _memset = ctypes.cast(_c.memset, ctypes.c_void_p)


def thread_stack_is_low() -> bool:
    """Whether so little of this thread's stack is left that no further call should nest.

    Where that cannot be told, it is not.
    """
    if not _KNOWN:
        return False
    # `dl_iterate_phdr` hands a function the address of a structure on the stack, a size and the argument,
    # and returns what it returns, as a C `int`. `memset` returns the address, and sets no byte with 0 for its
    # last argument.
    address: int = _c.dl_iterate_phdr(_memset, None)
    return (address - _here.start & _LOW_BITS) < _here.low
