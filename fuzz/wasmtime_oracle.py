"""wasmtime's compiler as an independent judge: an engine of our profile, and its traps in our words."""

from __future__ import annotations

import wasmtime

from tinywasm.errors import Trap, TrapCode, WasmException

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
    "wasm_relaxed_simd_deterministic",
    "wasm_simd",
    "wasm_tail_call",
    "wasm_wide_arithmetic",
    # The deterministic profile, which is ours: a computed NaN is the canonical one.
    "cranelift_nan_canonicalization",
)
# What wasmtime knows beyond WebAssembly 3.0 and our two proposals would be a disagreement.
_OFF = ("wasm_component_model", "wasm_stack_switching", "wasm_threads")
# Their words for a trap; the first that is found decides.
_WORDS = {
    "unreachable": TrapCode.UNREACHABLE,
    "out of bounds memory access": TrapCode.MEMORY_OUT_OF_BOUNDS,
    "undefined element: out of bounds table access": TrapCode.TABLE_OUT_OF_BOUNDS,
    "out of bounds array access": TrapCode.ARRAY_OUT_OF_BOUNDS,
    "uninitialized element": TrapCode.INDIRECT_CALL_TO_NULL,
    "indirect call type mismatch": TrapCode.BAD_SIGNATURE,
    "integer overflow": TrapCode.INTEGER_OVERFLOW,
    "integer divide by zero": TrapCode.INTEGER_DIVISION_BY_ZERO,
    "invalid conversion to integer": TrapCode.BAD_CONVERSION_TO_INTEGER,
    "null reference": TrapCode.NULL_REFERENCE,
    "null i31 reference": TrapCode.NULL_REFERENCE,
    "cast failure": TrapCode.CAST_FAILURE,
    "allocation size too large": TrapCode.ALLOCATION_TOO_LARGE,
    "GC heap out of memory": TrapCode.ALLOCATION_TOO_LARGE,
}


def _engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    for feature in _ON:
        setattr(config, feature, True)
    for feature in _OFF:
        setattr(config, feature, False)
    config.cranelift_opt_level = "none"
    return wasmtime.Engine(config)


ENGINE = _engine()


def our_kind(error: Trap | WasmException) -> TrapCode | str:
    """What one of our errors is to be compared as."""
    if isinstance(error, WasmException):
        return "thrown"
    code = error.code
    assert code is not None
    return code


def their_kind(error: Exception) -> TrapCode | str:
    """The same for one of wasmtime's; its text where that is unknown."""
    text = str(error)
    for words, code in _WORDS.items():
        if words in text:
            return code
    return "thrown" if "exception" in text else text
