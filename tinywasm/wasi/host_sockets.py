"""Real sockets: `files` on those of the host. Few programs are given any, so this is loaded for them only."""

from __future__ import annotations

import socket

from tinywasm.wasi.abi import FileType
from tinywasm.wasi.files import Socket
from tinywasm.wasi.host import HostFile


class HostSocket(HostFile, Socket):
    """A socket; it takes over the object given."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        super().__init__(connection.fileno(), owned=False)
        if connection.type & socket.SOCK_DGRAM:
            self.filetype = FileType.SOCKET_DGRAM

    def close(self) -> None:
        self._socket.close()

    def write(self, data: bytes | memoryview) -> int:
        return self._socket.send(data, socket.MSG_DONTWAIT)

    def accept(self) -> Socket:
        return HostSocket(self._socket.accept()[0])

    def receive(self, size: int, *, peek: bool) -> tuple[bytes, bool]:
        data, _, flags, _ = self._socket.recvmsg(size, 0, socket.MSG_PEEK if peek else 0)
        return data, bool(flags & socket.MSG_TRUNC)

    def shutdown(self, *, read: bool, write: bool) -> None:
        both = socket.SHUT_RDWR if write else socket.SHUT_RD
        self._socket.shutdown(both if read else socket.SHUT_WR)
