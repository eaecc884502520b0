"""The tier "auto": functions that prove hot are compiled while the loop runs them, and nobody notices.

Tests say after how many looks a function is hot, and how often there is one; then it is compiled in that
moment. That machine code does what the loop does is told by `test_compiled`.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import tinywasm
from benchmarks.catalogue import KERNELS, Kernel
from fuzz.hot import compiled_after, looking_after
from tests.engines import compiles, needs_llvm
from tests.tinywasm.outcomes import outcome
from tests.tinywasm.test_cli import ENVIRONMENT
from tests.tinywasm.test_compiled import DEEP, ENDLESS, METERED, MIXED, end_from_another_thread
from tinywasm import Config, Engine, Module, Store
from tinywasm.engine import backend, native_available

if compiles:
    from tinywasm.engine.llvm import apart, auto, background, codegen, machine
    from tinywasm.engine.llvm.emit import Declined
    from tinywasm.engine.native import _loop


def store_of(tier: str = "auto", **options: Any) -> Store:
    return Store(Engine(Config(engine="native", tier=tier, **options)))


def exports(text: str | bytes, imports: Any = None, *, within: Store | None = None) -> Any:
    return tinywasm.instantiate(text, imports or {}, store=within or store_of()).exports


def compiled(store: Store) -> list[int]:
    """The functions of a store's modules that are compiled."""
    return sorted(index for each in backend(store).machines for index in each.codes)  # type: ignore[attr-defined]


def declined(store: Store) -> dict[int, str]:
    return {k: v for each in backend(store).machines for k, v in each.declined.items()}  # type: ignore[attr-defined]


def loops(store: Store) -> dict[int, set[int]]:
    """By function, the words of loops in whose middle machine code is entered."""
    return {k: v for each in backend(store).machines for k, v in each.loops.items()}  # type: ignore[attr-defined]


class Idle:
    """What there is to do is nothing."""

    def pass_by(self, _: None) -> None:
        pass


def join() -> None:
    """Wait until nothing is left to compile."""
    with patch.object(background, "LINGER", 0):
        background.do(Idle().pass_by, None)
        for each in threading.enumerate():
            if each.name == "tinywasm, compiling":
                each.join()


@needs_llvm
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_kernels_give_their_results(kernel: Kernel) -> None:
    with compiled_after(3, 100):
        store = store_of()
        run = exports(kernel.wasm.read_bytes(), within=store)["run"]
        for _ in range(3):
            assert run(kernel.tiny) & 0xFFFFFFFF == kernel.expected
        assert compiled(store) or loops(store)


FIB = """
(module
  (func $fib (export "fib") (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
      (then (local.get 0))
      (else (i32.add
        (call $fib (i32.sub (local.get 0) (i32.const 1)))
        (call $fib (i32.sub (local.get 0) (i32.const 2))))))))
"""


@needs_llvm
def test_a_function_is_compiled_when_it_is_hot() -> None:
    with compiled_after(10, 1):
        store = store_of()
        wasm = exports(FIB, within=store)
        for _ in range(9):
            assert wasm.fib(1) == 1
        assert not compiled(store)
        assert wasm.fib(1) == 1
        assert compiled(store) == [0]
        assert wasm.fib(12) == 144


@needs_llvm
def test_short_calls_add_up() -> None:
    """What one leaves of its time until the next look, the next one has."""
    with compiled_after(2, 1000):
        store = store_of()
        wasm = exports(FIB, within=store)
        for _ in range(100):
            assert wasm.fib(2) == 1
        assert compiled(store) == [0]


@needs_llvm
@pytest.mark.parametrize(("looks", "words"), [(1, 1), (2, 1), (3, 20)])
@pytest.mark.parametrize("what", range(8))
@pytest.mark.parametrize("name", ["a", "b", "c", "catch"])
def test_what_ends_calls_is_the_same_wherever_they_become_hot(
    name: str, what: int, looks: int, words: int
) -> None:
    found = []
    for tier in ("interpreter", "auto"):
        inside: list[Any] = []
        within: dict[str, Any] = {}

        def host(number: int, inside: list[Any] = inside, within: dict[str, Any] = within) -> int:
            inside.append(outcome(partial(within["wasm"].c, 3, 2)))
            return number

        with compiled_after(looks, words):
            store = store_of(tier, max_call_depth=40)
            wasm = within["wasm"] = exports(MIXED, {"h": {"f": host}}, within=store)
            calls = [partial(wasm[name], what, depth) for depth in (0, 1, 2, 3, 4, 5, 11, 38, 39, 40, 41)]
            found.append(([outcome(each) for each in calls], inside))
            if tier == "auto":
                assert 1 in compiled(store)
    assert found[0] == found[1]


