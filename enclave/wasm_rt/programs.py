"""The modules of one session: deployed under names, linked by them, and run within limits."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import tinywasm
from schannel.messages import ErrorCode, RunRequest, RunResult
from schannel.receipts import RUN_FUNCTION
from schannel.wire import Buffer
from tinywasm import Module
from tinywasm.interruption import obeying
from tinywasm.raw import Extern, FuncInstance, ModuleInstance, engine_name, instantiate, invoke
from tinywasm.wasi import MODULE as WASI_MODULE
from tinywasm.wasi import MemoryTree, Wasi, WasiConfig, run_command

from . import call_timer
from .configuration import Configuration
from .errors import CommandFailed, RequestError
from .values import Signature

MAX_NAME = 256
"""Longest name of a module, in characters."""

MAX_STDERR = 1 << 20
"""Bytes that a command's standard error output may have."""

_BINARY = b"\0asm"


class Callee(NamedTuple):
    """An exported function, ready to be called."""

    function: FuncInstance
    signature: Signature


@dataclass(slots=True)
class Program:
    """A deployed module; `digest` is SHA-256 of what was sent. `instance` is None until it is first used."""

    module: Module
    digest: bytes
    instance: ModuleInstance | None = None
    callees: dict[str, Callee] = field(default_factory=dict)
    """The functions that were called already."""

    @property
    def is_command(self) -> bool:
        """Whether it is made to be run: each run is an instance of its own."""
        return any(export.name == RUN_FUNCTION for export in self.module.syntax.exports)

    @property
    def uses_wasi(self) -> bool:
        """Whether it imports anything of WASI preview 1."""
        return any(item.module == WASI_MODULE for item in self.module.syntax.imports)


