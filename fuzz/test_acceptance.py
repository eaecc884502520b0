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

# What wasmtime knows beyond WebAssembly 3.0 and our two proposals would be a disagreement.
_OFF = ("wasm_component_model", "wasm_stack_switching", "wasm_threads")
_ON = (
    "wasm_bulk_memory",
    "wasm_custom_page_sizes",
    "wasm_exceptions",
    "wasm_function_references",
    "wasm_gc",
    "wasm_memory64",
    "wasm_multi_memory",
    "wasm_multi_value",
    "wasm_reference_types",
    "wasm_relaxed_simd",
    "wasm_simd",
    "wasm_tail_call",
    "wasm_wide_arithmetic",
)


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


def _engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    for feature in _ON:
        setattr(config, feature, True)
    for feature in _OFF:
        setattr(config, feature, False)
    return wasmtime.Engine(config)


_ENGINE = _engine()


def _ours(data: bytes) -> str:
    """Our error, or nothing where we accept."""
    try:
        validate(binary.decode(data, FEATURES), FEATURES)
    except WasmError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _theirs(data: bytes) -> str:
    try:
        wasmtime.Module.validate(_ENGINE, data)
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
