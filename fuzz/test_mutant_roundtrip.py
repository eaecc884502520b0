"""A mutant that is valid survives the encoder and the printer as the modules of the suite do."""

from __future__ import annotations

from hypothesis import assume, given

from fuzz.corpus import FEATURES
from fuzz.mutations import damaged_binaries, damaged_texts
from fuzz.profiles import cases
from fuzz.structure import changed_modules
from roundtrip import check_module, check_text, through_text
from tinywasm import binary, text
from tinywasm.errors import WasmError
from tinywasm.validation import validate

# Text spells every local out; from a million on the printer refuses to.
_MOST_LOCALS = 10_000


def _is_valid(data: bytes) -> bool:
    """Whether the module is valid and its text of reasonable length."""
    try:
        module = binary.decode(data, FEATURES)
        validate(module, FEATURES)
    except WasmError:
        return False
    return all(sum(count for count, _ in func.locals) <= _MOST_LOCALS for func in module.functions)


@cases
@given(changed_modules() | damaged_binaries())
def test_binary(data: bytes) -> None:
    assume(_is_valid(data))
    check_module(data, FEATURES)
    check_text(data, FEATURES)


@cases
@given(damaged_texts())
def test_text(source: str) -> None:
    try:
        data = binary.encode(text.parse_module(source))
    except WasmError:
        return
    if _is_valid(data):
        check_module(data, FEATURES)
        assert through_text(data, FEATURES) == data
