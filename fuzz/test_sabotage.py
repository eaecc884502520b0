"""A harmful sabotage of the lowering is found, the source as it is passes, and each entry fits the source."""

from __future__ import annotations

import os

import pytest

from fuzz import sabotage
from fuzz.sabotages import SABOTAGES, Sabotage
from tinywasm.engine import native_available

pytestmark = pytest.mark.skipif(
    not native_available or not hasattr(os, "fork"), reason="needs the native engine, and to fork"
)
# An operand that stands for a local is not moved before the local changes.
HARMFUL = Sabotage("ir.operands", "assign", "if self.height > self.settled:", "if False:")
# The python engine has the parameters alone as locals.
HARMFUL_TO_PYTHON = Sabotage(
    "python.bind", "bind", "default_value(type)] * count", "default_value(type)] * 0"
)
# There is no such word, as is seen when the tables are made.
IMPOSSIBLE = Sabotage("native.rare", "", 'OPCODES["wide_memory"]', 'OPCODES["no_such_word"]')
# A comment is not missed.
HARMLESS = Sabotage("ir.operands", "assign", "operands that stand for its old value", "operands")


def test_the_harmful_ones_are_found_and_the_harmless_one_is_not() -> None:
    cases = [case for case, _ in zip(sabotage.cases(), range(2), strict=False)]
    assert "generate(0), native" in sabotage.found_by(cases, HARMFUL)
    assert "IndexError" in sabotage.found_by(cases, HARMFUL_TO_PYTHON)
    assert "no_such_word" in sabotage.found_by(cases, IMPOSSIBLE)
    assert sabotage.found_by(cases, HARMLESS) == ""


@pytest.mark.parametrize("each", SABOTAGES, ids=lambda each: each.name)
def test_each_sabotage_is_of_one_place_in_the_source(each: Sabotage) -> None:
    compile(sabotage.sabotaged(each), each.module, "exec")


def test_the_place_has_to_be_there_once() -> None:
    for old in ("not there at all", "self"):
        with pytest.raises(ValueError, match="places have this text"):
            sabotage.sabotaged(Sabotage("ir.operands", "assign", old, ""))
