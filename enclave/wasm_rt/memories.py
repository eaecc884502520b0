"""Reading and writing a program's exported memory, for buffers and text."""

from __future__ import annotations

from typing import Any

from schannel.messages import ErrorCode, ReadRequest, WriteRequest
from tinywasm.raw import ModuleInstance

from .errors import RequestError


def write_memory(instance: ModuleInstance, request: WriteRequest) -> None:
    """Put bytes into an exported memory; RequestError if there is none, or they do not fit."""
    memory = _memory(instance, request.memory)
    with memoryview(memory.data) as view:
        _check(view, request.address, len(request.content))
        view[request.address : request.address + len(request.content)] = request.content


def read_memory(instance: ModuleInstance, request: ReadRequest, largest: int) -> bytes:
    """Bytes of an exported memory; RequestError if there is none, they are outside, or too many."""
    if request.size > largest:
        raise RequestError(ErrorCode.TOO_LARGE, f"at most {largest} bytes are read at a time")
    memory = _memory(instance, request.memory)
    with memoryview(memory.data) as view:
        _check(view, request.address, request.size)
        return bytes(view[request.address : request.address + request.size])


def _memory(instance: ModuleInstance, name: str) -> Any:
    exported = {key: item for key, item in instance.exports.items() if item.kind == "memory"}
    if not name and len(exported) == 1:
        return next(iter(exported.values()))
    if name not in exported:
        what = f"no memory {name!r}" if name else "no single memory"
        listed = ", ".join(map(repr, exported)) or "none"
        raise RequestError(ErrorCode.NOT_FOUND, f"the module exports {what}; its memories: {listed}")
    return exported[name]


def _check(view: memoryview, address: int, size: int) -> None:
    if address + size > len(view):
        raise RequestError(
            ErrorCode.BAD_ARGUMENTS,
            f"{size} bytes at {address:#x} are outside of the memory, which has {len(view)} bytes",
        )
