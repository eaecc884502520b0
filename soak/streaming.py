"""Large programs and files: what they take of the host's memory and of the enclave's."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace

from tinywasm import binary, text
from wasm_client import Session, connect

from .host import RunningHost, peak, resident

_TIMEOUT = 600.0
_LARGEST_MESSAGE = 255 << 20
"""Bytes of a program: it travels in one message, and enclaves take 256 MiB."""

_HOST_SLACK, _ENCLAVE_SLACK = 16 << 20, 16 << 20
"""Bytes that either may take besides: buffers, and what it does for the first time."""


def streaming(host: RunningHost, size: int) -> str:
    """A file and a program of so many bytes: the host holds neither, and the enclave holds each once."""
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    data = content[:_LARGEST_MESSAGE]
    program = _program(data)

    def file(session: Session) -> None:
        session.put("file", content)
        with tempfile.TemporaryFile() as fetched:
            session.get("file", fetched)
            fetched.seek(0)
            assert fetched.read() == content, "the file came back changed"

    def deploy(session: Session) -> None:
        session.deploy(program)
        assert session.call("last") == data[-1], "the program arrived changed"

    return "; ".join(
        (_measured(host, "file", len(content), file), _measured(host, "program", len(program), deploy))
    )


def _measured(host: RunningHost, what: str, size: int, send: Callable[[Session], None]) -> str:
    with connect(host.address, host.policy, timeout=_TIMEOUT) as session:
        enclave = host.latest_enclave()
        before, host_before = resident(enclave), resident(host.pid)
        send(session)
        grown, host_grown = peak(enclave) - before, peak(host.pid) - host_before
    assert host_grown <= _HOST_SLACK, f"a {what} of {size} bytes took {host_grown} bytes of the host"
    assert grown <= size + _ENCLAVE_SLACK, f"a {what} of {size} bytes took {grown} bytes of the enclave"
    return (
        f"a {what} of {size >> 20} MiB took {grown / (1 << 20):.1f} MiB of the enclave and "
        f"{host_grown / (1 << 20):.1f} MiB of the host"
    )


def _program(content: bytes) -> bytes:
    """A module that is nearly all data, and a function that reads the last byte of it."""
    module = text.parse_module(
        f"""(module (memory 1) (data $all "")
          (func (export "last") (result i32)
            (memory.init $all (i32.const 0) (i32.const {len(content) - 1}) (i32.const 1))
            (i32.load8_u (i32.const 0))))"""
    )
    module.datas = [replace(module.datas[0], init=content)]
    return binary.encode(module)
