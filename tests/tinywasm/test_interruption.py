"""Loading, linking and lowering end where a limit of time says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines import ENGINES
from tinywasm import Config, Engine, Instance, Interrupted, Module, Store, wat2wasm
from tinywasm.cli.main import main
from tinywasm.instantiation import instantiate
from tinywasm.interruption import obeying

N = 10_000
# Looks that N pieces of work have at least, whatever a piece is.
LOOKS = N // 1024

TEXTS = {
    "types": "(type (func (param i32 i64)))" * N,
    "types of one group": f"(rec {'(type (struct (field i32)))' * N})",
    "functions": "(func)" * N,
    "imports": '(import "m" "f" (func))' * N,
    "exports": "(func $f)" + "".join(f'(export "{i}" (func $f))' for i in range(N)),
    "globals": "(global i32 (i32.const 1))" * N,
    "tables": "(table 0 funcref)" * N,
    "memories": "(memory 0)" * N,
    "tags": "(tag)" * N,
    "data segments": '(data "")' * N,
    "element segments": "(elem func)" * N,
    "an element segment": f"(func $f) (elem func {'$f ' * N})",
    "an element segment of expressions": f"(elem funcref {'(ref.null func)' * N})",
    "a constant expression": f"(global i32 {'(i32.add ' * N}(i32.const 1){'(i32.const 1))' * N})",
    "a body": f"(func {'nop ' * N})",
    "a body of branches": f"(func (br_table {'0 ' * N} (i32.const 0)))",
    "locals": f"(func (local {'i32 i64 ' * N}))",
    "names": "".join(f"(func $f{i})" for i in range(N)),
}


class _Enough(Exception):
    pass


class _Looks:
    """Counts looks, and raises at one of them."""

    def __init__(self, last: int = 1 << 30) -> None:
        self.count = 0
        self.last = last

    def __call__(self) -> None:
        self.count += 1
        if self.count == self.last:
            raise _Enough


def _looks_of(source: str | bytes) -> int:
    looks = _Looks()
    with obeying(looks):
        Module(Engine(), source)
    return looks.count


@pytest.mark.parametrize("name", TEXTS)
def test_reading_a_text_looks(name: str) -> None:
    looks = _Looks()
    with obeying(looks):
        wat2wasm(f"(module {TEXTS[name]})")
    assert looks.count >= LOOKS
    with obeying(_Looks(looks.count // 2)), pytest.raises(_Enough):
        wat2wasm(f"(module {TEXTS[name]})")


# A body that C accepts is validated at once, in less time than a look apart would be worth.
@pytest.mark.parametrize("name", [name for name in TEXTS if not name.startswith("a body")])
def test_decoding_and_validating_look(name: str) -> None:
    source = wat2wasm(f"(module {TEXTS[name]})")
    assert _looks_of(source) >= LOOKS
    with obeying(_Looks(LOOKS)), pytest.raises(_Enough):
        Module(Engine(), source)


def test_nobody_looks_where_nothing_is_to_be_obeyed() -> None:
    looks = _Looks()
    with obeying(looks):
        pass
    Module(Engine(), f"(module {TEXTS['functions']})")
    assert looks.count == 0


def test_the_outer_limit_is_obeyed_again_after_the_inner() -> None:
    outer, inner = _Looks(), _Looks()
    with obeying(outer):
        with obeying(inner):
            pass
        Module(Engine(), f"(module {TEXTS['functions']})")
    assert outer.count >= LOOKS and inner.count == 0


# Functions are made when they are asked for, and C takes no time over indices.
QUICK = {("functions", "python"), ("an element segment", "native")}
LONG = [
    (name, engine)
    for name in ("functions", "globals", "an element segment", "exports")
    for engine in ENGINES
    if (name, engine) not in QUICK
]


@pytest.mark.parametrize(("name", "engine"), LONG)
def test_instantiation_looks(name: str, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = Module(Engine(Config(engine=engine)), f"(module {TEXTS[name]})")
    looks = _Looks()
    store = Store(module.engine)
    monkeypatch.setattr(store, "poll_time", looks)
    instantiate(store, module, {})
    assert looks.count >= LOOKS


@pytest.mark.parametrize("engine", ENGINES)
def test_lowering_inside_a_call_obeys_the_deadline(engine: str) -> None:
    body = "(local.set 0 (i32.add (local.get 0) (i32.const 3))) " * 60_000
    module = Module(Engine(Config(engine=engine)), f'(module (func (export "f") (local i32) {body}))')
    store = Store(module.engine)
    function = Instance(store, module, []).exports(store)["f"]
    store.set_deadline(0.002)
    with pytest.raises(Interrupted):
        function(store)
    store.set_deadline(None)
    # What was begun does no harm.
    assert function(store) is None


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_obeys_its_limit_while_it_reads(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "large.wat"
    path.write_text(f"(module {'(func (result i32) (i32.add (i32.const 1) (i32.const 2)))' * 100_000})")
    status = main(["run", "--engine", engine, "--timeout", "0.1", str(path)])
    assert status == 134
    assert "the time limit of 0.1 seconds is over" in capsys.readouterr().err


def test_equal_function_types_are_one_object() -> None:
    module = Module(Engine(), wat2wasm(f"(module {TEXTS['types']} (func (type 7)))"))
    assert len({id(group) for group in module.syntax.types}) == 1
    assert len(set(module.context.types)) == 1


def test_what_looks_equal_and_is_not_stays_apart() -> None:
    # Bytes that begin alike, types that name an index, and groups: each as it is written.
    source = wat2wasm(
        """(module (type $a (func)) (type (func (param (ref $a)))) (type $b (func (param i32)))
          (type (func (param i32) (result i32))) (type (func (param (ref $b))))
          (rec (type (func)) (type (func))) (type (func)))"""
    )
    types = Module(Engine(), source).context.types
    assert types[0] is types[7] and len(set(types)) == 7