@needs_llvm
def test_fuel_ends_at_the_same_place_wherever_it_ends() -> None:
    used = 0
    for fuel in (10_000, *range(0, 120, 11)):
        found = []
        for tier in ("interpreter", "auto"):
            with compiled_after(1, 10):
                store = store_of(tier, consume_fuel=True)
                store.set_fuel(1000)
                wasm = exports(METERED, within=store)
                store.set_fuel(fuel)
                results = [outcome(partial(wasm.f, 6)) for _ in range(2)]
                found.append((results, store.get_fuel()))
        assert found[0] == found[1], fuel
        used = used or 10_000 - found[0][1]
    assert used > 120


@needs_llvm
def test_calls_are_as_deep_as_ever() -> None:
    def calls(tier: str, depth: int) -> list[Any]:
        store = store_of(tier, max_call_depth=depth)
        wasm = exports(DEEP, within=store)
        found = [outcome(partial(wasm.sum, deep, 1, 2.0)) for deep in (depth - 2, depth - 1, depth, 10)]
        assert compiled(store) == ([0] if tier == "auto" else [])
        return found

    with compiled_after(3, 1000):
        for depth in (1000, 20_000):
            assert calls("auto", depth) == calls("interpreter", depth)


@needs_llvm
@pytest.mark.parametrize(("name", "arguments"), [("loop", ()), ("tree", (60,)), ("mixed", (60,))])
def test_another_thread_ends_a_call(name: str, arguments: tuple[int, ...]) -> None:
    with compiled_after(1, 100):
        store = store_of(epoch_interruption=True)
        wasm = exports(ENDLESS, within=store)
        end_from_another_thread(store, wasm, partial(wasm[name], *arguments), 0.2)
        assert wasm.get() == 0


@needs_llvm
def test_what_is_declined_runs_on_and_it_is_said_why() -> None:
    with compiled_after(1, 1):
        store = store_of()
        wasm = exports(MIXED, {"h": {"f": lambda number: number}}, within=store)
        for _ in range(3):
            assert wasm.catch(6, 5) == 77
            assert wasm.b(7, 9) == 14
        assert declined(store) == {2: "too large"}
        assert any("interpreted 1 function: " in line for line in backend(store).statistics())


@needs_llvm
def test_a_failure_to_compile_is_said_and_changes_nothing() -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise MemoryError("LLVM has none")

    with compiled_after(1, 1), patch("tinywasm.engine.llvm.emit.emit", fail):
        store = store_of()
        wasm = exports(FIB, within=store)
        assert wasm.fib(10) == 55
        assert declined(store) == {0: "LLVM has none"}


@needs_llvm
def test_what_stays_hot_is_compiled_again_with_more_effort() -> None:
    with compiled_after(3, 100), patch.object(auto, "HOT_AGAIN", 100):
        store = store_of()
        fib = exports(FIB, within=store)["fib"]
        assert fib(9) == 34
        (machine,) = backend(store).machines  # type: ignore[attr-defined]
        assert (compiled(store), machine.quick) == ([0], {0})
        assert machine.summary()[0].endswith(" s, 1 of them quickly")
        before = machine.codes[0].address
        assert fib(15) == 610
        assert (compiled(store), machine.quick) == ([0], set())
        assert machine.codes[0].address != before
        assert fib(15) == 610


@pytest.fixture
def process() -> Iterator[Any]:
    """LLVM's process, which is not there yet and does not stay."""
    apart.rest()
    with patch.object(apart, "_possible", True):
        yield apart
    apart.rest()


def compiles_fib() -> bool:
    with compiled_after(1, 1):
        store = store_of()
        assert exports(FIB, within=store).fib(10) == 55
        return compiled(store) == [0]


