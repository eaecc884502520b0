"""The folder of `Config(cache=)` with the tier "auto": the next process enters what was hot."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import tinywasm
from benchmarks.catalogue import BY_NAME
from fuzz.hot import compiled_after
from tests.engines import compiles, needs_llvm
from tests.tinywasm.outcomes import outcome
from tests.tinywasm.test_auto import FIB
from tests.tinywasm.test_cli import ENVIRONMENT
from tests.tinywasm.test_compiled import MIXED
from tinywasm import Config, Engine, Store, wat2wasm
from tinywasm.engine import backend

if compiles:
    from tinywasm.engine.llvm import auto, background, kept_codes

pytestmark = needs_llvm

KEPT = "of them read from the cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def used(folder: Path, source: bytes | str, use: Callable[[Any], Any], **options: Any) -> tuple[Any, str]:
    """What `use` gives for a module's exports, and what the statistics say, as in a process of its own."""

    def run() -> tuple[Any, str]:
        store = Store(Engine(Config(engine="native", tier="auto", cache=str(folder), **options)))
        if store.engine.config.consume_fuel:
            store.set_fuel(10_000)
        imports = {"h": {"f": lambda number: number}}
        found = use(tinywasm.instantiate(source, imports, store=store).exports)
        return found, backend(store).statistics()[0]

    try:
        return run()
    finally:
        # The module goes, and with it what is left to be written.
        gc.collect()


def hot(folder: Path, source: bytes | str, use: Callable[[Any], Any], **options: Any) -> tuple[Any, str]:
    """The same where all is hot at once."""
    with compiled_after(1, 1):
        return used(folder, source, use, **options)


def without_compiling(
    folder: Path, source: bytes | str, use: Callable[[Any], Any], **options: Any
) -> tuple[Any, str]:
    with patch.object(background, "do", side_effect=AssertionError), patch.object(auto, "HOT", 1 << 30):
        return used(folder, source, use, **options)


def fib(exports: Any) -> int:
    found: int = exports["fib"](10)
    return found


def test_the_next_process_enters_what_was_hot(folder: Path) -> None:
    source = wat2wasm(FIB)
    found, told = hot(folder, source, fib)
    assert found == 55
    assert not told.endswith(KEPT)
    (file,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    before = file.read_bytes()
    found, told = without_compiling(folder, source, fib)
    assert found == 55
    assert told.startswith("compiled 1 function to ")
    assert told.endswith(f"1 of them quickly, 1 {KEPT}")
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["sha256", "indirect", "simd_dot", "gc_tree"])
def test_kernels_give_their_results(folder: Path, name: str) -> None:
    kernel = BY_NAME[name]

    def run(exports: Any) -> Any:
        return exports["run"](kernel.tiny) & 0xFFFFFFFF

    source = kernel.wasm.read_bytes()
    with compiled_after(3, 100):
        assert used(folder, source, run)[0] == kernel.expected
    found, told = without_compiling(folder, source, run)
    assert found == kernel.expected
    assert told.endswith(KEPT)


def test_what_ends_calls_is_the_same(folder: Path) -> None:
    def calls(exports: Any) -> list[Any]:
        depths = (0, 1, 2, 5, 38, 39, 40, 41)
        return [
            outcome(partial(exports[name], what, depth))
            for name in ("a", "b", "c", "catch")
            for what in range(8)
            for depth in depths
        ]

    source = wat2wasm(MIXED)
    found = [each(folder, source, calls, max_call_depth=40)[0] for each in (hot, without_compiling)]
    assert found[0] == found[1]


def test_what_stays_hot_is_kept_as_it_was_made_with_more_effort(folder: Path) -> None:
    source = wat2wasm(FIB)
    hot(folder, source, fib)
    with compiled_after(1, 1, again=1):
        found, told = used(folder, source, lambda exports: exports["fib"](15))
    assert found == 610
    assert "quickly" not in told
    assert not told.endswith(KEPT)
    _, told = without_compiling(folder, source, fib)
    assert "quickly" not in told
    assert told.endswith(KEPT)


