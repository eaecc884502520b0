"""The measured packages come from the measured bytes, and from nowhere else."""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import importlib.util
import mmap
import os
import py_compile
import socket
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import cast

import pytest

from schannel.measurement import canonical_archive
from wasm_rt import loader
from wasm_rt.loader import MeasuredFinder, StandardLibraryOnly, sealed_memory

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
    monkeypatch.syspath_prepend(tmp_path)
    finder = MeasuredFinder([FILES, {"measured_b/__init__.py": b""}])
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    yield finder
    for name in [name for name in sys.modules if name.startswith("measured_")]:
        del sys.modules[name]


def test_measured_files_come_first(finder: MeasuredFinder) -> None:
    module = importlib.import_module("measured_a")
    assert module.where == "measured"
    assert module.inner.value == 1
    assert finder.packages == {"measured_a", "measured_b"}


@pytest.mark.parametrize("file", ["extra.py", "extra.pyc", "extra/__init__.py", "extra/__init__.pyc"])
def test_nothing_else_of_a_measured_package_is_found(
    finder: MeasuredFinder, tmp_path: Path, file: str
) -> None:
    assert importlib.util.find_spec("measured_a") is not None
    source, planted = tmp_path / "source.py", tmp_path / "measured_a" / file
    source.write_text("")
    planted.parent.mkdir(exist_ok=True)
    py_compile.compile(str(source), str(planted)) if file.endswith("c") else planted.write_text("")
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
    finder = MeasuredFinder([{entry: Path(spec.origin).read_bytes()}])
    assert finder.packages == {spec.name}
    found = finder.find_spec(spec.name, None)
    assert found is not None and found.origin is not None and found.origin.startswith("/proc/self/fd/")
    module = importlib.util.module_from_spec(found)
    assert module.__name__ == spec.name


@pytest.mark.skipif(sys.platform != "linux", reason="files in memory are sealed on Linux")
def test_what_is_in_memory_cannot_be_changed() -> None:
    descriptor = sealed_memory("name", b"content")
    try:
        assert os.read(descriptor, 100) == b"content"
        for change in (
            lambda: os.pwrite(descriptor, b"C", 0),
            lambda: os.ftruncate(descriptor, 3),
            lambda: os.ftruncate(descriptor, 9999),
            lambda: mmap.mmap(descriptor, 7),
            lambda: fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE),
        ):
            with pytest.raises(PermissionError):
                change()
    finally:
        os.close(descriptor)


def test_libraries_without_an_import_come_from_the_measured_files(tmp_path: Path) -> None:
    files = {"Crypto/Cipher/_raw_aes.abi3.so": b"elf"}
    finder = MeasuredFinder([files])
    path = finder.library("Crypto/Cipher/_raw_aes.abi3.so")
    assert Path(path).read_bytes() == b"elf"
    assert finder.library("Crypto/Cipher/_raw_aes.abi3.so") == path
    assert finder.library("Crypto/Cipher/_raw_des.abi3.so") == ""


def test_only_the_standard_library_is_found_beside_the_measured_files() -> None:
    finder = StandardLibraryOnly()
    for name in ("json", "os.path", "encodings.idna", "_socket"):
        finder.find_spec(name, None)
    for name in ("sitecustomize", "cffi", "gmpy2", "hypothesis.strategies", "json_", "__pycache__"):
        with pytest.raises(ModuleNotFoundError, match="is measured"):
            finder.find_spec(name, None)


CRYPTO = canonical_archive({"Crypto/__init__.py": b"version_info = (1,)\n"})
OTHER = canonical_archive({"Crypto/__init__.py": b"version_info = (2,)\n"})


@pytest.mark.skipif(sys.platform != "linux", reason="packages are handed over in memory on Linux")
@pytest.mark.parametrize(
    ("listed", "given", "message"),
    [
        ({"Crypto": CRYPTO}, {"Crypto": OTHER}, "Crypto is not the one"),
        ({"Crypto": CRYPTO}, {"Crypto": CRYPTO + b"\0"}, "Crypto is not the one"),
        ({"Crypto": CRYPTO}, {"Crypto": CRYPTO, "more": OTHER}, "more is not the one"),
        ({"Crypto": CRYPTO, "more": OTHER}, {"Crypto": CRYPTO}, "not given: more"),
    ],
)
def test_other_packages_than_the_measured_ones_are_refused(
    listed: dict[str, bytes], given: dict[str, bytes], message: str
) -> None:
    lines = "".join(f"{name} {hashlib.sha3_512(archive).hexdigest()}\n" for name, archive in listed.items())
    descriptors = {name: sealed_memory(name, archive) for name, archive in given.items()}
    found = list(sys.meta_path)
    with pytest.raises(RuntimeError, match=message):
        loader.main(
            cast(socket.socket, None),
            b"",
            canonical_archive({}),
            canonical_archive({"DEPENDENCIES": lines.encode()}),
            b"{}",
            descriptors,
        )
    assert sys.meta_path == found
    for descriptor in descriptors.values():
        os.close(descriptor)


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"junk",
        CRYPTO[:-1],
        CRYPTO + b"\0",
        CRYPTO[1:],
        CRYPTO.replace(b"PK\1\2", b"PK\1\0"),
        CRYPTO.replace(b"PK\3\4", b"PK\3\0"),
        CRYPTO.replace(b"PK\1\2\x14\3\x14\0\0\0\0\0", b"PK\1\2\x14\3\x14\0\0\0\x08\0"),
    ],
)
def test_archives_of_another_form_are_refused(archive: bytes) -> None:
    with pytest.raises(RuntimeError, match="not in canonical form"):
        loader.unpacked(archive)
