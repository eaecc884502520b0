"""Programs of other compilers do on tinywasm what they do on wasmtime; `make programs` runs more of them."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from programs.catalogue import PROGRAMS, Absent
from programs.compare import WASMTIME, Outcome, differences, outcomes, ways

pytestmark = pytest.mark.slow


@pytest.mark.skipif(importlib.util.find_spec("wasmtime") is None, reason="wasmtime is not installed")
# To compile all of it takes minutes.
@pytest.mark.parametrize("way", [way for way in ways(PROGRAMS[0]) if way not in (WASMTIME, "compiled")])
def test_go(way: str, tmp_path: Path) -> None:
    try:
        found = outcomes(PROGRAMS[0], tmp_path, [way, WASMTIME])
    except Absent as reason:
        pytest.skip(str(reason))
    assert not differences(found[way], found[WASMTIME])
    assert found[way].stdout == b"hello from Go 2\n"
    assert found[way].status == 7
    assert found[way].files == {"out.txt": b"written by Go\n"}


def test_every_difference_is_told() -> None:
    one = Outcome(b"out", 0, {"a": b"1", "b": b"2"}, b"", 1.0)
    assert differences(one, replace(one, seconds=2.0)) == []
    assert differences(one, replace(one, stdout=b"")) == ["stdout"]
    assert differences(one, replace(one, stderr=b"x", status=1)) == ["stderr", "status"]
    assert differences(one, replace(one, files={"a": b"0", "c": b""})) == ["file a", "file b", "file c"]