TWO = """
(module
  (func (export "one") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
  (func (export "other") (param i32) (result i32) (i32.add (local.get 0) (i32.const 2))))
"""


def call(name: str, exports: Any) -> Any:
    return exports[name](5)


def test_what_another_process_finds_hot_is_kept_beside_it(folder: Path) -> None:
    source = wat2wasm(TWO)
    for name in ("one", "other"):
        hot(folder, source, partial(call, name))
    found, told = without_compiling(
        folder, source, lambda exports: (call("one", exports), call("other", exports))
    )
    assert found == (6, 7)
    assert told.endswith(f"2 {KEPT}")


def test_what_differs_is_kept_apart(folder: Path) -> None:
    other = FIB.replace("(i32.const 2)", "(i32.const 2) (drop (i32.const 1))")
    for different in (
        partial(used, folder, wat2wasm(FIB), fib),
        partial(used, folder, wat2wasm(FIB), fib, consume_fuel=True),
        partial(used, folder, wat2wasm(other), fib),
    ):
        with compiled_after(1, 1):
            assert not different()[1].endswith(KEPT)
        assert different()[1].endswith(KEPT)
    assert len(list(folder.iterdir())) == 3


def test_the_tier_compiled_keeps_its_own(folder: Path) -> None:
    source = wat2wasm(FIB)
    hot(folder, source, fib)
    engine = Engine(Config(engine="native", tier="compiled", cache=str(folder)))
    assert fib(tinywasm.instantiate(source, {}, store=Store(engine)).exports) == 55
    assert len(list(folder.iterdir())) == 2


def test_text_is_not_kept(folder: Path) -> None:
    for _ in range(2):
        assert not hot(folder, FIB, fib)[1].endswith(KEPT)
    assert not folder.exists()


def test_damage_and_other_builds_are_made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = wat2wasm(FIB)
    hot(folder, source, fib)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    changed = (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in (0, 9, 20, len(whole) - 1))
    for damaged in (b"", b"x", whole[:10], whole[:-1], *changed):
        file.unlink()
        file.write_bytes(damaged)
        file.chmod(0o600)
        assert not hot(folder, source, fib)[1].endswith(KEPT)
        assert hot(folder, source, fib)[1].endswith(KEPT)
    monkeypatch.setattr("tinywasm.engine.native.ahead.maker", lambda: "another")
    assert not hot(folder, source, fib)[1].endswith(KEPT)


def test_a_folder_that_others_may_write_to_is_refused(folder: Path) -> None:
    source = wat2wasm(FIB)
    hot(folder, source, fib)
    folder.chmod(0o777)
    with pytest.raises(ValueError, match=r"others may write to .*: chmod go-w"):
        used(folder, source, lambda exports: None)


def test_a_folder_that_others_may_write_to_meanwhile_gets_nothing(folder: Path) -> None:
    def use(exports: Any) -> int:
        folder.chmod(0o777)
        return fib(exports)

    folder.mkdir(mode=0o700)
    assert hot(folder, wat2wasm(FIB), use)[0] == 55
    assert not list(folder.iterdir())


def test_what_is_kept_of_a_module_is_bounded(folder: Path) -> None:
    with patch.object(kept_codes, "MOST_BYTES", 100):
        hot(folder, wat2wasm(FIB), fib)
    assert not list(folder.iterdir())


def test_it_is_written_when_python_ends(folder: Path) -> None:
    script = (
        "import sys, tinywasm\n"
        "from fuzz.hot import compiled_after\n"
        "from tinywasm import *\n"
        f"store = Store(Engine(Config(engine='native', tier='auto', cache={str(folder)!r})))\n"
        "with compiled_after(1, 1):\n"
        f"    exports = tinywasm.instantiate(wat2wasm('''{FIB}'''), {{}}, store=store).exports\n"
        "    assert exports.fib(10) == 55\n"
        "sys.exit()"
    )
    words = sys.executable, "-c", script
    done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert without_compiling(folder, wat2wasm(FIB), fib)[1].endswith(KEPT)