@needs_llvm
def test_a_process_that_is_killed_is_started_again(process: Any) -> None:
    assert compiles_fib()
    first = process._process.pid
    os.kill(first, signal.SIGKILL)
    assert compiles_fib()
    assert process._process.pid != first


@needs_llvm
@pytest.mark.parametrize("executable", ["", "/nothing/there", "/bin/true"])
def test_llvm_works_in_this_process_where_it_can_have_none(process: Any, executable: str) -> None:
    with patch.object(sys, "executable", executable):
        assert compiles_fib()
    assert process._process is None


@needs_llvm
def test_what_ends_llvm_s_process_is_not_tried_in_this_one(process: Any) -> None:
    """Not even where it is the first that the process is asked."""
    fatal = 'define void @f() { call void asm sideeffect "nonsense", ""() ret void }'
    with patch.object(machine, "object_code") as here, pytest.raises(Declined, match="LLVM was ended"):
        process.object_code(fatal, codegen.QUICK)
    here.assert_not_called()
    assert compiles_fib()


@needs_llvm
def test_what_takes_llvm_too_long_is_given_up(process: Any) -> None:
    process.start()
    process._process._ours.settimeout(1e-9)
    with pytest.raises(Declined, match="LLVM takes too long"):
        process.object_code("", codegen.QUICK)
    assert compiles_fib()


@needs_llvm
def test_a_process_that_does_nothing_is_ended_when_it_is_not_needed(process: Any) -> None:
    process.start()
    pid = process._process.pid
    os.kill(pid, signal.SIGSTOP)
    process.rest()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@needs_llvm
def test_what_llvm_refuses_is_said() -> None:
    with pytest.raises(Declined, match="expected"):
        apart.object_code("nonsense", 0)


@needs_llvm
def test_machine_code_is_bounded_and_goes_with_its_module() -> None:
    def run() -> Store:
        store = store_of()
        assert exports(FIB, within=store).fib(10) == 55
        return store

    gc.collect()
    before = _loop.machine_bytes()
    with compiled_after(1, 1):
        first = run()
        assert compiled(first) == [0]
        assert _loop.machine_bytes() > before
        with patch.object(auto, "MOST_BYTES", before):
            assert declined(run()) == {0: "enough machine code"}
        del first
        gc.collect()
        assert _loop.machine_bytes() == before


@needs_llvm
def test_serialized_modules_have_nothing_of_it() -> None:
    with compiled_after(1, 1):
        store = store_of()
        module = Module(store.engine, FIB)
        before = module.serialize()
        wasm: Any = tinywasm.Instance(store, module, []).exports
        assert wasm.fib(10) == 55
        assert compiled(store) == [0]
        assert module.serialize() == before
        # Code that is kept becomes hot as well.
        again = store_of()
        other: Any = tinywasm.Instance(again, Module.deserialize(again.engine, before), []).exports
        assert other.fib(10) == 55
        assert compiled(again) == [0]


@needs_llvm
def test_other_stores_with_the_module_enter_what_is_compiled() -> None:
    with compiled_after(20, 1):
        engine = Engine(Config(engine="native", tier="auto"))
        module = Module(engine, FIB)
        stores = [Store(engine), Store(engine)]
        one, other = (tinywasm.Instance(store, module, []).exports for store in stores)
        assert other["fib"](3) == 2
        assert one["fib"](20) == 6765
        assert compiled(stores[0]) == [0]
        assert other["fib"](20) == 6765


@needs_llvm
def test_machine_code_is_warm_where_the_loop_has_never_run_it() -> None:
    """What the first store has made of both functions, the second enters at the outer one."""
    text = """(module
      (func $count (param i32) (result i32) (loop (br_if 0 (i32.ne (i32.const 0)
        (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))) (local.get 0))
      (func (export "f") (param i32) (result i32) (call $count (local.get 0))))"""
    with compiled_after(5, 1):
        engine = Engine(Config(engine="native", tier="auto"))
        module = Module(engine, text)
        stores = [Store(engine), Store(engine)]
        one, other = (tinywasm.Instance(store, module, []).exports for store in stores)
        for _ in range(20):
            assert one["f"](5) == 0
        assert compiled(stores[0]) == [0, 1]
        assert other["f"](100_000) == 0


