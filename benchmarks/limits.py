"""How far what runs goes beyond its time limit: `python -m benchmarks.limits [--seconds S] [NAME ...]`.

Every instruction whose work an operand or an immediate makes large, in an endless loop, and what else works
long between two jumps; on both engines, in a store with a deadline, under `tinywasm run --timeout`, under
Ctrl-C, and in an enclave. Prints the overrun of each in milliseconds.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tinywasm import Config, Engine, Instance, Interrupted, Module, Store
from tinywasm.engine import native_available
from tinywasm.instructions import TABLE

ENGINES = ("native", "python") if native_available else ("python",)
HANG = 120.0
_READY = b"ready\n"


def _loop(body: str, declarations: str = "", locals: str = "", before: str = "") -> str:
    return f'(module {declarations} (func (export "f") {locals} {before} (loop {body} (br 0))))'


def _memory(body: str, size: int) -> str:
    data = f'(data $d "{"x" * min(size, 1 << 20)}")'
    return _loop(body, f"(memory {size >> 16}) {data}")


def _table(body: str, size: int) -> str:
    elem = f"(elem $e func {'$g ' * min(size, 10_000)})"
    return _loop(body, f"(func $g) (table {size} 10000000 funcref) {elem}")


def _elements(size: int) -> int:
    """The most references of so many bytes that a table may have."""
    return min(size >> 3, 10_000_000)


def _array(body: str, size: int) -> str:
    count = min(size, 1 << 20)
    types = "(type $b (array (mut i8))) (type $f (array (mut f32))) (type $r (array (mut funcref)))"
    segments = f'(data $d "{"x" * count}") (elem $e func {"$g " * min(size, 10_000)})'
    locals = "(local $b (ref null $b)) (local $f (ref null $f)) (local $r (ref null $r))"
    before = f"""(local.set $b (array.new_default $b (i32.const {size})))
        (local.set $f (array.new_default $f (i32.const {min(size, 1 << 20) >> 2})))
        (local.set $r (array.new_default $r (i32.const {size})))"""
    return _loop(body, f"(func $g) {types} {segments}", locals, before)


def _struct(body: str) -> str:
    return _loop(body, f"(type $s (struct {'(field i32) ' * 10_000}))")


_Program = Callable[[int], str]
"""From a size, of bytes or elements, to a module in the text format whose function f never ends."""

BULK: dict[str, _Program] = {
    "memory.grow": lambda n: _loop("(drop (memory.grow (i32.const 1)))", "(memory 0)"),
    "memory.fill": lambda n: _memory(f"(memory.fill (i32.const 0) (i32.const 1) (i32.const {n}))", n),
    "memory.copy": lambda n: _memory(f"(memory.copy (i32.const 8) (i32.const 0) (i32.const {n - 8}))", n),
    "memory.init": lambda n: _memory(
        f"(memory.init $d (i32.const 0) (i32.const 0) (i32.const {min(n, 1 << 20)}))", n
    ),
    "table.grow": lambda n: _table("(drop (table.grow (ref.null func) (i32.const 100000)))", 0),
    "table.fill": lambda n: _table(
        f"(table.fill (i32.const 0) (ref.null func) (i32.const {_elements(n)}))", _elements(n)
    ),
    "table.copy": lambda n: _table(
        f"(table.copy (i32.const 1) (i32.const 0) (i32.const {_elements(n) - 1}))", _elements(n)
    ),
    "table.init": lambda n: _table(
        f"(table.init $e (i32.const 0) (i32.const 0) (i32.const {min(_elements(n), 10_000)}))", _elements(n)
    ),
    "struct.new": lambda n: _struct(f"(drop (struct.new $s {'(i32.const 1) ' * 10_000}))"),
    "struct.new_default": lambda n: _struct("(drop (struct.new_default $s))"),
    "array.new": lambda n: _array(f"(drop (array.new $b (i32.const 1) (i32.const {n >> 3})))", 1 << 10),
    "array.new_default": lambda n: _array(f"(drop (array.new_default $r (i32.const {n >> 3})))", 1 << 10),
    "array.new_fixed": lambda n: _array(
        f"(drop (array.new_fixed $b 10000 {'(i32.const 1) ' * 10_000}))", 1 << 10
    ),
    "array.new_data": lambda n: _array(
        f"(drop (array.new_data $f $d (i32.const 0) (i32.const {min(n, 1 << 20) >> 2})))", n >> 3
    ),
    "array.new_elem": lambda n: _array(
        "(drop (array.new_elem $r $e (i32.const 0) (i32.const 10000)))", n >> 3
    ),
    "array.fill": lambda n: _array(
        f"(array.fill $r (local.get $r) (i32.const 0) (ref.null func) (i32.const {n >> 3}))", n >> 3
    ),
    "array.copy": lambda n: _array(
        "(array.copy $b $b (local.get $b) (i32.const 1) (local.get $b) (i32.const 0)"
        f" (i32.const {(n >> 3) - 1}))",
        n >> 3,
    ),
    "array.init_data": lambda n: _array(
        "(array.init_data $f $d (local.get $f) (i32.const 0) (i32.const 0)"
        f" (i32.const {min(n >> 3, 1 << 20) >> 2}))",
        n >> 3,
    ),
    "array.init_elem": lambda n: _array(
        "(array.init_elem $r $e (local.get $r) (i32.const 0) (i32.const 0) (i32.const 10000))", n >> 3
    ),
}

_CALLS = {"call", "call_indirect", "call_ref", "return_call", "return_call_indirect", "return_call_ref"}
# Of bounded work, or work that the number of operands bounds, which the code before them has to make.
BOUNDED = _CALLS | set(
    """
    unreachable nop block loop if else end try_table throw throw_ref br br_if br_table br_on_null
    br_on_non_null br_on_cast br_on_cast_fail return drop select local.get local.set local.tee
    global.get global.set table.get table.set table.size elem.drop memory.size data.drop i32.const
    i64.const f32.const f64.const v128.const ref.null ref.func ref.is_null ref.as_non_null ref.eq
    ref.test ref.cast ref.i31 i31.get_s i31.get_u any.convert_extern extern.convert_any struct.get
    struct.get_s struct.get_u struct.set array.get array.get_s array.get_u array.set array.len
    """.split()  # noqa: SIM905
)


def unsorted() -> set[str]:
    """The instructions that are neither in `BULK` nor known to do little: there are to be none."""
    own = {
        row.name
        for row in TABLE
        if row.operator is None and not (row.immediates and row.immediates[0].startswith("memarg"))
    }
    return own ^ (set(BULK) | BOUNDED)


def _retained(n: int) -> str:
    """A list that grows without end, so that collections find ever more to mark."""
    return _loop(
        "(local.set 0 (struct.new $s (local.get 0)))",
        "(type $s (struct (field (ref null $s))))",
        "(local (ref null $s))",
    )


def _locals(n: int) -> str:
    locals = "(local i64) " * 50_000
    return _loop("(call $g)", f"(func $g {locals})")


def _straight(n: int) -> str:
    """A loop whose body takes long, without a jump."""
    return _loop("(local.set 0 (i32.div_u (local.get 0) (i32.const 3))) " * 50_000, locals="(local i32)")


def _throwing(n: int) -> str:
    """Exceptions that pass through many handlers for another tag."""
    handlers = "(block (try_table (catch $a 0) " * 300 + "(throw $b)" + "))" * 300
    return _loop(f"(block (try_table (catch $b 0) {handlers}))", "(tag $a) (tag $b)")


def _lowered(n: int) -> str:
    """Functions that are called, and so lowered, for the first time."""
    count = 200
    body = "(local.set 0 (i32.add (local.get 0) (i32.const 3))) " * 500
    functions = "".join(f"(func $g{i} (local i32) {body})" for i in range(count))
    return _loop("".join(f"(call $g{i})" for i in range(count)), functions)


OTHER: dict[str, _Program] = {
    "a growing heap": _retained,
    "functions of many locals": _locals,
    "a long body": _straight,
    "passing exceptions": _throwing,
    "functions to lower": _lowered,
}

PROGRAMS = {**BULK, **OTHER}


Way = Callable[[str, str, float], float]
"""A way of limiting time: from an engine, a program and a limit to the seconds by which it was outlived."""


def under_deadline(engine: str, wat: str, seconds: float) -> float:
    """`Store.set_deadline`."""
    module = Module(Engine(Config(engine=engine)), wat)
    store = Store(module.engine)
    function = Instance(store, module, []).exports(store)["f"]
    # What an earlier program left, of up to gigabytes, is not to be freed in this one's time.
    gc.collect()
    store.set_deadline(seconds)
    start = time.monotonic()
    try:
        function(store)
    except Interrupted:
        return time.monotonic() - start - seconds
    raise AssertionError("an endless loop ended")


_TIMED = """
import sys
from tinywasm.cli import main
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.exit(main(sys.argv[1:]))
"""


def under_timeout(engine: str, wat: str, seconds: float) -> float:
    """`tinywasm run --timeout`: from when the program has been imported until the process is gone."""
    words = ["run", "--engine", engine, "--timeout", str(seconds), "--invoke", "f"]
    with _child(_TIMED, wat, *words) as child:
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.readline() == _READY
        start = time.monotonic()
        errors = child.stderr.read().decode()
        child.wait()
        elapsed = time.monotonic() - start
    assert f"the time limit of {seconds:g} seconds is over" in errors, errors
    return elapsed - seconds


_INTERRUPTED = """
import signal, sys
from tinywasm import *
signal.signal(signal.SIGINT, signal.default_int_handler)
engine, path = sys.argv[1:]
module = Module.from_file(Engine(Config(engine=engine)), path)
store = Store(module.engine)
function = Instance(store, module, []).exports(store)["f"]
try:
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    function(store)
except KeyboardInterrupt:
    sys.stdout.write("interrupted\\n")
    sys.stdout.flush()
