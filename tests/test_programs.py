"""Programs of other compilers do on tinywasm what they do on wasmtime; `make programs` runs more of them."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from programs.catalogue import PROGRAMS, Absent
from programs.compare import Outcome, differences, outcomes
from tests.engines import ENGINES

pytestmark = pytest.mark.slow


@pytest.mark.skipif(importlib.util.find_spec("wasmtime") is None, reason="wasmtime is not installed")
@pytest.mark.parametrize("engine", ENGINES)
def test_go(engine: str, tmp_path: Path) -> None:
    try:
        found = outcomes(PROGRAMS[0], tmp_path, engine)
    except Absent as reason:
        pytest.skip(str(reason))
    assert not differences(found["tinywasm"], found["wasmtime"])
    assert found["tinywasm"].stdout == b"hello from Go 2\n"
    assert found["tinywasm"].status == 7
    assert found["tinywasm"].files == {"out.txt": b"written by Go\n"}


def test_every_difference_is_told() -> None:
    one = Outcome(b"out", 0, {"a": b"1", "b": b"2"}, b"", 1.0)
    assert differences(one, replace(one, seconds=2.0)) == []
    assert differences(one, replace(one, stdout=b"")) == ["stdout"]
    assert differences(one, replace(one, stderr=b"x", status=1)) == ["stderr", "status"]
    assert differences(one, replace(one, files={"a": b"0", "c": b""})) == ["file a", "file b", "file c"]