@needs_llvm
def test_a_profile_counts_what_is_hot() -> None:
    from tinywasm import raw

    with compiled_after(1, 1):
        store = store_of()
        store.profile = profile = raw.Profile()
        fib = raw.instantiate(store, Module(store.engine, FIB), {}).exports["fib"]
        assert isinstance(fib, raw.FuncInstance)
        raw.invoke(store, fib, [10])
        assert [record.calls for record in profile.records()] == [177]
        assert not compiled(store)


# In the background


def asked_for(running: int) -> list[tuple[str, int]]:
    """What is to be done in the background, and how many functions have been hot by then, with two processors
    and so many threads that want to run."""
    hot: list[int] = []
    found: list[tuple[str, int]] = []
    heat = auto.Auto.heat

    def heating(machine: auto.Auto, index: int, word: int | None) -> None:
        hot.append(index)
        heat(machine, index, word)

    def do(method: Any, argument: Any, *, urgent: bool = True) -> None:
        found.append((method.__name__, len(hot)))

    with (
        patch.multiple(auto, HOT=1, READY=4, FIRST=6, LATE=60, running=lambda: running, processors=lambda: 2),
        patch.object(auto.Auto, "heat", heating),
        patch.object(background, "do", do),
        looking_after(1),
    ):
        fib = exports(FIB)["fib"]
        for _ in range(50):
            assert fib(2) == 1
    return found[:2]


@needs_llvm
def test_llvm_comes_later_where_it_takes_the_program_s_time() -> None:
    assert asked_for(1) == [("prepare", 4), ("compile", 7)]
    assert asked_for(2)[0] == ("compile", 31)
    assert asked_for(5)[0] == ("compile", 13)
    assert asked_for(100)[0] == ("compile", 7)


@needs_llvm
def test_threads_that_run_are_counted() -> None:
    assert auto.running() >= 1
    assert auto.processors() >= 1
    with patch("builtins.open", side_effect=OSError):
        assert auto.running() == 1


def soon() -> Any:
    """While it lasts, what a look meets is hot."""
    return patch.multiple(auto, HOT=1, FIRST=0, LATE=0)


@contextmanager
def waiting() -> Iterator[Callable[[], None]]:
    """While it lasts, nothing is compiled but when what it gives is called."""
    with soon(), patch.object(background, "_start"):
        _loop.look_after(1)
        try:
            yield background._work
        finally:
            _loop.look_after(0)


@needs_llvm
def test_another_thread_compiles() -> None:
    with soon():
        _loop.look_after(1)
        try:
            store = store_of()
            wasm = exports(FIB, within=store)
            assert wasm.fib(15) == 610
            join()
        finally:
            _loop.look_after(0)
    assert compiled(store) == [0]
    assert wasm.fib(15) == 610


@needs_llvm
def test_a_module_that_is_dropped_meanwhile_is_not_compiled() -> None:
    with waiting() as work:
        store = store_of()
        instance = tinywasm.instantiate(FIB, {}, store=store)
        assert instance.exports["fib"](5) == 5
        (machine,) = backend(store).machines  # type: ignore[attr-defined]
        gone = weakref.ref(machine)
        del store, instance, machine
        gc.collect()
        assert gone() is None
        before = _loop.machine_bytes()
        work()
        assert _loop.machine_bytes() == before


@needs_llvm
def test_threads_run_a_module_while_it_is_compiled() -> None:
    kernel = next(each for each in KERNELS if each.name == "sha256")
    engine = Engine(Config(engine="native", tier="auto"))
    module, results = Module(engine, kernel.wasm.read_bytes()), []

    def work() -> None:
        for _ in range(3):
            run = tinywasm.Instance(Store(engine), module, []).exports["run"]
            results.append(run(kernel.tiny) & 0xFFFFFFFF)

    with soon():
        _loop.look_after(100)
        try:
            threads = [threading.Thread(target=work) for _ in range(3)]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
            join()
        finally:
            _loop.look_after(0)
    assert results == [kernel.expected] * 9


