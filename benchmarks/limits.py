"""How far what runs goes beyond its time limit: `python -m benchmarks.limits [--seconds S] [NAME ...]`.

Every instruction whose work an operand or an immediate makes large, in an endless loop, and what else works
long between two jumps; on both engines, in a store with a deadline, under `tinywasm run --timeout`, under
Ctrl-C, and in the enclave application. Prints the overrun of each in milliseconds.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
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


# Ways of limiting time. Each gives the seconds by which a program outlived its limit.


def under_deadline(engine: str, wat: str, seconds: float) -> float:
    """`Store.set_deadline`."""
    module = Module(Engine(Config(engine=engine)), wat)
    store = Store(module.engine)
    function = Instance(store, module, []).exports(store)["f"]
    store.set_deadline(seconds)
    start = time.monotonic()
    try:
        function(store)
    except Interrupted:
        return time.monotonic() - start - seconds
    raise AssertionError("an endless loop ended")


def under_timeout(engine: str, wat: str, seconds: float) -> float:
    """`tinywasm run --timeout`: until the process is gone, less what it takes to begin."""
    startup = _timed_run(engine, _loop("", ""), 0.01)[0] - 0.01
    elapsed, errors = _timed_run(engine, wat, seconds)
    assert f"the time limit of {seconds:g} seconds is over" in errors, errors
    return elapsed - seconds - startup


def _timed_run(engine: str, wat: str, seconds: float) -> tuple[float, str]:
    with tempfile.NamedTemporaryFile("w", suffix=".wat") as file:
        file.write(wat)
        file.flush()
        words = ["run", "--engine", engine, "--timeout", str(seconds), file.name, "--invoke", "f"]
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "tinywasm", *words],
            capture_output=True,
            text=True,
            timeout=HANG,
            check=False,
        )
        return time.monotonic() - start, done.stderr


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
    with tempfile.NamedTemporaryFile("w", suffix=".wat") as file:
        file.write(wat)
        file.flush()
        child = subprocess.Popen(
            [sys.executable, "-c", _INTERRUPTED, engine, file.name], stdout=subprocess.PIPE, bufsize=0
        )
        assert child.stdout is not None
        watchdog = threading.Timer(HANG, child.kill)
        watchdog.start()
        try:
            assert child.stdout.readline() == _READY
            time.sleep(seconds)
            start = time.monotonic()
            child.send_signal(signal.SIGINT)
            assert child.stdout.readline() == b"interrupted\n"
            return time.monotonic() - start
        finally:
            watchdog.cancel()
            child.kill()
            child.wait()
            child.stdout.close()


def in_enclave(engine: str, wat: str, seconds: float) -> float:
    """The time limit of a call in the enclave application, which chooses its engine itself."""
    from schannel.messages import CallRequest, DeployRequest, DeployResult, ErrorCode, ErrorReply
    from wasm_rt.application import Application
    from wasm_rt.configuration import Configuration

    application = Application(Configuration())
    deployed = application.handle(DeployRequest("program", wat.encode()))
    assert isinstance(deployed, DeployResult), deployed
    start = time.monotonic()
    reply = application.handle(CallRequest("program", "f", timeout_ms=int(seconds * 1000)))
    elapsed = time.monotonic() - start
    assert isinstance(reply, ErrorReply) and reply.code is ErrorCode.INTERRUPTED, reply
    return elapsed - seconds


WAYS: dict[str, Callable[[str, str, float], float]] = {
    "deadline": under_deadline,
    "--timeout": under_timeout,
    "Ctrl-C": under_interrupt,
    "enclave": in_enclave,
}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="programs; default: all")
    parser.add_argument("--seconds", type=float, default=1.0, help="the limit; default: %(default)s")
    parser.add_argument("--size", type=int, default=1 << 29, help="bytes of work; default: 512 MiB")
    options = parser.parse_args(words)
    sys.path[:0] = [str(Path(__file__).parent.parent / name) for name in ("channel", "enclave")]
    worst = 0.0
    print(f"{'':28}{'engine':8}" + "".join(f"{way:>12}" for way in WAYS) + "   overrun, ms")
    for name in options.names or PROGRAMS:
        wat = PROGRAMS[name](options.size)
        for engine in ENGINES:
            ways = {way: run for way, run in WAYS.items() if way != "enclave" or engine == ENGINES[0]}
            overruns = {way: run(engine, wat, options.seconds) for way, run in ways.items()}
            worst = max(worst, *overruns.values())
            shown = "".join(
                f"{overruns[way] * 1000:12.0f}" if way in overruns else f"{'':12}" for way in WAYS
            )
            print(f"{name:28}{engine:8}{shown}", flush=True)
    print(f"the largest: {worst * 1000:.0f} ms")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
