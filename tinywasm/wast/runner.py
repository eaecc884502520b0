"""Executes scripts as the reference interpreter does, and counts what came of each command."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any, NoReturn

from tinywasm.config import Config, Engine
from tinywasm.engine import backend
from tinywasm.errors import (
    DecodeError,
    LinkError,
    ParseError,
    StackExhausted,
    Trap,
    ValidationError,
    WasmError,
    WasmException,
)
from tinywasm.module import Module
from tinywasm.raw import Extern, FuncInstance, ModuleInstance, instantiate, invoke
from tinywasm.runtime.store import Store
from tinywasm.types import RefType, ValType
from tinywasm.wast.commands import (
    Action,
    AssertFails,
    AssertModule,
    AssertReturn,
    Command,
    DefineModule,
    InstantiateModule,
    Invoke,
    ModuleSource,
    Perform,
    Register,
)
from tinywasm.wast.report import Failure, FileReport
from tinywasm.wast.result_patterns import Value, all_match, located
from tinywasm.wast.script import parse_script
from tinywasm.wast.spectest import spectest

# The class of error that each assertion on a module asks for.
_REFUSALS: dict[str, tuple[type[WasmError], ...]] = {
    "assert_malformed": (ParseError, DecodeError),
    "assert_malformed_custom": (ParseError, DecodeError),
    "assert_invalid": (ValidationError,),
    "assert_invalid_custom": (ValidationError,),
    "assert_unlinkable": (LinkError,),
    "assert_trap": (Trap,),
}
_STATIC = ("assert_malformed", "assert_malformed_custom", "assert_invalid", "assert_invalid_custom")
_ENDINGS: dict[str, type[WasmError]] = {
    "assert_trap": Trap,
    "assert_exhaustion": StackExhausted,
    "assert_exception": WasmException,
}


class _Refuted(Exception):
    """A command did something else than the script says."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected = expected
        self.got = got

    def __reduce__(self) -> tuple[type[_Refuted], tuple[str, str]]:
        return type(self), (self.expected, self.got)


class ScriptRunner:
    """The state of one script: its store, its modules and instances by name, and what is registered.

    `output` takes each line that a function of `spectest` prints.
    """

    def __init__(self, engine: Engine, output: Callable[[str], None]) -> None:
        self.engine = engine
        self.store = Store(engine)
        self.registry: dict[str, Mapping[str, Extern]] = {"spectest": spectest(backend(self.store), output)}
        # The name None is the latest one's.
        self.modules: dict[str | None, Module] = {}
        self.instances: dict[str | None, ModuleInstance] = {}

    def run(self, command: Command) -> Failure | None:
        """Execute a command. Returns a message mismatch, if that is all that differs.

        Raises `_Refuted` where the outcome is not the script's, or whatever the command raises.
        """
        body = command.body
        match body:
            case AssertReturn():
                self._assert_return(body)
            case AssertFails():
                self._assert_fails(body)
            case AssertModule():
                return self._assert_module(command.line, body)
            case DefineModule():
                self._define(body)
            case InstantiateModule():
                self._bind(body.name, self._instantiate(body))
            case Register():
                self.registry[body.name] = self._instance(body.instance).exports
            case Perform():
                self._perform(body.action)
            case _:
                raise body.error
        return None

    def _module(self, source: ModuleSource) -> Module:
        return Module.from_decoded(self.engine, source.decode(self.engine.config.features))

    def _define(self, body: DefineModule) -> None:
        name = body.source.name
        module = self._module(body.source)
        self.modules[None] = self.modules[name] = module
        if body.instantiate:
            self._bind(name, instantiate(self.store, module, self.registry))

    def _bind(self, name: str | None, instance: ModuleInstance) -> None:
        self.instances[None] = self.instances[name] = instance

    def _instantiate(self, module: InstantiateModule | ModuleSource) -> ModuleInstance:
        if isinstance(module, ModuleSource):
            return instantiate(self.store, self._module(module), self.registry)
        found = self.modules.get(module.module)
        if found is None:
            raise _Refuted("a module", f"no module ${module.module}" if module.module else "none")
        return instantiate(self.store, found, self.registry)

    def _instance(self, name: str | None) -> ModuleInstance:
        instance = self.instances.get(name)
        if instance is None:
            raise _Refuted("a module instance", f"no instance ${name}" if name else "none")
        return instance

    def _perform(self, action: Action) -> list[Value]:
        export = self._instance(action.instance).exports.get(action.name)
        if isinstance(action, Invoke):
            return self._invoke(export, action)
        if export is None or export.kind != "global":
            raise _Refuted(f'an exported global "{action.name}"', _kind(export))
        glob: Any = export
        return [Value(glob.type.content, glob.value)]

    def _invoke(self, export: Extern | None, action: Invoke) -> list[Value]:
        if not isinstance(export, FuncInstance):
            raise _Refuted(f'an exported function "{action.name}"', _kind(export))
        signature = export.signature
        given = [argument.type for argument in action.arguments]
        if len(given) != len(signature.params) or not all(map(_fits, given, signature.params)):
            raise _Refuted(f"arguments for {signature}", f"arguments [{' '.join(map(str, given))}]")
        results = invoke(self.store, export, [argument.raw for argument in action.arguments])
        return [Value(type, raw) for type, raw in zip(signature.results, results, strict=True)]

    def _assert_return(self, body: AssertReturn) -> None:
        results = self._perform(body.action)
        functions = self._instance(body.action.instance).funcs
        expected = [located(pattern, functions) for pattern in body.expected]
        if not all_match(expected, results):
            raise _Refuted(_listed(body.expected), _listed(results))

    def _assert_fails(self, body: AssertFails) -> None:
        wanted = _ENDINGS[body.head]
        expected = f'{wanted.__name__} "{body.text}"'
        try:
            results = self._perform(body.action)
        except WasmError as error:
            if not isinstance(error, wanted) or not error.message.startswith(body.text):
                _refute(expected, error)
            return
        raise _Refuted(expected, f"results {_listed(results)}")

    def _assert_module(self, line: int, body: AssertModule) -> Failure | None:
        wanted = _REFUSALS[body.head]
        expected = f'{" or ".join(kind.__name__ for kind in wanted)} "{body.text}"'
        try:
            if body.head in _STATIC:
                assert isinstance(body.module, ModuleSource)
                self._module(body.module)
            else:
                self._instantiate(body.module)
        except WasmError as error:
            if not isinstance(error, wanted):
                _refute(expected, error)
            if error.message.startswith(body.text):
                return None
            if body.head not in _STATIC:
                _refute(expected, error)
            return Failure(line, str(body), expected, describe(error))
        raise _Refuted(expected, "no error")


