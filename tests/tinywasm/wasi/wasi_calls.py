"""Calls to the functions of preview 1 one by one, from a module that does nothing else."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tinywasm import Config, Engine, Module
from tinywasm.instantiation import instantiate, invoke
from tinywasm.runtime.store import Store
from tinywasm.types import I32
from tinywasm.wasi import MemoryTree, Wasi, WasiConfig
from tinywasm.wasi.abi import FILESTAT, MODULE, FdFlags, FileType, OFlags, Rights
from tinywasm.wasi.registry import FUNCTIONS

ALL_RIGHTS = (1 << 30) - 1
PAGES = 2
ROOT = 3
"""The descriptor of the first preopened directory."""

# Places in the guest's memory.
PATH, OTHER_PATH, IOVEC, RESULT, BUFFER = 0, 8192, 16384, 20480, 32768


def module_text() -> str:
    """A module with an exported function for each import; a host reaches WASI only through a guest."""
    imports, functions = [], []
    for name, entry in FUNCTIONS.items():
        params = "".join(f" (param {type})" for type in entry.type.params)
        results = "".join(f" (result {type})" for type in entry.type.results)
        imports.append(f'(import "{MODULE}" "{name}" (func ${name}{params}{results}))')
        arguments = "".join(f" local.get {index}" for index in range(len(entry.type.params)))
        functions.append(f'(func (export "{name}"){params}{results}{arguments} call ${name})')
    return f'(module {" ".join(imports)} (memory (export "memory") {PAGES}) {" ".join(functions)})'


@cache
def _module(engine: str) -> Module:
    return Module(Engine(Config(engine=engine)), module_text())


@cache
def _wasmtime_module() -> tuple[Any, Any]:
    """The engine and the module: compiling it takes longer than most tests."""
    import wasmtime

    engine = wasmtime.Engine()
    return engine, wasmtime.Module(engine, module_text())


@dataclass(frozen=True)
class Stat:
    inode: int
    filetype: FileType
    links: int
    size: int
    accessed: int
    modified: int


class Calls:
    """A guest, driven from outside. Each method returns the error number, or it and the results."""

    def raw(self, name: str, *args: int) -> Any:
        """Call a function with unsigned values."""
        raise NotImplementedError

    def peek(self, address: int, size: int) -> bytes:
        raise NotImplementedError

    def poke(self, address: int, data: bytes) -> None:
        raise NotImplementedError

    def u32(self, address: int = RESULT) -> int:
        return int.from_bytes(self.peek(address, 4), "little")

    def u64(self, address: int = RESULT) -> int:
        return int.from_bytes(self.peek(address, 8), "little")

    def path(self, path: str | bytes, place: int = PATH) -> tuple[int, int]:
        data = path.encode() if isinstance(path, str) else path
        self.poke(place, data[:8000])
        return place, len(data)

    def iovecs(self, sizes: Sequence[int]) -> tuple[int, int]:
        """Buffers of these sizes, one after the other."""
        address = BUFFER
        for index, size in enumerate(sizes):
            self.poke(IOVEC + index * 8, struct.pack("<II", address, size))
            address += size
        return IOVEC, len(sizes)

    def open(
        self,
        path: str | bytes,
        oflags: int = 0,
        *,
        fd: int = ROOT,
        rights: int = ALL_RIGHTS & ~Rights.FD_WRITE & ~Rights.FD_ALLOCATE & ~Rights.FD_FILESTAT_SET_SIZE,
        inheriting: int = ALL_RIGHTS,
        fdflags: int = 0,
        follow: bool = True,
    ) -> tuple[int, int]:
        where = self.path(path)
        errno = self.raw("path_open", fd, int(follow), *where, oflags, rights, inheriting, fdflags, RESULT)
        return errno, self.u32()

    def create(self, path: str, data: bytes = b"", *, fd: int = ROOT, fdflags: int = 0) -> int:
        """Make a file, open to read and write; its descriptor."""
        errno, opened = self.open(path, OFlags.CREAT, fd=fd, rights=ALL_RIGHTS, fdflags=fdflags)
        assert errno == 0, errno
        if data:
            assert self.write(opened, data) == (0, len(data))
            if not fdflags & FdFlags.APPEND:
                assert self.seek(opened, 0)[0] == 0
        return opened

    def read(self, fd: int, *sizes: int) -> tuple[int, bytes]:
        errno = self.raw("fd_read", fd, *self.iovecs(sizes), RESULT)
        return errno, self.peek(BUFFER, self.u32()) if errno == 0 else b""

    def pread(self, fd: int, offset: int, *sizes: int) -> tuple[int, bytes]:
        errno = self.raw("fd_pread", fd, *self.iovecs(sizes), offset, RESULT)
        return errno, self.peek(BUFFER, self.u32()) if errno == 0 else b""

    def write(self, fd: int, *parts: bytes) -> tuple[int, int]:
        self.poke(BUFFER, b"".join(parts))
        errno = self.raw("fd_write", fd, *self.iovecs([len(part) for part in parts]), RESULT)
        return errno, self.u32() if errno == 0 else 0

    def pwrite(self, fd: int, offset: int, *parts: bytes) -> tuple[int, int]:
        self.poke(BUFFER, b"".join(parts))
        errno = self.raw("fd_pwrite", fd, *self.iovecs([len(part) for part in parts]), offset, RESULT)
        return errno, self.u32() if errno == 0 else 0

    def seek(self, fd: int, offset: int, whence: int = 0) -> tuple[int, int]:
        errno = self.raw("fd_seek", fd, offset & (1 << 64) - 1, whence, RESULT)
        return errno, self.u64() if errno == 0 else 0

    def tell(self, fd: int) -> tuple[int, int]:
        errno = self.raw("fd_tell", fd, RESULT)
        return errno, self.u64() if errno == 0 else 0

    def _stat(self, errno: int) -> tuple[int, Stat]:
        if errno:
            return errno, Stat(0, FileType.UNKNOWN, 0, 0, 0, 0)
        _, inode, filetype, links, size, accessed, modified, _ = FILESTAT.fields.unpack(self.peek(RESULT, 64))
        return errno, Stat(inode, FileType(filetype), links, size, accessed, modified)

    def fd_stat(self, fd: int) -> tuple[int, Stat]:
        return self._stat(self.raw("fd_filestat_get", fd, RESULT))

    def stat(self, path: str | bytes, *, fd: int = ROOT, follow: bool = True) -> tuple[int, Stat]:
        return self._stat(self.raw("path_filestat_get", fd, int(follow), *self.path(path), RESULT))

    def mkdir(self, path: str | bytes, *, fd: int = ROOT) -> int:
        return int(self.raw("path_create_directory", fd, *self.path(path)))

    def rmdir(self, path: str | bytes, *, fd: int = ROOT) -> int:
        return int(self.raw("path_remove_directory", fd, *self.path(path)))

    def unlink(self, path: str | bytes, *, fd: int = ROOT) -> int:
        return int(self.raw("path_unlink_file", fd, *self.path(path)))

    def symlink(self, target: str | bytes, path: str | bytes, *, fd: int = ROOT) -> int:
        old = self.path(target, OTHER_PATH)
        return int(self.raw("path_symlink", *old, fd, *self.path(path)))

    def readlink(self, path: str | bytes, room: int = 4096, *, fd: int = ROOT) -> tuple[int, bytes]:
        errno = self.raw("path_readlink", fd, *self.path(path), BUFFER, room, RESULT)
        return errno, self.peek(BUFFER, self.u32()) if errno == 0 else b""

    def rename(self, old: str, new: str, *, fd: int = ROOT, new_fd: int = ROOT) -> int:
        source, target = self.path(old, OTHER_PATH), self.path(new)
        return int(self.raw("path_rename", fd, *source, new_fd, *target))

    def link(self, old: str, new: str, *, fd: int = ROOT, new_fd: int = ROOT, follow: bool = False) -> int:
        source, target = self.path(old, OTHER_PATH), self.path(new)
        return int(self.raw("path_link", fd, int(follow), *source, new_fd, *target))

    def readdir(self, fd: int, room: int = 4096, cookie: int = 0) -> tuple[int, bytes]:
        errno = self.raw("fd_readdir", fd, BUFFER, room, cookie, RESULT)
        return errno, self.peek(BUFFER, self.u32()) if errno == 0 else b""

    def names(self, fd: int = ROOT) -> dict[str, FileType]:
        errno, data = self.readdir(fd, 32768)
        assert errno == 0
        found = {}
        while data:
            _, _, size, filetype = struct.unpack_from("<QQIB", data)
            found[data[24 : 24 + size].decode()] = FileType(filetype)
            data = data[24 + size :]
        return found

    def fdstat(self, fd: int) -> tuple[int, tuple[int, int, int, int]]:
        errno = self.raw("fd_fdstat_get", fd, RESULT)
        filetype, flags, rights, inheriting = struct.unpack("<BxH4xQQ", self.peek(RESULT, 24))
        return errno, (filetype, flags, rights, inheriting)


class TinywasmCalls(Calls):
    """A guest of ours."""

    def __init__(self, config: WasiConfig, engine: str = "python") -> None:
        module = _module(engine)
        self.store = Store(module.engine)
        self.wasi = Wasi(config)
        imports = self.wasi.imports()
        self.instance = instantiate(self.store, module, imports.namespace, imports.bind)
        self.memory: Any = self.instance.exports["memory"]

    def raw(self, name: str, *args: int) -> Any:
        function: Any = self.instance.exports[name]
        results = invoke(self.store, function, args)
        return results[0] if results else None

    def peek(self, address: int, size: int) -> bytes:
        return bytes(self.memory.data[address : address + size])

    def poke(self, address: int, data: bytes) -> None:
        self.memory.data[address : address + len(data)] = data


class WasmtimeCalls(Calls):
    """The same guest under wasmtime."""

    def __init__(self, directory: Path) -> None:
        import wasmtime

        module = _wasmtime_module()
        self.store: Any = wasmtime.Store(module[0])
        config = wasmtime.WasiConfig()
        config.preopen_dir(str(directory), "/")
        self.store.set_wasi(config)
        linker = wasmtime.Linker(module[0])
        linker.define_wasi()
        exports = linker.instantiate(self.store, module[1]).exports(self.store)
        self.exports: Any = exports
        self.memory: Any = exports["memory"]

    def raw(self, name: str, *args: int) -> Any:
        bits = [32 if type is I32 else 64 for type in FUNCTIONS[name].type.params]
        signed = [value - (value >> size - 1 << size) for value, size in zip(args, bits, strict=True)]
        return self.exports[name](self.store, *signed)

    def peek(self, address: int, size: int) -> bytes:
        return bytes(self.memory.read(self.store, address, address + size))

    def poke(self, address: int, data: bytes) -> None:
        self.memory.write(self.store, data, address)


@dataclass
class World:
    """Makes guests whose first preopened directory is empty, on the disk or in memory."""

    kind: str
    engine: str
    path: Path

    def preopen(self, config: WasiConfig, name: str = "/", *, fs_mutable: bool = True) -> None:
        if self.kind == "directory":
            place = self.path / f"preopen{len(config.preopens)}"
            place.mkdir()
            config.preopen_dir(place, name, fs_mutable)
        else:
            config.preopen_tree(MemoryTree(limit=1 << 20), name, fs_mutable)

    def guest(self, config: WasiConfig | None = None) -> TinywasmCalls:
        if config is None:
            config = WasiConfig()
            config.argv, config.env = ["program"], {"NAME": "value"}
            self.preopen(config)
        return TinywasmCalls(config, self.engine)