# Compiling begins, and takes long; then comes what the case adds.
ENDS = """
import os, signal, sys, time
import tinywasm
from tinywasm import Config, Engine, Store
from tinywasm.engine.llvm import auto
from tinywasm.engine.native import _loop
auto.HOT, auto.FIRST, auto.LATE = 1, 0, 0
_loop.look_after(1)
body = "(local.set 0 (i32.mul (i32.add (local.get 0) (i32.const 1)) (local.get 0)))" * 60
functions = "".join(f'(func (export "f{n}") (param i32) (result i32) {body} (local.get 0))' for n in range(6))
store = Store(Engine(Config(engine="native", tier="auto")))
wasm = tinywasm.instantiate(f"(module {functions})", {}, store=store).exports
for n in range(6):
    wasm[f"f{n}"](1)
"""


@needs_llvm
@pytest.mark.parametrize(
    "then",
    [
        "",
        "time.sleep(0.3)",
        "sys.exit()",
        "pid = os.fork()\nif not pid: print(wasm.f0(1), flush=True); os._exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0",
        "time.sleep(0.2)\npid = os.fork()\nif pid: assert os.waitpid(pid, 0)[1] == 0",
    ],
    ids=["at once", "later", "exit", "fork", "fork and go on"],
)
def test_a_process_ends_or_forks_while_something_is_compiled(then: str) -> None:
    words = sys.executable, "-W", "ignore::DeprecationWarning", "-c", ENDS + then
    done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@needs_llvm
def test_a_process_ends_though_that_of_llvm_does_nothing() -> None:
    """As where others take all the time."""
    then = (
        "from tinywasm.engine.llvm import apart\n"
        "apart.start()\n"
        "os.kill(apart._process.pid, signal.SIGSTOP)\n"
        "print(apart._process.pid)"
    )
    words = sys.executable, "-c", ENDS + then
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, timeout=60)
    # The system may have ended it already.
    with suppress(ProcessLookupError):
        os.kill(int(done.stdout), signal.SIGKILL)
    assert done.returncode == 0


@needs_llvm
def test_what_compiles_has_no_part_in_a_fork_whose_beginning_it_missed() -> None:
    """Like what `logging` does when it is loaded: a fork that is waiting meanwhile would only run its end."""
    script = (
        "import os\n"
        "found, register = [], os.register_at_fork\n"
        "def registered(**hooks):\n"
        "    found.append(hooks)\n"
        "    register(**hooks)\n"
        "import tinywasm.engine.llvm.auto\n"
        "os.register_at_fork = registered\n"
        "import tinywasm.engine.llvm.apart, tinywasm.engine.llvm.machine\n"
        "assert found and not any('after_in_parent' in hooks for hooks in found)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=ENVIRONMENT, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_llvm
def test_the_child_of_a_fork_compiles_what_was_waiting() -> None:
    script = ENDS + (
        "pid = os.fork()\n"
        "if not pid:\n"
        "    signal.alarm(50)\n"
        "    from tinywasm.engine import backend\n"
        "    while len(backend(store).machines[0].codes) < 6: time.sleep(0.01)\n"
        "    os._exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0"
    )
    words = sys.executable, "-W", "ignore::DeprecationWarning", "-c", script
    done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


# Where nothing can be compiled


@pytest.mark.skipif(not native_available, reason="the native engine is not built")
def test_without_llvmlite_it_is_the_interpreter() -> None:
    program = (
        "import sys; sys.modules['llvmlite'] = None\n"
        "import tinywasm\nfrom tinywasm import *\nfrom tinywasm.engine import backend\n"
        "store = Store(Engine(Config(tier='auto')))\n"
        f"print(tinywasm.instantiate('''{FIB}''', {{}}, store=store).exports.fib(10))\n"
        "print(*backend(store).statistics())"
    )
    words = sys.executable, "-c", program
    done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert not done.stderr
    assert done.stdout.startswith("55\nnothing was compiled: ")


def test_the_python_engine_takes_it_for_its_own_tier() -> None:
    store = Store(Engine(Config(engine="python", tier="auto")))
    assert exports(FIB, within=store).fib(10) == 55


@needs_llvm
def test_the_command_says_what_was_compiled(tmp_path: Path) -> None:
    path = tmp_path / "fib.wat"
    path.write_text(FIB)
    words = sys.executable, "-m", "tinywasm", "run", "--stats", "--tier", "auto"
    done = subprocess.run(
        [*words, str(path), "--invoke", "fib", "10"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("55\n", "nothing was compiled: no function was hot\n")
