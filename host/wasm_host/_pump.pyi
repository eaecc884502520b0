"""What the compiled wait of the relay offers to `relay`."""

from array import array

class Pump:
    """Waits at an epoll descriptor and passes plain traffic on; `buffer`, writable, is for what it passes on.

    One thread uses it. Python releases neither the descriptors nor `buffer` while it does.
    """

    def __init__(self, epoll: int, buffer: memoryview) -> None: ...
    def pass_on(self, source: int, target: int, counts: array[int], direction: int) -> None:
        """From now on send to `target` what comes from `source`.

        `counts` holds the bytes of each direction, 0 and 1, and then the time of the last of them, in
        nanoseconds of the monotonic clock.
        """

    def forget(self, source: int) -> None:
        """Pass nothing on from `source` any more, if anything was; has to come before it is closed."""

    def poll(self) -> list[tuple[int, bytes]]:
        """Wait for events that are not plain: their descriptors, with bytes that came and were not taken.

        Raises:
            OSError: the epoll descriptor is none.
        """
