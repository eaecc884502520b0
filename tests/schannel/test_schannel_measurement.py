"""Measurements: the published value, canonical archives, and images built without importing anything."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest

from schannel.errors import LocalError
from schannel.extensions import record
from schannel.measurement import (
    EnclaveImage,
    build_image,
    canonical_archive,
    installed_image,
    measure,
    python_tag,
)
from schannel.packages import package_entries, package_folder, read_packages
from wasm_rt.loader import unpacked


def test_measure_pads_to_pages() -> None:
    sizes = (8192).to_bytes(8, "little") + (4096).to_bytes(8, "little") + bytes(8)
    pages = b"L" * 5000 + bytes(8192 - 5000) + b"R" * 4096
    assert measure(b"L" * 5000, b"R" * 4096, b"") == hashlib.sha3_512(sizes + pages).digest()
    assert measure(b"a", b"b", b"c") != measure(b"ab", b"", b"c")


def test_archives_depend_on_names_and_contents_only() -> None:
    first = canonical_archive({"b": b"2", "a": b"1"})
    assert first == canonical_archive({"a": b"1", "b": b"2"})
    assert first != canonical_archive({"a": b"1", "b": b"3"})
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.namelist() == ["a", "b"]
        assert archive.read("b") == b"2"
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Four small packages; importing any would raise."""
    native, fast = "loop" + EXTENSION_SUFFIXES[0], "fast" + EXTENSION_SUFFIXES[0]
    contents = {
        "tinywasm": {
            "__init__.py": "raise SystemExit",
            "engine/x.py": "1",
            native: "elf",
            "loop.c": "source",
        },
        "wasm_rt": {"__init__.py": "raise SystemExit", "loader.py": "load"},
        "schannel": {
            "__init__.py": "",
            "py.typed": "",
            "__pycache__/x.py": "stale",
            "x.so.bak": "",
            fast: "elf",
        },
        "dependency": {"__init__.py": "raise SystemExit"},
    }
    for package, files in contents.items():
        for name, text in files.items():
            path = tmp_path / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return {package: tmp_path / package for package in contents}


def _names(archive: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(archive)).namelist()


def _built(folders: dict[str, Path], *dependencies: str, **more: Any) -> EnclaveImage:
    packages = read_packages(folders)
    archives = {name: canonical_archive(packages[name]) for name in dependencies}
    return build_image(packages, dependencies=archives, **more)


def test_archives_are_what_zipfile_makes(tmp_path: Path) -> None:
    entries = {"b/ü.py": b"later", "a.py": b"x" * 100_000, "b/empty.py": b"", "a/é/€.py": b"\0\xff"}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            archive.writestr(info, entries[name])
    made = canonical_archive(entries)
    assert made == buffer.getvalue()
    assert unpacked(made) == EnclaveImage(b"", made, canonical_archive({})).files() == entries
    assert unpacked(canonical_archive({})) == {}


def test_what_an_archive_cannot_have(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="too large"):
        canonical_archive(dict.fromkeys(map(str, range(65_536)), b""))


def test_image_holds_what_python_can_import(folders: dict[str, Path]) -> None:
    image = _built(folders, "dependency")
    native, fast = "tinywasm/loop" + EXTENSION_SUFFIXES[0], "schannel/fast" + EXTENSION_SUFFIXES[0]
    assert image.loader == b"load"
    assert _names(image.runtime) == ["PYTHON", "tinywasm/__init__.py", "tinywasm/engine/x.py", native]
    assert _names(image.application) == [
        "DEPENDENCIES",
        "schannel/__init__.py",
        fast,
        "wasm_rt/__init__.py",
        "wasm_rt/loader.py",
    ]
    assert image.measurement() == measure(image.loader, image.runtime, image.application)
    python_only = _built(folders, native=False)
    assert native not in _names(python_only.runtime)
    assert fast not in _names(python_only.application)


def test_an_image_holds_no_extension_of_other_sources(tmp_path: Path) -> None:
    """An enclave has no sources to compare it with, and would fail at what has changed since."""
    package = tmp_path / "quick"
    package.mkdir()
    (package / "quick.pyx").write_text("answer = 41")
    (package / "quick.py").write_text("answer = 42")
    built = f"quick{EXTENSION_SUFFIXES[0]}"
    (package / built).write_bytes(b"code" + record(str(package), ["quick.pyx"]) + b"\0 code")
    assert set(package_entries("quick", package)) == {"quick/quick.py", f"quick/{built}"}
    (package / "quick.pyx").write_text("answer = 42")
    assert set(package_entries("quick", package)) == {"quick/quick.py"}


def test_any_change_gives_another_measurement(folders: dict[str, Path]) -> None:
    def measurement(python: str | None = None) -> bytes:
        return _built(folders, "dependency", python=python).measurement()

    seen = [measurement()]
    os.utime(folders["tinywasm"] / "__init__.py", (1, 1))
    (folders["tinywasm"] / "notes.txt").write_text("not code")
    assert measurement() == seen[0]
    assert measurement(python_tag()) == seen[0]
    seen.append(measurement("cpython-9.9.9"))
    for folder in folders.values():
        (folder / "new.py").write_text("")
        seen.append(measurement())
    (folders["wasm_rt"] / "loader.py").write_text("load otherwise")
    seen.append(measurement())
    assert len(set(seen)) == len(seen)


def test_missing_parts_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="no_such_package_here"):
        installed_image(dependencies=["no_such_package_here"])
    (folders["wasm_rt"] / "loader.py").unlink()
    with pytest.raises(LocalError, match=r"loader\.py"):
        _built(folders)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LocalError, match="no files"):
        package_entries("empty", tmp_path / "empty")


def test_symbolic_links_are_refused(folders: dict[str, Path]) -> None:
    (folders["schannel"] / "link.py").symlink_to(folders["wasm_rt"] / "loader.py")
    with pytest.raises(LocalError, match="symbolic link"):
        _built(folders)
    (folders["schannel"] / "link.py").unlink()
    (folders["schannel"] / "subpackage").symlink_to(folders["dependency"])
    with pytest.raises(LocalError, match="symbolic link"):
        _built(folders)


def test_packages_are_found_but_not_imported(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folders["dependency"].parent))
    assert Path(package_folder("dependency")) == folders["dependency"]
    assert "dependency" not in sys.modules
    with pytest.raises(LocalError, match="not installed"):
        package_folder("no_such_package_here")
    with pytest.raises(LocalError):
        package_folder("json.tool.nothing")


def test_an_installation_can_be_measured(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tinywasm", "wasm_rt"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(folders["dependency"].parent))
    image = installed_image(dependencies=["dependency"])
    assert image == installed_image(dependencies=["dependency"])
    assert len(image.measurement()) == 64
