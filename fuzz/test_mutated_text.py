"""Modules whose source text was damaged."""

from __future__ import annotations

from hypothesis import given

from fuzz.limits import Examiner
from fuzz.mutations import damaged_texts
from fuzz.profiles import cases


@cases
@given(damaged_texts())
def test_damaged_text(examiner: Examiner, text: str) -> None:
    examiner.check(text)
