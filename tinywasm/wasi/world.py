"""A program's world, made from its configuration, and its functions for the linker."""

from __future__ import annotations

from types import TracebackType

from tinywasm.runtime.func import FuncInstance, host_function
from tinywasm.runtime.module_instance import ModuleInstance
from tinywasm.wasi import descriptors, path_calls, poll, process, sockets
from tinywasm.wasi.abi import (
    DIRECTORY_RIGHTS,
    FILE_RIGHTS,
    MODULE,
    READ_ONLY_DIRECTORY_RIGHTS,
    READ_ONLY_FILE_RIGHTS,
    SOCKET_RIGHTS,
    Rights,
)
from tinywasm.wasi.files import File
from tinywasm.wasi.guest import Descriptor, DescriptorTable, Guest, applicable
from tinywasm.wasi.registry import FUNCTIONS
from tinywasm.wasi.wasi_config import Preopen, WasiConfig

# Importing these filled the table of functions.
_AREAS = (process, descriptors, path_calls, poll, sockets)

# What may be done with a standard stream; its flags are shared with the process that started us.
_STANDARD = (
    Rights.FD_SEEK
    | Rights.FD_TELL
    | Rights.FD_ADVISE
    | Rights.FD_SYNC
    | Rights.FD_DATASYNC
    | Rights.FD_FILESTAT_GET
    | Rights.POLL_FD_READWRITE
)


class WasiImports:
    """The functions of preview 1 for one instance.

    Link `namespace` and instantiate with `bind` as `before_start`: the functions work on its memory.
    """

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self.functions: dict[str, FuncInstance] = {
            name: host_function(entry.type, entry.host(guest)) for name, entry in FUNCTIONS.items()
        }

    @property
    def namespace(self) -> dict[str, dict[str, FuncInstance]]:
        """The functions under the module name that programs import them from."""
        return {MODULE: self.functions}

    def bind(self, instance: ModuleInstance) -> None:
        """Make the functions work on the memory that `instance` exports as `memory`."""
        exported = instance.exports.get("memory")
        self._guest.bind(instance.store, exported if exported and exported.kind == "memory" else None)


class Wasi:
    """Arguments, environment and open descriptors of a program.

    Usable in a `with` statement, which closes the descriptors. Raises `OSError` where a file or
    directory of the configuration can no longer be opened.
    """

    def __init__(self, config: WasiConfig) -> None:
        self._arguments = config.raw_argv
        self._environment = config.raw_env
        self._table = DescriptorTable()
        directions = (Rights.FD_READ, Rights.FD_WRITE, Rights.FD_WRITE)
        for stream, direction in zip(config.standard_streams(), directions, strict=True):
            self._add(stream, _STANDARD | direction)
        for preopen in config.preopens:
            self._preopen(preopen)
        for open_socket in config.sockets:
            self._add(open_socket(), SOCKET_RIGHTS)

    def _add(self, file: File, rights: Rights) -> None:
        # Only connections that a listening socket accepts inherit from a file.
        self._table.add(Descriptor(file, rights & applicable(file), rights & SOCKET_RIGHTS))

    def _preopen(self, preopen: Preopen) -> None:
        directory_rights, file_rights = READ_ONLY_DIRECTORY_RIGHTS, READ_ONLY_FILE_RIGHTS
        if preopen.fs_mutable:
            directory_rights, file_rights = DIRECTORY_RIGHTS, FILE_RIGHTS
        inheriting = directory_rights | file_rights
        self._table.add(Descriptor(preopen.open(), directory_rights, inheriting, preopen.guest_path))

    def imports(self) -> WasiImports:
        """The functions for one instance; several instances share the descriptors."""
        return WasiImports(Guest(self._arguments, self._environment, self._table))

    def close(self) -> None:
        """Close every descriptor."""
        self._table.close()

    def __enter__(self) -> Wasi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
