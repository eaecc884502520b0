"""Engines register themselves, and nothing outside of their package names one."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import tinywasm
from tinywasm import Config, Engine, Store
from tinywasm.cli import main
from tinywasm.engine import IMPLEMENTATIONS, Implementation, backend
from tinywasm.engine.python.backend import PythonBackend

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tinywasm" / "engine"
# Users may ask for it by this name.
PUBLIC = {"native_available"}


def sources() -> list[Path]:
    """What must not know engines by their names."""
    ours = [path for path in (ROOT / "tinywasm").rglob("*.py") if PACKAGE not in path.parents]
    return [*ours, *(ROOT / "enclave" / "wasm_rt").rglob("*.py")]


def named(path: Path) -> Iterator[str]:
    """The engines that a file names: in imports, as strings, and as parts of identifiers."""
    # That is a language, too.
    in_identifiers = IMPLEMENTATIONS.keys() - {"python"}
    for node in ast.walk(ast.parse(path.read_text())):
        found: list[str] = []
        if isinstance(node, ast.ImportFrom):
            words = [*(node.module or "").split("."), *(name.name for name in node.names)]
            found = [word for word in words if word in IMPLEMENTATIONS]
        elif isinstance(node, ast.Import):
            words = [part for name in node.names for part in name.name.split(".")]
            found = [word for word in words if word in IMPLEMENTATIONS]
        elif isinstance(node, ast.Constant) and node.value in IMPLEMENTATIONS:
            found = [str(node.value)]
        elif isinstance(node, ast.Attribute | ast.Name):
            word = node.attr if isinstance(node, ast.Attribute) else node.id
            if word not in PUBLIC and in_identifiers & set(word.lower().split("_")):
                found = [word]
        for word in found:
            yield f"{path.relative_to(ROOT)}: {word}"


def test_nothing_outside_names_an_engine() -> None:
    assert len(sources()) > 100
    assert [place for path in sources() for place in named(path)] == []


def test_the_check_sees_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_engine_interface.ROOT", tmp_path)
    path = tmp_path / "user.py"
    path.write_text(
        "from tinywasm.engine.native import _loop\nimport tinywasm.engine.python\n"
        "_native_call = 1\nstore.native.call()\nengine == 'python'\nplatform.python_version()\n"
    )
    assert sorted(place.rpartition(": ")[2] for place in named(path)) == [
        "_native_call", "native", "native", "python", "python",
    ]  # fmt: skip


def test_every_folder_of_an_engine_is_registered() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/backend.py")}
    assert folders == set(IMPLEMENTATIONS)


class ThirdBackend(PythonBackend):
    name = "third"


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch) -> Implementation:
    implementation = Implementation("third", lambda: ThirdBackend)
    monkeypatch.setitem(IMPLEMENTATIONS, "third", implementation)
    return implementation


ADD = """(module (func (export "add") (param i32 i32) (result i32)
  (i32.add (local.get 0) (local.get 1))))"""


def test_one_more_engine_can_be_chosen(
    third: Implementation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(Engine(Config(engine="third")))
    assert tinywasm.instantiate(ADD, store=store).exports.add(1, -3) == -2
    assert backend(store).name == "third"
    path = tmp_path / "add.wat"
    path.write_text(ADD)
    assert main(["run", "--engine", "third", str(path), "--invoke", "add", "1", "1"]) == 0
    assert capsys.readouterr().out == "2\n"


def test_the_version_tells_which_engines_there_are(
    third: Implementation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in list(IMPLEMENTATIONS):
        missing = "no tool for it" if name == "third" else ""
        monkeypatch.setitem(IMPLEMENTATIONS, name, replace(IMPLEMENTATIONS[name], missing=missing))
    with pytest.raises(SystemExit):
        main(["--version"])
    told = " ".join(capsys.readouterr().out.split())
    assert "; native and python engine, no third one: no tool for it)" in told


def test_an_engine_that_is_missing_is_passed_over_or_refused(
    third: Implementation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("native", "python"):
        monkeypatch.setitem(IMPLEMENTATIONS, name, replace(IMPLEMENTATIONS[name], missing="gone"))
    assert backend(Store(Engine(Config(engine="auto")))).name == "third"
    with pytest.raises(ValueError, match="the python engine is not available: gone"):
        backend(Store(Engine(Config(engine="python"))))


def test_importing_loads_no_engine_before_it_is_wanted() -> None:
    program = (
        "import sys, tinywasm\n"
        "print(*sorted(name for name in sys.modules if name.startswith('tinywasm.engine.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stdout.split()) - {"tinywasm.engine.native._loop", "tinywasm.engine.recursion"}
    assert loaded == {
        "tinywasm.engine.interface",
        "tinywasm.engine.native", "tinywasm.engine.native.digest",
        "tinywasm.engine.python",
    }  # fmt: skip
