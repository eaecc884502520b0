"""`sock_*`: functions on sockets that the embedder handed in."""

from __future__ import annotations

from tinywasm.wasi.abi import (
    RECV_PEEK,
    RECV_TRUNCATED,
    RECV_WAITALL,
    SHUT_RD,
    SHUT_WR,
    SOCKET_RIGHTS,
    U16,
    U32,
    Errno,
    FdFlags,
    Rights,
    WasiError,
)
from tinywasm.wasi.descriptors import read_into, write_all
from tinywasm.wasi.files import Socket
from tinywasm.wasi.guest import READABLE, Descriptor, Guest
from tinywasm.wasi.registry import flags, function


def _socket(guest: Guest, fd: int, right: Rights) -> Socket:
    found = guest.table[fd]
    if not isinstance(found.handle, Socket):
        raise WasiError(Errno.NOTSOCK)
    found.require(right)
    return found.handle


@function("iii")
def sock_accept(guest: Guest, fd: int, fdflags: int, result: int) -> None:
    wanted = flags(FdFlags, fdflags)
    if wanted & ~FdFlags.NONBLOCK:
        raise WasiError(Errno.INVAL)
    listener = _socket(guest, fd, Rights.SOCK_ACCEPT)
    guest.table.check_room()
    guest.wait_for(listener, READABLE)
    accepted = listener.accept()
    accepted.set_flags(wanted)
    inherited = guest.table[fd].inheriting & SOCKET_RIGHTS
    guest.memory.store(U32, result, guest.table.add(Descriptor(accepted, inherited, Rights(0))))


@function("iiiiii")
def sock_recv(
    guest: Guest, fd: int, iovs: int, count: int, riflags: int, result: int, result_flags: int
) -> None:
    if riflags & ~(RECV_PEEK | RECV_WAITALL):
        raise WasiError(Errno.INVAL)
    socket = _socket(guest, fd, Rights.FD_READ)
    buffers = guest.memory.buffers(iovs, count)
    size = sum(size for _, size in buffers)
    peek = bool(riflags & RECV_PEEK)
    guest.wait_for(socket, READABLE)
    data, truncated = socket.receive(size, peek=peek)
    # The kernel's own way of waiting for all would be deaf to an interruption.
    while data and len(data) < size and riflags == RECV_WAITALL:
        guest.wait_for(socket, READABLE)
        more, truncated = socket.receive(size - len(data), peek=False)
        if not more:
            break
        data += more
    guest.memory.store(U16, result_flags, RECV_TRUNCATED if truncated else 0)
    read_into(guest, buffers, data, result)


@function("iiiii")
def sock_send(guest: Guest, fd: int, iovs: int, count: int, siflags: int, result: int) -> None:
    if siflags:
        raise WasiError(Errno.INVAL)
    socket = _socket(guest, fd, Rights.FD_WRITE)
    data = guest.memory.gather(guest.memory.buffers(iovs, count))
    guest.memory.store(U32, result, write_all(guest, socket, data))


@function("ii")
def sock_shutdown(guest: Guest, fd: int, how: int) -> None:
    if how not in (SHUT_RD, SHUT_WR, SHUT_RD | SHUT_WR):
        raise WasiError(Errno.INVAL)
    socket = _socket(guest, fd, Rights.SOCK_SHUTDOWN)
    socket.shutdown(read=bool(how & SHUT_RD), write=bool(how & SHUT_WR))
