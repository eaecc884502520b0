"""What an operation makes of an enclave's answers, without a connection."""

from __future__ import annotations

import time

import pytest

from schannel.messages import ExportInfo, InfoResult
from schannel.types import FuncType
from tests.wasm_client.fakes import answering
from wasm_client.errors import ArgumentError


@pytest.mark.parametrize(("length", "hint"), [(50, "did you mean"), (150, "the program's functions")])
def test_a_function_that_is_missed_is_not_looked_for_long(length: int, hint: str) -> None:
    """A program chooses how many names it has, and how long they are."""
    exports = tuple(ExportInfo(f"{'a' * length}{number}", FuncType()) for number in range(5000))
    session = answering(lambda _: InfoResult("1.0.0", "native", ("main",), exports))
    session.functions()
    begun = time.monotonic()
    with pytest.raises(ArgumentError, match=hint):
        session.function("a" * length + "x")
    assert time.monotonic() - begun < 3