"""


def under_interrupt(engine: str, wat: str, seconds: float) -> float:
    """Ctrl-C, so many seconds after the call began: until Python goes on."""
    with _child(_INTERRUPTED, wat, engine) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == _READY
        time.sleep(seconds)
        start = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == b"interrupted\n"
        return time.monotonic() - start


@contextmanager
def _child(script: str, wat: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that runs `script` with `words` and the name of a file that holds `wat`."""
    with tempfile.NamedTemporaryFile("w", suffix=".wat") as file:
        file.write(wat)
        file.flush()
        with subprocess.Popen(
            [sys.executable, "-c", script, *words, file.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        ) as child:
            watchdog = threading.Timer(HANG, child.kill)
            watchdog.start()
            try:
                yield child
            finally:
                watchdog.cancel()
                child.kill()


@contextmanager
def enclaves() -> Iterator[Way]:
    """The time limit of a call in an enclave, whose application chooses its engine itself.

    A host runs meanwhile, each program has an enclave of its own, and the client's clock counts.
    """
    from schannel.messages import ErrorCode
    from schannel.simulation import simulation_policy
    from wasm_client import RequestFailed, connect
    from wasm_client.demo import running_host

    def in_enclave(engine: str, wat: str, seconds: float) -> float:
        with connect(address, simulation_policy()) as session:
            session.deploy(wat.encode())
            start = time.monotonic()
            try:
                session.call("f", timeout_ms=int(seconds * 1000))
            except RequestFailed as error:
                assert error.code is ErrorCode.INTERRUPTED, error
                return time.monotonic() - start - seconds
        raise AssertionError("an endless loop ended")

    with tempfile.TemporaryDirectory() as state:
        os.environ["TINYWASM_STATE_DIR"] = state
        with running_host() as address:
            yield in_enclave


WAYS: dict[str, Way] = {"deadline": under_deadline, "--timeout": under_timeout, "Ctrl-C": under_interrupt}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="programs; default: all")
    parser.add_argument("--seconds", type=float, default=1.0, help="the limit; default: %(default)s")
    parser.add_argument("--size", type=int, default=1 << 29, help="bytes of work; default: 512 MiB")
    options = parser.parse_args(words)
    sys.path[:0] = [
        str(Path(__file__).parent.parent / name) for name in ("channel", "enclave", "host", "client")
    ]
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    with enclaves() as in_enclave:
        worst = _measure(
            options.names or PROGRAMS, options.size, options.seconds, {**WAYS, "enclave": in_enclave}
        )
    print(f"the largest: {worst * 1000:.0f} ms")
    return 0


def _measure(names: Iterable[str], size: int, seconds: float, ways: dict[str, Way]) -> float:
    """Print a table of the programs' overruns; returns the largest, in seconds."""
    worst = 0.0
    print(f"{'':28}{'engine':8}" + "".join(f"{way:>12}" for way in ways) + "   overrun, ms")
    for name in names:
        wat = PROGRAMS[name](size)
        for engine in ENGINES:
            print(f"{name:28}{engine:8}", end="")
            for way, run in ways.items():
                if way == "enclave" and engine != ENGINES[0]:
                    continue
                overrun = run(engine, wat, seconds)
                worst = max(worst, overrun)
                print(f"{overrun * 1000:12.0f}", end="", flush=True)
            print()
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
