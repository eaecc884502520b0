"""We accept the same modules as an independent validator, wasmtime's."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from hypothesis import event, given

from fuzz.corpus import FEATURES
from fuzz.mutations import damaged_binaries
from fuzz.profiles import acceptance_cases
from fuzz.structure import changed_modules
from tinywasm import binary
from tinywasm.errors import WasmError
from tinywasm.validation import validate

pytest.importorskip("wasmtime", reason="wasmtime has no wheel for every system")
import wasmtime

from fuzz.wasmtime_oracle import ENGINE


@dataclass(frozen=True, slots=True)
class Explained:
    """Two verdicts that may differ: patterns of the messages, "" for acceptance, and why."""

    ours: str
    theirs: str
    reason: str


EXPLAINED = [
    Explained(
        ours="",
        theirs=r"^too many locals: locals exceed maximum",
        reason="section 7.3.1: the number of locals may be limited; wasmtime's limit is 50,000",
    ),
]


def _ours(data: bytes) -> str:
    """Our error, or nothing where we accept."""
    try:
        validate(binary.decode(data, FEATURES), FEATURES)
    except WasmError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _theirs(data: bytes) -> str:
    try:
        wasmtime.Module.validate(ENGINE, data)
    except wasmtime.WasmtimeError as error:
        return str(error)
    return ""


def _agree(data: bytes) -> None:
    ours, theirs = _ours(data), _theirs(data)
    if bool(ours) == bool(theirs):
        event("refused" if ours else "accepted")
        return
    explained = [item for item in EXPLAINED if _is(item.ours, ours) and _is(item.theirs, theirs)]
    assert explained, f"we: {ours or 'accepted'}; wasmtime: {theirs or 'accepted'}; {data.hex()}"
    event(explained[0].reason)


def _is(pattern: str, verdict: str) -> bool:
    return re.search(pattern, verdict) is not None if pattern else not verdict


@acceptance_cases
@given(changed_modules())
def test_changed_modules(data: bytes) -> None:
    _agree(data)


@acceptance_cases
@given(damaged_binaries())
def test_damaged_binaries(data: bytes) -> None:
    _agree(data)