class Programs:
    """The deployed modules, and the limits of what runs.

    A store keeps what was made in it until it goes itself. So each run of a command has a store of its own,
    unless it imports from a deployed module. These have one store together, since any may be imported by the
    next; where one that imports from none of them comes alone, it has a new store.

    Args:
        configuration: the limits.
        tree: what WASI programs see as ``/``.
    """

    def __init__(self, configuration: Configuration, tree: MemoryTree) -> None:
        self._configuration = configuration
        self._tree = tree
        self._engine = tinywasm.Engine(
            tinywasm.Config(
                # Machine code made at run time is no part of what was measured, and its filter forbids it.
                tier="interpreter",
                # Nor is what an earlier process made.
                cache="",
                consume_fuel=True,
                max_call_depth=configuration.max_call_depth,
                max_memory_pages=configuration.max_memory_pages,
                max_table_elements=configuration.max_table_elements,
            )
        )
        self._store = tinywasm.Store(self._engine)
        """Where the instances of deployed modules are."""

        self._programs: dict[str, Program] = {}
        self._running: tinywasm.Store | None = None
        self._litter = False
        """Whether there is, or soon will be, a store that is no longer needed."""

        self.fuel_used = 0
        """Instructions of the latest call or run."""

        self.fuel_left = configuration.max_session_fuel
        """Instructions that the session may still take."""

        self.fuel_is_the_last = False
        """Whether the latest call or run was given all that the session had left."""

        self.interrupted_by = ""
        """Why the latest call or run was interrupted."""

    @property
    def engine(self) -> str:
        """The name of the engine that runs the programs."""
        return engine_name(self._store)

    def names(self) -> tuple[str, ...]:
        """The names of what is deployed, in order."""
        return tuple(self._programs)

    def program(self, name: str) -> Program:
        """What is deployed under a name; RequestError if nothing is."""
        if name not in self._programs:
            raise RequestError(ErrorCode.NOT_DEPLOYED, f"no module {name!r} is deployed")
        return self._programs[name]

    def instance(self, name: str) -> ModuleInstance:
        """The instance of what is deployed under a name."""
        return self.instantiated(self.program(name))

    def deploy(self, name: str, source: Buffer, digest: bytes) -> None:
        """Make a module of `source`, binary or text, and link it with what is deployed already.

        A command is instantiated when it is used. All of it takes no longer than a call may.

        Raises:
            RequestError: the name is not one, or there are too many modules.
            WasmError: the module cannot be instantiated, or not in time.
        """
        if not 0 < len(name) <= MAX_NAME:
            raise RequestError(ErrorCode.BAD_REQUEST, f"a module's name has 1 to {MAX_NAME} characters")
        if name not in self._programs and len(self._programs) >= self._configuration.max_modules:
            raise RequestError(
                ErrorCode.LIMIT_EXCEEDED, f"at most {self._configuration.max_modules} modules can be deployed"
            )
        end = time.monotonic() + self._configuration.max_call_ms / 1000
        with self.in_time():
            program = Program(self._module(source), digest)
        if not program.is_command:
            others = [other for key, other in self._programs.items() if key != name]
            self._make_instance(program, others, max(1, round((end - time.monotonic()) * 1000)))
        # At the end of the names, also where it replaces another.
        replaced = self._programs.pop(name, None)
        self._programs[name] = program
        if replaced is not None and not _has_instance(self._programs.values()):
            self._store = self._new_store()

    def instantiated(self, program: Program) -> ModuleInstance:
        """A program's instance, made within limits when there is none yet."""
        return program.instance or self._make_instance(program, self._programs.values(), 0)

    def _make_instance(self, program: Program, others: Iterable[Program], timeout_ms: int) -> ModuleInstance:
        """Instantiate a program within limits, beside `others`; see `_limited`."""
        store = self._store
        if not self._is_linked(program) and not _has_instance(others):
            store = self._new_store()
        with self._limited(store, 0, timeout_ms):
            instance = program.instance = self._instantiate(store, program)
        self._store = store
        return instance

    def _is_linked(self, program: Program) -> bool:
        """Whether it imports from a deployed module."""
        return any(item.module in self._programs for item in program.module.syntax.imports)

    def _new_store(self) -> tinywasm.Store:
        """A store, which makes one litter: that in whose place it comes, or itself soon."""
        self.free()
        self._litter = True
        return tinywasm.Store(self._engine)

    def free(self) -> None:
        """Give back the memory of programs that have ended or were replaced, once nothing refers to them."""
        if self._litter:
            self._litter = False
            # A store is a cycle of objects.
            gc.collect()

    def call(self, function: FuncInstance, arguments: list[Any], fuel: int, timeout_ms: int) -> list[Any]:
        """Call a function with raw arguments that it takes; WasmError if it traps."""
        granted = self._begin(self._store, fuel, timeout_ms)
        try:
            return invoke(self._store, function, arguments)
        finally:
            self._end(self._store, granted)

    def run(self, request: RunRequest) -> RunResult:
        """Run a command to its end.

        Raises:
            CommandFailed: it cannot be linked, traps or exceeds a limit.
        """
        program = self.program(request.module)
        wasi = self._wasi(request.stdin)
        try:
            wasi.argv = (request.module, *request.arguments)
            wasi.env = request.environment
        except ValueError as error:
            raise RequestError(ErrorCode.BAD_ARGUMENTS, str(error)) from error
        stdout = wasi.capture_stdout(self._configuration.max_message - 2 * MAX_STDERR)
        stderr = wasi.capture_stderr(MAX_STDERR)
        store = self._store if self._is_linked(program) else self._new_store()
        try:
            with self._limited(store, request.fuel, request.timeout_ms):
                exit_code = run_command(program.module, wasi, store=store, imports=self._namespace())
        except RequestError:
            raise
        except Exception as error:
            raise CommandFailed(memoryview(stdout), bytes(stderr)) from error
        return RunResult(exit_code, memoryview(stdout), bytes(stderr))

    def interrupt(self, why: str) -> None:
        """End what is running; for signal handlers."""
        if self._running is not None:
            self.interrupted_by = why
            self._running.interrupt()

    @contextmanager
    def _limited(self, store: tinywasm.Store, fuel: int, timeout_ms: int) -> Iterator[None]:
        """Run with at most so much fuel and time; 0 stands for the configuration's limit.

        Raises:
            RequestError: the session has no fuel left.
        """
        granted = self._begin(store, fuel, timeout_ms)
        try:
            yield
        finally:
            self._end(store, granted)

    def _begin(self, store: tinywasm.Store, fuel: int, timeout_ms: int) -> int:
        """Set fuel and time limit; returns the fuel granted."""
        limits = self._configuration
        if not self.fuel_left:
            raise RequestError(
                ErrorCode.LIMIT_EXCEEDED,
                f"this session has used the {limits.max_session_fuel} instructions that it may",
            )
        granted = limits.max_fuel if not 0 < fuel < limits.max_fuel else fuel
        self.fuel_is_the_last = granted >= self.fuel_left
        if self.fuel_is_the_last:
            granted = self.fuel_left
        store.set_fuel(granted)
        self._start(store, limits.max_call_ms if not 0 < timeout_ms < limits.max_call_ms else timeout_ms)
        return granted

    def _end(self, store: tinywasm.Store, granted: int) -> None:
        self._stop()
        self.fuel_used = granted - store.get_fuel()
        self.fuel_left -= self.fuel_used

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """Have work on a module that is not a call take no longer than a call may; `Interrupted` ends it."""
        self._start(self._store, self._configuration.max_call_ms)
        try:
            with obeying(self._store.poll_time):
                yield
        finally:
            self._stop()

    def _start(self, store: tinywasm.Store, timeout_ms: int) -> None:
        store.clear_interrupt()
        self._running = store
        call_timer.start(self._out_of_time, timeout_ms / 1000)

    def _stop(self) -> None:
        call_timer.stop()
        self._running = None

    def _out_of_time(self) -> None:
        self.interrupt("the time limit was reached")

    def _module(self, source: Buffer) -> Module:
        if source[: len(_BINARY)] == _BINARY:
            # The module refers to the bytes as they came: a large program is not here twice.
            return Module(self._engine, memoryview(source))
        written = str(source, "utf-8")
        if not written.strip():
            # The text format's grammar takes it for an empty module; a person sent the wrong file.
            raise RequestError(ErrorCode.MALFORMED_MODULE, "the program is empty")
        return Module(self._engine, written)

    def _instantiate(self, store: tinywasm.Store, program: Program) -> ModuleInstance:
        if not program.uses_wasi:
            return instantiate(store, program.module, self._namespace())
        # Outside of a run there is nowhere for output to go.
        linked = Wasi(self._wasi(b"")).imports()
        namespace = {**self._namespace(), **linked.namespace}
        return instantiate(store, program.module, namespace, linked.bind)

    def _namespace(self) -> Mapping[str, Mapping[str, Extern]]:
        return {
            name: program.instance.exports
            for name, program in self._programs.items()
            if program.instance is not None
        }

    def _wasi(self, stdin: Buffer) -> WasiConfig:
        wasi = WasiConfig()
        wasi.stdin_bytes = memoryview(stdin)
        wasi.preopen_tree(self._tree, "/")
        return wasi


def _has_instance(programs: Iterable[Program]) -> bool:
    return any(program.instance is not None for program in programs)
