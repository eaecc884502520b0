"""Programs in C, C++ and Rust: on a directory, in memory, and as wasmtime runs them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tinywasm import Config, Engine, LinkError, Module, OutOfFuel
from tinywasm.runtime.store import Store
from tinywasm.wasi import MemoryTree, WasiConfig, run_command

PROGRAMS = Path(__file__).resolve().parents[2] / "wasi_programs"


@dataclass(frozen=True)
class Run:
    """A program with all that it is given."""

    program: str
    arguments: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Outcome:
    """All that became of it."""

    status: int
    stdout: bytes
    stderr: bytes
    files: dict[str, bytes]


STORE = {"script": "store.script", "fill": "store.fill"}
RUNS = {
    "args": Run("args", ("one", "", "naïve three"), {"STATUS": "7", "HOME": "/home"}),
    "streams": Run("streams", stdin=b"first line\nsecond line\nno newline"),
    "files": Run("files"),
    "escape": Run("escape", files={"inside/file": b""}),
    "time": Run("time"),
    "words": Run("words", stdin=b"The quick brown fox.\nThe lazy dog; the fox!"),
    "words in a file": Run("words", ("text",), files={"text": b"one two two"}),
    "words in no file": Run("words", ("missing",)),
    "inventory": Run("inventory", (".",), files={"stock.txt": b"apple 3\npear 4\napple -1\nbad\n"}),
    "inventory of nothing": Run("inventory", (".",)),
    "store": Run(
        "store",
        ("log", "script"),
        files={name: (PROGRAMS / file).read_bytes() for name, file in STORE.items()},
    ),
    "store without a log": Run("store", ("missing/log",)),
}


def module(program: str, engine: str = "python") -> Module:
    return Module.from_file(Engine(Config(engine=engine)), PROGRAMS / f"{program}.wasm")


def configure(run: Run) -> tuple[WasiConfig, bytearray, bytearray]:
    config = WasiConfig()
    config.argv = [run.program, *run.arguments]
    config.env = run.env
    config.stdin_bytes = run.stdin
    return config, config.capture_stdout(), config.capture_stderr()


def fill(directory: Path, run: Run) -> None:
    for name, data in run.files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)


def regular_files(directory: Path) -> dict[str, bytes]:
    found = (path for path in sorted(directory.rglob("*")) if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def in_memory(run: Run, engine: str) -> Outcome:
    config, stdout, stderr = configure(run)
    tree = MemoryTree(run.files)
    config.preopen_tree(tree, ".")
    status = run_command(module(run.program, engine), config)
    return Outcome(status, bytes(stdout), bytes(stderr), tree.files())


def on_disk(run: Run, engine: str, directory: Path) -> Outcome:
    config, stdout, stderr = configure(run)
    fill(directory, run)
    config.preopen_dir(directory, ".")
    status = run_command(module(run.program, engine), config)
    return Outcome(status, bytes(stdout), bytes(stderr), regular_files(directory))


def under_wasmtime(run: Run, place: Path) -> Outcome:
    wasmtime = pytest.importorskip("wasmtime", reason="wasmtime is not installed: nothing to compare with")
    directory = place / "box"
    directory.mkdir(parents=True)
    fill(directory, run)
    (place / "in").write_bytes(run.stdin)
    engine = wasmtime.Engine()
    store, linker, config = wasmtime.Store(engine), wasmtime.Linker(engine), wasmtime.WasiConfig()
    config.argv = [run.program, *run.arguments]
    config.env = list(run.env.items())
    config.stdin_file, config.stdout_file, config.stderr_file = (
        str(place / name) for name in ("in", "out", "err")
    )
    config.preopen_dir(str(directory), ".")
    store.set_wasi(config)
    linker.define_wasi()
    compiled = wasmtime.Module.from_file(engine, str(PROGRAMS / f"{run.program}.wasm"))
    start: Any = linker.instantiate(store, compiled).exports(store)["_start"]
    status = 0
    try:
        start(store)
    except wasmtime.ExitTrap as exit:
        status = exit.code
    del store, start
    return Outcome(
        status, (place / "out").read_bytes(), (place / "err").read_bytes(), regular_files(directory)
    )


@pytest.mark.parametrize("name", RUNS)
def test_disk_memory_and_wasmtime_agree(name: str, engine: str, tmp_path: Path) -> None:
    run = RUNS[name]
    disk = on_disk(run, engine, tmp_path)
    assert disk == in_memory(run, engine)
    assert disk == under_wasmtime(run, tmp_path / "wasmtime")


def test_what_the_programs_print(engine: str) -> None:
    """Without wasmtime, too, it shall be right."""
    assert in_memory(RUNS["streams"], engine).stdout == b"FIRST LINE\nSECOND LINE\nNO NEWLINE"
    assert in_memory(RUNS["streams"], engine).stderr == b"3 lines\n"
    assert in_memory(RUNS["args"], engine).status == 7
    assert b"\nargv[3]=na\xc3\xafve three\n" in in_memory(RUNS["args"], engine).stdout
    escape = in_memory(RUNS["escape"], engine).stdout
    assert escape.count(b"Operation not permitted") == 7
    time = in_memory(RUNS["time"], engine).stdout
    assert b"slept long enough 1, not for ever 1" in time and b"poll 1 1" in time and b"different 1" in time
    assert in_memory(RUNS["inventory"], engine).files["report.txt"].endswith(b"all      6\n")
    assert in_memory(RUNS["words"], engine).stdout.startswith(b"   3 the\n   2 fox\n")


def test_a_store_survives_and_recovers(engine: str) -> None:
    first = in_memory(RUNS["store"], engine)
    assert first.status == 1 and first.stdout.count(b"sound\n") == 2, (
        "the script has failing lines on purpose"
    )
    again = Run("store", ("log",), stdin=b"count\ncheck\nget new\n", files=first.files)
    assert in_memory(again, engine).stdout == b'64\nsound\n"kept"\n'
    torn = dataclasses.replace(again, files={**first.files, "log": first.files["log"][:-5]})
    assert in_memory(torn, engine).stdout.startswith(b"recovered: ")


def test_fuel_bounds_a_program(engine: str) -> None:
    config, _, _ = configure(RUNS["words"])
    limited = Engine(Config(engine=engine, consume_fuel=True))
    store = Store(limited)
    store.set_fuel(1000)
    with pytest.raises(OutOfFuel):
        run_command(Module.from_file(limited, PROGRAMS / "words.wasm"), config, store=store)


@pytest.mark.parametrize("text", ["(module)", '(module (func (export "_start") (param i32)))'])
def test_what_is_no_command(text: str) -> None:
    with pytest.raises(LinkError, match="_start"):
        run_command(Module(Engine(), text), WasiConfig())


def test_other_imports_and_plain_returns() -> None:
    module = Module(Engine(), '(module (import "other" "f" (func)) (func (export "_start")))')
    with pytest.raises(LinkError, match="unknown import"):
        run_command(module, WasiConfig())
    assert run_command(Module(Engine(), '(module (func (export "_start")))'), WasiConfig()) == 0
