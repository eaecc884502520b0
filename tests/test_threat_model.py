"""Every promise of the threat model names tests, and they exist."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.processes import ROOT

PAGE = (ROOT / "docs" / "threat-model.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| promise ")]
NAMED = re.compile(r"`((?:tests|fuzz)/[\w/]+\.py)::([\w:]+)`")


@cache
def names(path: str) -> frozenset[str]:
    """The tests of a file, those in classes with their class."""
    found = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
    return frozenset(found)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:50])
def test_every_promise_has_tests(row: str) -> None:
    promise, against, tests = row.strip("| ").split(" | ")
    assert promise and against
    named = NAMED.findall(tests)
    assert named and len(named) == tests.count("`") // 2
    for path, name in named:
        assert name.rpartition("::")[2].startswith("test_")
        assert name in names(path), f"{path} has no {name}"


def test_no_promise_is_made_twice() -> None:
    proofs = [frozenset(NAMED.findall(row.strip("| ").split(" | ")[2])) for row in ROWS]
    assert not [
        row for row, proof in zip(ROWS, proofs, strict=True) if any(proof < other for other in proofs)
    ]
    assert len(set(proofs)) == len(ROWS)


def test_there_are_promises() -> None:
    assert len(ROWS) > 25
