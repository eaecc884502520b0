"""What `make sanitize` would run is there, and a part that is not there is refused."""

from __future__ import annotations

import runpy
import sys
from typing import Any

import pytest

from fuzz import sanitize
from fuzz.sanitize_parts import PARTS

LEAK = """Direct leak of 8 byte(s) in 1 object(s) allocated from:
    #0 0x7f in __interceptor_calloc asan_malloc_linux.cpp:77
    #1 0x7f in {function} {place}:5"""


@pytest.mark.parametrize("name", PARTS)
def test_the_files_of_each_part_are_there(name: str) -> None:
    files = [word for word in PARTS[name].arguments if word.startswith(("tests/", "fuzz/"))]
    assert all((sanitize.ROOT / word).exists() for word in files)


def test_a_part_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sanitize", "relay", "nothing"])
    with pytest.raises(SystemExit):
        sanitize.main()
    assert "there is no part 'nothing'; the parts are " in capsys.readouterr().err


def test_only_memory_that_our_code_lost_counts() -> None:
    ours = LEAK.format(function="allocate", place="tinywasm/engine/native/heap.c")
    theirs = LEAK.format(function="gc_alloc", place="Modules/gcmodule.c")
    assert sanitize.own_leaks([f"{theirs}\n\n{ours}\n\n{theirs}"]) == [ours]


def test_what_either_sanitizer_wrote_counts_from_there_on() -> None:
    undefined, address = "select.c:1:2: runtime error: shift", "==1==ERROR: AddressSanitizer: heap-use"
    texts = [f"passed\n{undefined}\n  #0", "passed", f"{address}\n  #0", LEAK]
    assert [text.splitlines()[0] for text in sanitize.errors_in(texts)] == [
        "runtime error: shift", "ERROR: AddressSanitizer: heap-use",
    ]  # fmt: skip


def test_the_extensions_are_those_that_setup_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("setuptools")
    pytest.importorskip("Cython", reason="without it there are no extensions")
    built: list[Any] = []
    monkeypatch.setattr("Cython.Build.cythonize", lambda extensions, **options: extensions)
    monkeypatch.setattr("setuptools.setup", lambda ext_modules: built.extend(ext_modules))
    monkeypatch.chdir(sanitize.ROOT)
    runpy.run_path("setup.py")
    assert {extension.name for extension in built} == set(sanitize.EXTENSIONS)
