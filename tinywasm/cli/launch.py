"""From a file and options to an instance, for the commands that run code."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tinywasm import Engine, Interrupted, LinkError, Module, Store, Trap, WasmError
from tinywasm.artifact import SUFFIX
from tinywasm.cli.options import InFile, add_engine, add_features, configuration, refusals_of, size
from tinywasm.interruption import obeying
from tinywasm.raw import Extern, FuncInstance, ModuleInstance, Profile, instantiate
from tinywasm.wasi import MODULE, Wasi, WasiConfig

# When a time limit strikes again, harder, and again: an exception in a finaliser is swallowed.
_AGAIN = 0.5


def add_instance_options(parser: argparse.ArgumentParser) -> None:
    """The options that `Launch` reads."""
    parser.add_argument(
        "--dir",
        action="append",
        default=[],
        metavar="HOST[::GUEST]",
        help="give the program the directory HOST, named GUEST to it; may be repeated",
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="give the program an environment variable, by itself the one of this process; may be repeated",
    )
    parser.add_argument(
        "--max-memory",
        type=size,
        metavar="SIZE",
        help="the most that memories, tables and objects may take together, such as 64M",
    )
    add_engine(parser)
    add_features(parser)


class Launch:
    """A module's instance and what it was given. Usable in a `with` statement, which closes its files."""

    def __init__(
        self,
        options: argparse.Namespace,
        path: Path,
        arguments: Sequence[str] = (),
        *,
        limit: TimeLimit | None = None,
        fuel: int | None = None,
        profile: Profile | None = None,
    ) -> None:
        """Load, link and instantiate the module at `path`; `arguments` follow the program's name.

        Raises `ValueError`, `OSError`, or what instantiation raises.
        """
        config = configuration(options)
        # Lines are read at a trap only.
        config.debug_info = True
        config.consume_fuel = fuel is not None
        self.store = Store(Engine(config))
        if options.max_memory is not None:
            self.store.set_limits(total_memory=options.max_memory)
        self.store.profile = profile
        if fuel is not None:
            self.store.set_fuel(fuel)
        if limit is not None:
            limit.store = self.store
        self._resources = ExitStack()
        try:
            with refusals_of(path):
                with obeying(self.store.poll_time):
                    self.module = _read(self.store.engine, path)
                self.instance = self._instantiate(options, [path.name, *arguments])
        except BaseException:
            self._resources.close()
            raise

    def _instantiate(self, options: argparse.Namespace, argv: Sequence[str]) -> ModuleInstance:
        for imp in self.module.syntax.imports:
            if imp.module != MODULE:
                only = f"only WASI's functions ({MODULE}) can be imported here"
                raise LinkError(f'unknown import: "{imp.module}" "{imp.name}"; {only}')
        if all(imp.module != MODULE for imp in self.module.syntax.imports):
            _note_unused(options)
            return instantiate(self.store, self.module, {})
        linked = self._resources.enter_context(Wasi(_wasi(options, argv))).imports()
        return instantiate(self.store, self.module, linked.namespace, linked.bind)

    def __enter__(self) -> Launch:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the program's files."""
        self._resources.close()

    def functions(self) -> dict[str, FuncInstance]:
        """The exported functions."""
        exports: dict[str, Extern] = self.instance.exports
        return {name: value for name, value in exports.items() if isinstance(value, FuncInstance)}


def _read(engine: Engine, path: Path) -> Module:
    """The module in a file. Only the name, which is in the user's hands, makes machine code run."""
    if path.suffix != SUFFIX:
        return Module.from_file(engine, path)
    try:
        return Module.deserialize_file(engine, path, trusted=True)
    except Trap:
        raise
    except WasmError as error:
        raise InFile(path, error) from error


def _note_unused(options: argparse.Namespace) -> None:
    unused = [name for name, given in (("--dir", options.dir), ("--env", options.env)) if given]
    if unused:
        note = f"the module imports nothing of WASI and sees nothing of {' and '.join(unused)}"
        print(f"tinywasm: note: {note}", file=sys.stderr)


def _wasi(options: argparse.Namespace, argv: Sequence[str]) -> WasiConfig:
    config = WasiConfig()
    config.argv = list(argv)
    config.env = [_variable(text) for text in options.env]
    config.inherit_stdin()
    config.inherit_stdout()
    config.inherit_stderr()
    for text in options.dir:
        host, separator, guest = text.partition("::")
        config.preopen_dir(host, guest if separator else host)
    return config


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if equals:
        return name, value
    if name not in os.environ:
        raise ValueError(
            f"--env {name}: this process has no such variable; give it a value with {name}=VALUE"
        )
    return name, os.environ[name]


class TimeLimit:
    """Interrupts what runs within a `with` statement once `seconds` have passed; None is no limit.

    `store` is the one that runs, as soon as there is one. Its deadline would not do: that is seen between
    instructions and while WASI waits, and not where the module itself comes from a pipe. Raises `ValueError`
    outside of the main thread, and on a system without interval timers.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._expired = False
        self.store: Store | None = None

    def __enter__(self) -> TimeLimit:
        if self._seconds is not None:
            main = threading.current_thread() is threading.main_thread()
            if not main or not hasattr(signal, "setitimer"):
                raise ValueError("--timeout needs the main thread of a POSIX process")
            self._before = signal.signal(signal.SIGALRM, self._expire)
            signal.setitimer(signal.ITIMER_REAL, self._seconds, _AGAIN)
        return self

    def _expire(self, *_: object) -> None:
        first, self._expired = not self._expired, True
        if first and self.store is not None:
            # At the next call or jump, with a backtrace.
            self.store.interrupt()
        else:
            # A host function waits, or there is no store yet.
            raise Interrupted

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._seconds is None:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)
        if self._expired and isinstance(error, Interrupted):
            error.message += f": the time limit of {self._seconds:g} seconds is over"