def _fits(given: ValType, wanted: ValType) -> bool:
    return given is wanted or (isinstance(given, RefType) and isinstance(wanted, RefType))


def _listed(items: Iterable[object]) -> str:
    return " ".join(map(str, items)) or "nothing"


def _kind(export: Extern | None) -> str:
    return "no such export" if export is None else f"a {export.kind}"


def _refute(expected: str, error: WasmError) -> NoReturn:
    raise _Refuted(expected, describe(error)) from error


def describe(error: Exception) -> str:
    """The error in a line; one that is none of ours with the place in the code, since it is a bug."""
    if isinstance(error, WasmError):
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"internal error {type(error).__name__}: {error} ({PurePath(place.filename).name}:{place.lineno})"


def run_script(
    text: bytes,
    path: str,
    config: Config,
    output: Callable[[str], None] = lambda line: None,
    timeout: float | None = None,
) -> FileReport:
    """Execute the script `text`; `path` only names it in the report.

    `output` takes what the script prints. After `timeout` seconds, None for no limit, the call under
    way is interrupted, counts as failed, and the commands that follow are skipped.
    Raises nothing: whatever goes wrong is a failed command.
    """
    report = FileReport(path)
    runner = ScriptRunner(Engine(config), output)
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        runner.store.interrupt()

    timer = threading.Timer(timeout, expire) if timeout else None
    start = time.perf_counter()
    if timer:
        timer.start()
    try:
        for command in parse_script(text):
            report.commands += 1
            report.assertions += command.is_assertion
            if expired.is_set():
                report.skipped += 1
                report.skip_reason = f"time limit of {timeout:g} seconds"
            else:
                _run_counted(runner, command, report)
    finally:
        if timer:
            timer.cancel()
    report.seconds = time.perf_counter() - start
    return report


def _run_counted(runner: ScriptRunner, command: Command, report: FileReport) -> None:
    try:
        mismatch = runner.run(command)
    except _Refuted as refuted:
        failure = Failure(command.line, str(command.body), refuted.expected, refuted.got)
    except Exception as error:  # a bug of ours is a failed command too, and the others shall run
        expected = "the assertion to hold" if command.is_assertion else "success"
        failure = Failure(command.line, str(command.body), expected, describe(error))
    else:
        report.passed += 1
        if mismatch:
            report.mismatches.append(mismatch)
        return
    report.failed += 1
    report.failures.append(failure)


def count_commands(text: bytes, path: str, reason: str) -> FileReport:
    """The report of a script that is not run because of `reason`: every command skipped."""
    report = FileReport(path, skip_reason=reason)
    for command in parse_script(text):
        report.commands += 1
        report.assertions += command.is_assertion
        report.skipped += 1
    return report
