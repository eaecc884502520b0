"""The columns of the native engine's words: whatever the loop takes for a slot is one to the verifier."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ROOT / "tinywasm" / "engine" / "native"
sys.path.insert(0, str(ROOT / "tools"))

import gen_loop  # noqa: E402
import words  # noqa: E402

WORDS = {**words.HAND, **{name: arm.word for name, arm in gen_loop.arms().items()}}
_SLOT = re.compile(r"(?:\b(?:R|W)(?:32|64|F32|F64|V)\(|\bREF(?:ERENCES)?\(|fp\[|fp \+ )pc->(\w+)")


def arms() -> dict[str, str]:
    """The C of each opcode but of those that do two words."""
    source = (NATIVE / "dispatch.h").read_text() + (NATIVE / "loop.c").read_text().partition("int tw_run")[2]
    found = {}
    for name, text in re.findall(r"^ *OP\((\w+)\)(.*?)(?=^ *OP\(|^\w+:|\Z)", source, re.M | re.S):
        if "__then__" not in name:
            found[name] = text
    return found


ARMS = arms()


def test_every_opcode_has_columns_and_an_arm() -> None:
    assert set(WORDS) == set(ARMS)


@pytest.mark.parametrize("name", ARMS)
def test_what_is_used_as_a_slot_is_one(name: str) -> None:
    word = WORDS[name]
    for field in _SLOT.findall(ARMS[name]):
        if field == "imm":
            assert word.immediate in ("slot", "slots", "place", "start", "shift")
        else:
            column = getattr(word, field)
            assert isinstance(column, tuple) and column[0], (name, field)


@pytest.mark.parametrize("name", WORDS)
def test_what_indexes_a_space_of_the_module_is_an_index(name: str) -> None:
    spaces = {
        "funcs": "function",
        "memories": "memory",
        "tables": "table",
        "globals": "global",
        "tags": "tag",
        "datas": "data",
        "elems": "elem",
    }
    for space in re.findall(r"instance->(\w+)\[[^\]]*imm", ARMS[name]):
        kind = WORDS[name].immediate
        if space == "types":
            assert kind.split("_")[0] in ("signature", "structure", "array", "heap")
        else:
            assert spaces[space] in kind.replace("global_set", "global").split("_"), (name, space, kind)
