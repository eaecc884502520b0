"""The measured packages come from the measured bytes, and from nowhere else."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from schannel.measurement import canonical_archive
from wasm_rt.loader import DependencyFinder, MeasuredFinder

FILES = {
    "measured_a/__init__.py": b"from . import inner\nwhere = 'measured'\n",
    "measured_a/inner.py": b"value = 1\n\ndef fail():\n    raise ValueError('here')\n",
    "NOTE": b"not a package",
}


@pytest.fixture
def finder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MeasuredFinder]:
    folder = tmp_path / "measured_a"
    folder.mkdir()
    (folder / "__init__.py").write_text("where = 'path'\n")
    (folder / "extra.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    finder = MeasuredFinder([canonical_archive(FILES), canonical_archive({"measured_b/__init__.py": b""})])
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    yield finder
    for name in [name for name in sys.modules if name.startswith("measured_")]:
        del sys.modules[name]


def test_measured_files_come_first(finder: MeasuredFinder) -> None:
    module = importlib.import_module("measured_a")
    assert module.where == "measured"
    assert module.inner.value == 1
    assert finder.packages == {"measured_a", "measured_b"}


def test_nothing_else_of_a_measured_package_is_found(finder: MeasuredFinder) -> None:
    assert importlib.util.find_spec("measured_a") is not None
    with pytest.raises(ModuleNotFoundError, match="in the measured files"):
        importlib.import_module("measured_a.extra")


def test_other_names_are_left_to_others(finder: MeasuredFinder) -> None:
    assert finder.find_spec("json", None) is None
    assert finder.find_spec("NOTE", None) is None


def test_tracebacks_name_the_measured_file(finder: MeasuredFinder) -> None:
    inner = importlib.import_module("measured_a.inner")
    with pytest.raises(ValueError) as caught:
        inner.fail()
    assert str(caught.traceback[-1].path).endswith("<measured>/measured_a/inner.py")


@pytest.mark.skipif(sys.platform != "linux", reason="compiled modules are loaded from memory on Linux")
def test_compiled_module_is_loaded_from_memory() -> None:
    spec = importlib.util.find_spec("_testmultiphase") or importlib.util.find_spec("_testbuffer")
    if spec is None or spec.origin is None or not spec.origin.endswith(".so"):
        pytest.skip("this Python has no compiled test module")
    entry = f"{spec.name}{EXTENSION_SUFFIXES[0]}"
    finder = MeasuredFinder(
        [canonical_archive({entry: Path(spec.origin).read_bytes(), f"{spec.name}/x": b""})]
    )
    found = finder.find_spec(spec.name, None)
    assert found is not None and found.origin is not None and found.origin.startswith("/proc/self/fd/")
    module = importlib.util.module_from_spec(found)
    assert module.__name__ == spec.name


def test_dependencies_are_the_listed_ones_only() -> None:
    import Crypto

    finder = DependencyFinder({"Crypto": str(Path(Crypto.__file__).parent)})
    spec = finder.find_spec("Crypto", None)
    assert spec is not None and spec.origin == Crypto.__file__
    assert finder.find_spec("hypothesis", None) is None
