"""A damaged serialized module is refused, and a forged one is as good as the module in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.corpus import binaries
from fuzz.mutations import damaged, damaged_binaries
from fuzz.profiles import acceptance_cases, cases
from fuzz.test_execution import engine_of, outcomes
from tinywasm import Module, WasmError
from tinywasm.artifact import pack
from tinywasm.engine import native_available

ENGINES = ["python", *["native"] * native_available]


@st.composite
def damaged_artifacts(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A serialized module, before and after."""
    whole = pack(draw(binaries()), engine_of("python").config.features)
    return whole, damaged(draw, whole)


@cases
@given(damaged_artifacts())
def test_damaged_artifact(artifacts: tuple[bytes, bytes]) -> None:
    whole, changed = artifacts
    if changed != whole:
        with pytest.raises(WasmError, match="serialized"):
            Module.deserialize(engine_of("python"), changed)


@pytest.mark.parametrize("engine", ENGINES)
@acceptance_cases
@given(damaged_binaries())
def test_forged_artifact(engine: str, binary: bytes) -> None:
    """Its maker knows how to make the checksum right."""
    features = engine_of(engine).config.features
    forged = outcomes(engine, pack(binary, features), Module.deserialize)
    assert list(forged) == list(outcomes(engine, binary))
