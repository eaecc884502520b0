"""The session's file tree, in the enclave's memory, as the client sees it."""

from __future__ import annotations

from schannel.messages import ErrorCode, GetRequest, GetResult, PutRequest, PutResult
from tinywasm.wasi import MemoryFile, MemoryTree, WasiError

from .errors import RequestError


class SessionFiles:
    """Puts pieces of files into a tree and gets them out; programs see the same tree.

    Args:
        limit: bytes that the tree holds at most, names included.
        largest: bytes of the largest piece given out.
    """

    def __init__(self, limit: int, largest: int) -> None:
        self.tree = MemoryTree(limit=limit)
        self._largest = largest

    def put(self, request: PutRequest) -> PutResult:
        """Make a file, or add a piece to it; RequestError if the path or the offset does not fit."""
        try:
            if request.offset == 0:
                self.tree.write(request.path, memoryview(request.content))
                return PutResult(len(request.content))
            file = self._open(request.path)
            if request.offset != file.stat().size:
                raise RequestError(
                    ErrorCode.BAD_REQUEST, f"{request.path!r} does not end at {request.offset}"
                )
            file.pwrite(memoryview(request.content), request.offset)
            return PutResult(file.stat().size)
        except (IsADirectoryError, NotADirectoryError) as error:
            raise RequestError(ErrorCode.BAD_REQUEST, f"{request.path!r} cannot be a file here") from error
        except (WasiError, OSError) as error:
            raise RequestError(ErrorCode.LIMIT_EXCEEDED, "the session's file tree is full") from error

    def get(self, request: GetRequest) -> GetResult:
        """A piece of a file; RequestError if there is none."""
        file = self._open(request.path)
        content = file.pread(min(request.size, self._largest), request.offset)
        return GetResult(file.stat().size, content)

    def _open(self, path: str) -> MemoryFile:
        try:
            return self.tree.open_file(path)
        except FileNotFoundError as error:
            raise RequestError(ErrorCode.NOT_FOUND, f"there is no file {path!r}") from error
