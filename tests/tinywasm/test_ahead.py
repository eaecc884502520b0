"""Machine code that was made ahead of time: runs where nothing can be compiled, and nowhere by mistake."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from mmap import mmap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.catalogue import KERNELS, Kernel
from tests.engines import needs_llvm
from tests.tinywasm.outcomes import outcome
from tests.tinywasm.test_cli import ENVIRONMENT
from tests.tinywasm.test_compiled import MIXED
from tinywasm import (
    Config,
    Engine,
    Func,
    FuncType,
    Instance,
    Module,
    OutOfFuel,
    Store,
    ValType,
    WasmError,
)
from tinywasm.engine import backend

pytestmark = needs_llvm

# The second has too many values.
SMALL = f"""
(module
  (func $fib (export "fib") (param i32) (result i32)
    (if (result i32) (i32.lt_s (local.get 0) (i32.const 2))
      (then (local.get 0))
      (else (i32.add
        (call $fib (i32.sub (local.get 0) (i32.const 1)))
        (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
  (func (export "last") (param {"i32 " * 65}) (result i32) (local.get 64)))
"""
COMPILED = "compiled 1 function to "


def engine_of(**options: Any) -> Engine:
    return Engine(Config(engine="native", **options))


@cache
def compiled() -> bytes:
    return Module(engine_of(), SMALL).compile()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.twasm"
    path.write_bytes(compiled())
    return path


def loaded(encoded: bytes, imports: list[Any] | None = None, **options: Any) -> tuple[Store, Any]:
    """A store with an instance, and its exports as callables."""
    engine = engine_of(**options)
    store = Store(engine)
    made = Instance(store, Module.deserialize(engine, encoded, trusted=True), imports or []).exports(store)
    return store, {name: partial(made[name], store) for name in made if isinstance(made[name], Func)}


def python(program: str, *words: str) -> str:
    """What a program prints where llvmlite is not installed."""
    hidden = f"import sys; sys.modules['llvmlite'] = None\n{program}"
    done = subprocess.run(
        [sys.executable, "-c", hidden, *words], capture_output=True, text=True, env=ENVIRONMENT, timeout=60
    )
    assert not done.stderr
    return done.stdout


@pytest.mark.parametrize("tier", ["interpreter", "auto", "compiled"])
@pytest.mark.parametrize(
    "how", ["deserialize(e, open(sys.argv[1], 'rb').read()", "deserialize_file(e, sys.argv[1]"]
)
def test_it_runs_where_nothing_can_be_compiled(file: Path, tier: str, how: str) -> None:
    program = (
        "from tinywasm import *\nfrom tinywasm.engine import backend\n"
        f"e = Engine(Config(engine='native', tier='{tier}')); s = Store(e)\n"
        f"x = Instance(s, Module.{how}, trusted=True), []).exports(s)\n"
        "print(x['fib'](s, 10), x['last'](s, *range(65)))\n"
        "print(*backend(s).statistics(), sep='\\n')"
    )
    results, first, second = python(program, str(file)).splitlines()
    assert results == "55 64"
    assert first.startswith(COMPILED) and first.endswith(" bytes of machine code ahead of time")
    assert second == "interpreted 1 function: many values (1)"


def test_without_it_nothing_is_compiled_there(tmp_path: Path) -> None:
    """Neither is it where the code pays with fuel and the store does not, or the other way round."""
    path = tmp_path / "other.twasm"
    path.write_bytes(Module(engine_of(consume_fuel=True), SMALL).compile())
    program = (
        "from tinywasm import *\n"
        "e = Engine(Config(engine='native', tier='compiled'))\n"
        "try: Instance(Store(e), Module.deserialize_file(e, sys.argv[1], trusted=True), [])\n"
        "except ValueError as error: print(error)"
    )
    assert 'pip install "tinywasm[llvm]"' in python(program, str(path))
    store, exports = loaded(path.read_bytes())
    assert exports["fib"](10) == 55
    assert backend(store).statistics() == [
        "nothing was compiled: what was compiled ahead of time is for stores with fuel"
    ]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_kernels_give_their_results(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where each function is compiled by itself, and all are linked."""
    monkeypatch.setattr("tinywasm.engine.llvm.machine.UNIT_RECORDS", 0)
    encoded = Module(engine_of(), kernel.wasm.read_bytes()).compile()
    assert loaded(encoded)[1]["run"](kernel.tiny) & 0xFFFFFFFF == kernel.expected


@pytest.mark.parametrize("records", [0, 20_000])
@pytest.mark.parametrize("fuel", [None, 100_000])
def test_what_ends_calls_is_the_same(records: int, fuel: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinywasm.engine.llvm.machine.UNIT_RECORDS", records)
    module = Module(engine_of(consume_fuel=fuel is not None), MIXED)
    found = []
    for encoded in (module.compile(), module.serialize()):
        engine = engine_of(consume_fuel=fuel is not None, max_call_depth=40)
        store = Store(engine)
        if fuel is not None:
            store.set_fuel(fuel)
        host = Func(store, FuncType([ValType.i32()], [ValType.i32()]), lambda number: number)
        exports = Instance(store, Module.deserialize(engine, encoded, trusted=True), [host]).exports(store)
        calls: list[Callable[[], Any]] = [
            partial(exports[name], store, what, depth)
            for name in ("a", "b", "c", "catch")
            for what in range(9)
            for depth in (0, 3, 11, 38, 39, 40, 41)
        ]
        found.append(([outcome(each) for each in calls], fuel and store.get_fuel()))
    assert found[0] == found[1]


def test_fuel_is_paid() -> None:
    encoded = Module(engine_of(consume_fuel=True), SMALL).compile()
    store, exports = loaded(encoded, consume_fuel=True)
    store.set_fuel(100)
    with pytest.raises(OutOfFuel):
        exports["fib"](20)
    assert backend(store).statistics()[0].startswith(COMPILED)


@pytest.mark.parametrize(
    "body",
    [
        "(local " + "i32 " * 1_001 + ")",
        "(local.get 0)" * 501 + "(i32.add)" * 500 + "(local.set 0)",
        "(local.set 0 (i32.add (local.get 0) (local.get 0)))" * 10_000,
    ],
    ids=["locals", "operands", "instructions"],
)
def test_larger_functions_are_compiled_than_those_that_programs_wait_for(body: str) -> None:
    text = f'(module (func (export "f") (param i32) (result i32) {body} (local.get 0)))'
    module = Module(engine_of(), text)
    store, exports = loaded(module.compile())
    assert exports["f"](1) == loaded(module.serialize())[1]["f"](1)
    assert [line[: len(COMPILED)] for line in backend(store).statistics()] == [COMPILED]


def test_a_profile_counts_as_without() -> None:
    from tinywasm.raw import Profile

    engine = engine_of()
    store = Store(engine)
    store.profile = profile = Profile()
    exports = Instance(store, Module.deserialize(engine, compiled(), trusted=True), []).exports(store)
    assert exports["fib"](store, 5) == 5
    assert [record.calls for record in profile.records()] == [15]


# Processors


@pytest.mark.parametrize("cpu", ["host", "x86-64", "x86-64-v2"])
def test_code_for_a_processor(cpu: str) -> None:
    """Rounding takes SSE 4.1: where that may be missing, the loop does it."""
    text = '(module (func (export "f") (param f64) (result f64) (f64.nearest (local.get 0))))'
    store, exports = loaded(Module(engine_of(), text).compile(cpu))
    assert exports["f"](2.5) == 2.0
    declined = ["interpreted 1 function: f64.nearest without SSE 4.1 (1)"]
    assert backend(store).statistics()[1:] == (declined if cpu == "x86-64" else [])


def test_an_unknown_processor() -> None:
    with pytest.raises(ValueError, match='unknown processor "z80": use "host", "x86-64", '):
        Module(engine_of(), SMALL).compile("z80")


def test_features_that_are_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinywasm.engine.native import processor

    assert set(processor.wanted("x86-64-v3")) - set(processor.wanted("x86-64-v2")) > {"avx2", "bmi2"}
    encoded = Module(engine_of(), SMALL).compile("x86-64-v2")
    monkeypatch.setattr(processor, "here", lambda: ("cx16", "sahf", "popcnt", "sse3", "ssse3"))
    with pytest.raises(WasmError, match=r"for a processor with sse4\.1, sse4\.2, which this one lacks"):
        loaded(encoded)
    monkeypatch.setattr("tinywasm.engine.native.ahead._is_x86", lambda: False)
    with pytest.raises(WasmError, match="for x86-64, and this processor is another one"):
        loaded(compiled())


# Trust


def test_it_is_refused_unless_it_is_trusted(file: Path) -> None:
    for refused in (
        partial(Module.deserialize, engine_of(), compiled()),
        partial(Module.deserialize_file, engine_of(), file),
        partial(Module.deserialize, Engine(Config(engine="python")), compiled()),
    ):
        with pytest.raises(WasmError, match="has machine code, which nothing verifies: give trusted=True"):
            refused()


def test_what_has_none_may_be_trusted(tmp_path: Path) -> None:
    path = tmp_path / "module"
    path.write_bytes(Module(engine_of(), SMALL).serialize())
    store = Store(engine_of())
    module = Module.deserialize_file(store.engine, path, trusted=True)
    assert Instance(store, module, []).exports(store)["fib"](store, 10) == 55


def test_code_of_another_build_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = compiled()
    monkeypatch.setattr("tinywasm.engine.native.ahead.maker", lambda: "another")
    with pytest.raises(WasmError, match="of another build of tinywasm: compile the module again"):
        loaded(encoded)


def test_another_engine_leaves_it_alone() -> None:
    engine = Engine(Config(engine="python"))
    store = Store(engine)
    exports = Instance(store, Module.deserialize(engine, compiled(), trusted=True), []).exports(store)
    assert exports["fib"](store, 10) == 55


def test_damage_is_seen(tmp_path: Path) -> None:
    encoded = compiled()
    path = tmp_path / "damaged.twasm"
    for at in range(len(encoded)):
        damaged = bytearray(encoded)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(WasmError):
            Module.deserialize(engine_of(), damaged, trusted=True)
    for length in range(0, len(encoded), 99):
        path.write_bytes(encoded[:length])
        with pytest.raises(WasmError):
            Module.deserialize_file(engine_of(), path, trusted=True)


def test_a_file_that_cannot_be_mapped_to_run(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mapped(*arguments: Any, **options: Any) -> Any:
        if "prot" in options:
            raise PermissionError("no program runs from here")
        return real(*arguments, **options)

    real = mmap
    monkeypatch.setattr("mmap.mmap", mapped)
    store = Store(engine_of())
    module = Module.deserialize_file(store.engine, file, trusted=True)
    assert Instance(store, module, []).exports(store)["fib"](store, 10) == 55


def test_the_python_engine_makes_none() -> None:
    with pytest.raises(ValueError, match="the python engine makes no machine code"):
        Module(Engine(Config(engine="python")), SMALL).compile()


def test_the_file_may_be_replaced_while_it_runs(file: Path) -> None:
    store = Store(engine_of())
    exports = Instance(store, Module.deserialize_file(store.engine, file, trusted=True), []).exports(store)
    replacement = file.with_suffix(".new")
    replacement.write_bytes(b"another")
    replacement.replace(file)
    assert exports["fib"](store, 10) == 55


# In several processes


def test_several_processes_make_the_same(tmp_path: Path) -> None:
    functions = "".join(
        f"(func $f{number} (param i32) (result i32) (call $f{number + 1} (i32.const {number})))"
        for number in range(12)
    )
    path = tmp_path / "chain.wat"
    path.write_text(f"(module {functions} (func $f12 (param i32) (result i32) (local.get 0)))")
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom tinywasm import *\nfrom tinywasm.engine.llvm import machine\n"
        "if __name__ == '__main__':\n"
        "    machine.UNIT_RECORDS = 1\n"
        "    module = Module(Engine(Config(engine='native')), open(sys.argv[1]).read())\n"
        "    made = [module.compile(processes=count) for count in (1, 2)]\n"
        "    print(made[0] == made[1])\n"
    )
    done = subprocess.run(
        [sys.executable, str(program), str(path)],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=120,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_process_that_is_ended() -> None:
    from tinywasm.engine.llvm.parallel import in_processes

    # LLVM takes this for a reason to abort.
    fatal = 'define void @f() { call void asm sideeffect "nonsense", ""() ret void }'
    job = fatal, "x86-64", "+sse2", 0
    with pytest.raises(ChildProcessError, match="a process in which LLVM worked was ended"):
        list(in_processes(2, iter([job] * 3)))


def test_interrupted_the_processes_of_llvm_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinywasm.engine.llvm import parallel

    def jobs() -> Iterator[Any]:
        yield from [(3600,)] * 4
        raise KeyboardInterrupt

    monkeypatch.setattr(parallel, "codegen", SimpleNamespace(object_code=time.sleep))
    before = multiprocessing.active_children()
    with pytest.raises(KeyboardInterrupt):
        list(parallel.in_processes(2, jobs()))
    assert multiprocessing.active_children() == before


def test_compiling_takes_llvmlite() -> None:
    program = (
        "from tinywasm import *\n"
        "m = Module(Engine(Config(engine='native')), '(module (func))')\n"
        "for count in (1, 2):\n"
        "    try: m.compile(processes=count)\n"
        "    except ValueError as error: print(error)"
    )
    first, second = python(program).splitlines()
    assert first == second and first.endswith('pip install ".[llvm]"')


def test_no_process() -> None:
    with pytest.raises(ValueError, match="processes must be at least 1"):
        Module(engine_of(), SMALL).compile(processes=0)


# The command


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tinywasm", *map(str, words)],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=60,
    )  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.wat"
    path.write_text(SMALL)
    return path


def test_compile_and_run(small: Path) -> None:
    assert command("compile", small).returncode == 0
    file = small.with_suffix(".twasm")
    done = command("run", "--stats", file, "--invoke", "fib", "10")
    assert done.stdout == "55\n"
    assert done.stderr.startswith(COMPILED)
    again = file.with_name("again.twasm")
    assert command("compile", "--cpu", "x86-64", small, "-o", again).returncode == 0
    assert command("run", again, "--invoke", "fib", "10").stdout == "55\n"
    assert sorted(path.name for path in small.parent.iterdir()) == ["again.twasm", "small.twasm", "small.wat"]


def test_only_the_name_makes_it_run(file: Path) -> None:
    disguised = file.rename(file.with_suffix(".wasm"))
    done = command("run", disguised, "--invoke", "fib", "10")
    assert done.returncode == 1 and not done.stdout
    assert f"{disguised}: this is a serialized module: `tinywasm run` takes it " in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cpu", "z80"], 'unknown processor "z80"'),
        (["-o", "small.so"], "small.so: the name of a file with machine code ends in .twasm"),
        (["-o", "missing/small.twasm"], "missing/small.twasm: No such file or directory"),
    ],
    ids=["processor", "name", "folder"],
)
def test_what_compile_refuses(small: Path, words: list[str], said: str) -> None:
    done = command("compile", small, *words)
    assert done.returncode == 1 and said in done.stderr
    assert list(small.parent.iterdir()) == [small]


def test_what_run_refuses(small: Path) -> None:
    file = small.with_suffix(".twasm")
    for content in (b"", b"anything", compiled()[:-1], compiled()[:100] + b"x" + compiled()[101:]):
        file.write_bytes(content)
        done = command("run", file, "--invoke", "fib", "10")
        assert done.returncode == 1
        assert done.stderr.startswith(f"tinywasm: {file}: ") and done.stderr.count("\n") == 1


def test_a_device_is_written_to(small: Path, tmp_path: Path) -> None:
    device = tmp_path / "null.twasm"
    device.symlink_to("/dev/null")
    assert command("compile", small, "-o", device).returncode == 0
    assert not Path("/dev/null").is_file()
