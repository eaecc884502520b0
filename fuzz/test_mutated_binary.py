"""Modules whose bytes were damaged."""

from __future__ import annotations

from hypothesis import given

from fuzz.limits import Examiner
from fuzz.mutations import damaged_binaries
from fuzz.profiles import cases


@cases
@given(damaged_binaries())
def test_damaged_binary(examiner: Examiner, data: bytes) -> None:
    examiner.check(data)
