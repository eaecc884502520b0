"""Extensions that were built from other sources than those beside them: their work is done in Python."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import schannel.extensions
import tinywasm.extensions
from tests import tampered
from tinywasm.extensions import STALE

NAMES = [
    "tinywasm.validation._bodies",
    "tinywasm.engine.native._loop",
    "tinywasm.engine.native.select",
    "tinywasm.engine.ir.operands",
    "tinywasm.engine.ir.build",
    "tinywasm.binary.columns",
]
# Adds two numbers, and tells which modules did what it takes.
PROGRAM = f"""
import sys
from tinywasm import Config, Engine, Instance, Module, Store, wat2wasm
source = '(func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)'
binary = wat2wasm(source + '(memory 1) (data (i32.const 0) "")')
store = Store(Engine(Config(engine=ENGINE)))
print(Instance(store, Module(store.engine, binary), []).exports(store)["add"](store, 1, 2))
print(*(name for name in {NAMES} if not getattr(sys.modules.get(name), "__file__", ".py").endswith(".py")))
"""


def _built(name: str) -> bool:
    found = importlib.util.find_spec(name)
    return found is not None and not str(found.origin).endswith(".py")


pytestmark = pytest.mark.skipif(not all(map(_built, NAMES)), reason="the extensions were not built")


def _run(place: Path, engine: str) -> tuple[str, list[str], str]:
    """What the function gives, which extensions there are by then, and what was said."""
    done = tampered.run(PROGRAM.replace("ENGINE", repr(engine)), place)
    result, extensions = (*done.stdout.splitlines(), "", "")[:2]
    return result, extensions.split(), done.stderr


@pytest.mark.parametrize(
    "removed", ((), ("*.pyx", "*.pxd", "*.pxi", "*.[ch]")), ids=["checkout", "installed"]
)
def test_current_ones_are_used(tmp_path: Path, removed: tuple[str, ...]) -> None:
    made = tampered.package("tinywasm", tmp_path)
    for pattern in removed:
        for path in made.rglob(pattern):
            path.unlink()
    assert _run(tmp_path, "native") == ("3", NAMES, "")


@pytest.mark.parametrize("source", ("_loop.pyx", "store.pxi", "loop.c", "native.h", "dispatch.h"))
def test_a_stale_loop_is_refused(tmp_path: Path, source: str) -> None:
    tampered.package("tinywasm", tmp_path, f"engine/native/{source}")
    result, extensions, said = _run(tmp_path, "auto")
    assert (result, said) == ("3", "")
    assert "tinywasm.engine.native._loop" not in extensions
    *_, error = _run(tmp_path, "native")
    assert error.endswith(f"ValueError: the native engine is not available: {STALE}\n")


def test_a_loop_that_lost_a_source_is_refused(tmp_path: Path) -> None:
    (tampered.package("tinywasm", tmp_path) / "engine/native/bulk.c").unlink()
    *_, error = _run(tmp_path, "native")
    assert error.endswith(f"ValueError: the native engine is not available: {STALE}\n")


@pytest.mark.parametrize(
    "source, stale",
    (
        ("engine/native/select.py", ["engine.native.select"]),
        ("engine/native/select.pxd", ["engine.native.select"]),
        ("engine/ir/build.py", ["engine.ir.build"]),
        ("engine/ir/operands.py", ["engine.ir.operands"]),
        ("engine/ir/operands.pxd", ["engine.ir.operands", "engine.ir.build"]),
        ("binary/columns.py", ["binary.columns"]),
        ("binary/columns.pxd", ["binary.columns"]),
        ("validation/bodies.c", ["validation._bodies"]),
        ("validation/_bodies.pyx", ["validation._bodies"]),
    ),
)
def test_where_others_are_stale_python_does_their_work(tmp_path: Path, source: str, stale: list[str]) -> None:
    tampered.package("tinywasm", tmp_path, source)
    result, extensions, said = _run(tmp_path, "native")
    assert result == "3"
    # Those that are compiled as they are reach into each other.
    lost = (
        stale
        if len(source.split("/")) == 2
        else ["engine.native.select", "engine.ir.operands", "engine.ir.build"]
    )
    assert extensions == [name for name in NAMES if name.removeprefix("tinywasm.") not in lost]
    assert [line.partition("Warning: ")[2] for line in said.splitlines() if "Warning: " in line] == [
        f"tinywasm.{name}: {STALE}; until then Python does its work" for name in stale
    ]


def test_both_packages_tell_it_alike() -> None:
    first, second = (
        Path(str(each.__file__)).read_text() for each in (tinywasm.extensions, schannel.extensions)
    )
    assert first == second
