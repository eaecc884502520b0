"""The folder of `Config(cache=)` on the python engine: what one process translates, the next one runs."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from fuzz.hot import AT_ONCE, hot_after
from tests.tinywasm.outcomes import outcome
from tests.tinywasm.test_source_handlers import CATCHES
from tinywasm import Config, Engine, Instance, Module, Store, wat2wasm
from tinywasm.cli.main import main
from tinywasm.engine.python import backend
from tinywasm.engine.python.bind import bind
from tinywasm.engine.source.translate import Translation
from tinywasm.runtime.func import FuncInstance

# What a function calls, reads and checks by names of its instance.
PROGRAM = """
(module
  (type $s (struct (field (mut i32))))
  (memory 1) (global $g (mut i32) (i32.const 5)) (table funcref (elem $double))
  (func $double (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
  (func (export "sum") (param $n i32) (result i32) (local $sum i32)
    (loop $again
      (i32.store (i32.const 8) (local.get $n))
      (global.set $g (i32.add (global.get $g) (call $double (i32.load (i32.const 8)))))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (global.get $g))
  (func (export "indirect") (param i32) (result i32)
    (call_indirect (param i32) (result i32) (local.get 0) (i32.const 0)))
  (func (export "cast") (param i32) (result i32)
    (struct.get $s 0 (ref.cast (ref $s) (struct.new $s (local.get 0)))))
  (func (export "float") (param i32) (result i32)
    (i32.reinterpret_f32 (f32.add (f32.const nan:0x200001) (f32.convert_i32_s (local.get 0)))))
  (func (export "trap") (param i32) (result i32)
    (i32.div_u (i32.const 1) (i32.load8_u offset=65535 (local.get 0)))))
"""


@contextmanager
def translated() -> Iterator[list[int]]:
    """The functions that are translated while it lasts."""
    found: list[int] = []
    source = Translation.source

    def made(translation: Translation, block: int) -> Any:
        found.append(translation.index)
        return source(translation, block)

    with patch.object(Translation, "source", made):
        yield found


def ran(folder: Path, source: bytes | str, hot: int = AT_ONCE, **options: Any) -> tuple[list[Any], int]:
    """What a module's exports give, and how many functions were translated, as in a process of its own."""
    with hot_after(hot), translated() as found:
        outcomes = given(Engine(Config(engine="python", cache=str(folder), **options)), source)
        # What goes with the module is written when it does.
        gc.collect()
        return outcomes, len(found)


def given(engine: Engine, source: bytes | str) -> list[Any]:
    store = Store(engine)
    if engine.config.consume_fuel:
        store.set_fuel(100_000)
    exports = Instance(store, Module(engine, source), []).exports(store)
    return [
        (name, what, outcome(lambda: call(store, what)))  # noqa: B023
        for name, call in exports.items()
        for what in (1, 0, 2)
        if (name, what) != ("sum", 0) and name != "seen"
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.mark.parametrize("program", [PROGRAM, CATCHES])
def test_what_was_translated_is_not_translated_again(folder: Path, program: str) -> None:
    source = wat2wasm(program)
    first, count = ran(folder, source)
    assert count > 0
    (file,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    assert ran(folder, source) == (first, 0)


# What recurs, what turns, and what a host function calls back.
DEEP = """
(module
  (func $deep (export "deep") (param i32) (result i32)
    (if (result i32) (local.get 0)
      (then (i32.add (i32.const 1) (call $deep (i32.sub (local.get 0) (i32.const 1)))))
      (else (i32.div_u (i32.const 8) (local.get 0)))))
  (func $turns (export "turns") (param i32) (result i32) (local i32)
    (loop $outer
      (local.set 1 (i32.const 40))
      (loop $inner (br_if $inner (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
      (br_if $outer (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (i32.load (i32.const -1)))
  (memory 1))
"""


def ways(folder: Path, hot: int, **config: Any) -> tuple[Any, list[int], list[int]]:
    """What calls give, which functions were bound meanwhile, and which were translated."""
    bound: list[int] = []

    def binding(func: FuncInstance) -> Any:
        bound.append(func.index)
        return bind(func)

    with hot_after(hot), translated() as found, patch.object(backend, "bind", binding):
        store = Store(Engine(Config(engine="python", cache=str(folder), **config)))
        exports = Instance(store, Module(store.engine, wat2wasm(DEEP)), []).exports(store)
        outcomes = [
            outcome(partial(exports[name], store, times))
            for name, times in (("deep", 5), ("deep", 5_000), ("turns", 500), ("deep", 12), ("turns", 3))
        ]
        del store, exports
        gc.collect()
    return outcomes, bound, found


@pytest.mark.parametrize("most", [8, 30, 300, 6_000])
def test_what_another_process_made_is_hot_at_once(folder: Path, most: int) -> None:
    cold = ways(folder.with_name("another"), 1 << 40, max_call_depth=most)
    assert cold[1:] == ([0, 1], [])
    assert ways(folder, 3, max_call_depth=6_000)[2]
    for _ in range(2):
        found = ways(folder, 100, max_call_depth=most)
        assert found[0] == cold[0] and not found[2]
        # The reference runs what is deeper than Python functions go, and all where that is not deep.
        assert found[1] == ([0] if most >= 30 else [0, 1])


def test_statistics_say_what_was_translated_and_what_was_found(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "deep.wasm"
    path.write_bytes(wat2wasm(DEEP))
    told = []
    for _ in range(2):
        with hot_after(3):
            main(
                [
                    "run",
                    "--stats",
                    "--engine",
                    "python",
                    "--cache",
                    str(folder),
                    str(path),
                    "--invoke",
                    "deep",
                    "9",
                ]
            )
        gc.collect()
        told.append([line for line in capfd.readouterr().err.splitlines() if " function " in line])
    assert [len(lines) for lines in told] == [1, 1]
    assert re.fullmatch(r"translated 1 function to Python in \d+\.\d\d s", told[0][0])
    assert told[1][0] == "read 1 function from the cache, translated before"


def test_what_is_hot_later_is_added(folder: Path) -> None:
    source = wat2wasm(PROGRAM)
    first, some = ran(folder, source, 3)
    second, rest = ran(folder, source)
    assert first == second and some > 0 and rest > 0
    assert ran(folder, source) == (first, 0)


def test_what_differs_is_kept_apart(folder: Path) -> None:
    source = wat2wasm(PROGRAM)
    ran(folder, source)
    assert ran(folder, source, consume_fuel=True)[1] > 0
    assert ran(folder, wat2wasm(PROGRAM.replace("(i32.const 5)", "(i32.const 6)")))[1] > 0
    assert len(list(folder.iterdir())) == 2


def test_damage_is_made_anew(folder: Path) -> None:
    source = wat2wasm(PROGRAM)
    first, count = ran(folder, source)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    changed = (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in (0, 9, 100, len(whole) - 1))
    for damaged in (b"x", whole[:8], whole[:-1], *changed):
        file.write_bytes(damaged)
        assert ran(folder, source) == (first, count)
        assert ran(folder, source) == (first, 0)


def test_code_of_another_translator_is_not_taken(folder: Path) -> None:
    source = wat2wasm(PROGRAM)
    ran(folder, source)
    with patch("tinywasm.engine.source.cache._maker", return_value=bytes(8)):
        assert ran(folder, source)[1] > 0


def test_a_folder_that_others_may_write_to_is_refused(folder: Path) -> None:
    source = wat2wasm(PROGRAM)
    ran(folder, source)
    folder.chmod(0o777)
    with pytest.raises(ValueError, match="others may write to "):
        ran(folder, source)


def test_a_file_that_others_may_write_to_is_not_read(folder: Path) -> None:
    source = wat2wasm(PROGRAM)
    count = ran(folder, source)[1]
    (file,) = folder.iterdir()
    file.chmod(0o666)
    assert ran(folder, source)[1] == count


def test_text_is_not_kept(folder: Path) -> None:
    """Its code has positions of its own."""
    for _ in range(2):
        assert ran(folder, PROGRAM)[1] > 0
    assert not folder.exists()


def test_the_folder_may_be_a_path_or_begin_with_the_home_of_the_user(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("TINYWASM_CACHE", f"~/{folder.name}")
    assert Config().cache == Config(cache=folder).cache == str(folder)
    source = wat2wasm(PROGRAM)
    count = ran(folder, source)[1]
    with hot_after(AT_ONCE), translated() as found:
        given(Engine(Config(engine="python", cache=folder)), source)
        given(Engine(Config(engine="python")), source)
    assert count and not found


def test_what_is_no_path_is_refused() -> None:
    with pytest.raises(TypeError, match="cache takes a "):
        Config(cache=5)  # type: ignore[arg-type]
