"""Standard streams without a file behind them."""

from __future__ import annotations

from collections.abc import Callable
from operator import index

from tinywasm.errors import WasmError
from tinywasm.wasi.abi import Errno, FileStat, FileType, WasiError, from_host
from tinywasm.wasi.files import File


class Stream(File):
    """A stream of unknown type, as preview 1 calls whatever is no file, terminal or socket."""

    filetype = FileType.UNKNOWN

    def stat(self) -> FileStat:
        return FileStat(0, 0, self.filetype, 0, 0, 0, 0, 0)

    def read(self, size: int) -> bytes:
        raise WasiError(Errno.BADF)

    def write(self, data: bytes | memoryview) -> int:
        raise WasiError(Errno.BADF)

    def close(self) -> None:
        """A stream belongs to the embedder."""


class InputStream(Stream):
    """Bytes to read, then the end."""

    def __init__(self, data: bytes | memoryview = b"") -> None:
        self.data = data
        self.position = 0

    def read(self, size: int) -> bytes:
        data = bytes(self.data[self.position : self.position + size])
        self.position += len(data)
        return data


class OutputStream(Stream):
    """Hands every write to a function of the embedder.

    The function returns how many bytes it took, None for all of them, or a negative `errno` number of
    the host. What it raises comes out of the call into Wasm.
    """

    def __init__(self, function: Callable[[bytes], int | None]) -> None:
        self.function = function

    def write(self, data: bytes | memoryview) -> int:
        count = self.function(bytes(data))
        if count is None:
            return len(data)
        try:
            count = index(count)
        except TypeError:
            raise TypeError(f"what takes output returns a number of bytes or None, not {count!r}") from None
        if count < 0:
            raise WasiError(from_host(-count))
        return min(count, len(data))


def discard(data: bytes) -> None:
    """Where output goes that nobody asked for."""


class Capture:
    """Collects what is written, up to `limit` bytes; more is refused with NOSPC."""

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self.limit = limit

    def __call__(self, data: bytes) -> int:
        room = self.limit - len(self.data)
        if data and room <= 0:
            raise WasiError(Errno.NOSPC)
        try:
            self.data += data[:room]
        except BufferError:
            raise WasmError("captured output cannot grow while somebody holds a view of it") from None
        return min(len(data), room)
