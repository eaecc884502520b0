"""Both engines do the same with generated modules: results, traps, memories, globals, tables and fuel."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.engines import PLENTY, difference, load, run
from fuzz.generator import Generated, generate, generated_modules
from fuzz.profiles import generated_cases, windowed_cases
from fuzz.small_windows import small_windows
from tinywasm.binary import decode
from tinywasm.code import instructions
from tinywasm.engine import native_available
from tinywasm.instance import Module
from tinywasm.instructions import TABLE

needs_both = pytest.mark.skipif(not native_available, reason="the native engine is not built")


def check(generated: Generated) -> None:
    """Raises `AssertionError` where the engines differ."""
    module = load(generated)
    seed = generated.seed
    python, native = (run(generated, module, engine, PLENTY) for engine in ("python", "native"))
    found = difference(python, native)
    assert not found, f"generate({seed}), metered: {found}"
    found = difference(native, run(generated, module, "native"), fuel=False)
    assert not found, f"generate({seed}), native, metered and not: {found}"
    if seed % 4 == 0:
        found = difference(python, run(generated, module, "python"), fuel=False)
        assert not found, f"generate({seed}), python, metered and not: {found}"
    bound = Random(seed).randrange(python.fuel + 1)
    python, native = (run(generated, module, engine, bound) for engine in ("python", "native"))
    found = difference(python, native)
    assert not found, f"generate({seed}), {bound} units of fuel: {found}"


@needs_both
@generated_cases
@given(generated_modules())
def test_engines_agree(generated: Generated) -> None:
    check(generated)


@needs_both
@windowed_cases
@given(generated_modules(), st.integers(4, 80))
def test_engines_agree_where_operands_are_seen_through_windows(generated: Generated, slots: int) -> None:
    with small_windows(slots):
        check(generated)


@needs_both
@pytest.mark.parametrize("seed", range(20))
def test_a_module_runs_the_same_from_a_view(seed: int) -> None:
    """As enclaves get modules: views of what was received."""
    generated = generate(seed)
    module = load(generated)
    features = module.engine.config.features
    viewed = Module.from_decoded(module.engine, decode(memoryview(bytearray(generated.data)), features))
    for engine in ("python", "native"):
        found = difference(run(generated, module, engine), run(generated, viewed, engine))
        assert not found, f"generate({seed}), {engine}, from a view: {found}"


def test_the_generator_reaches_every_instruction() -> None:
    seen: Counter[int] = Counter()
    for seed in range(400):
        for function in load(generate(seed)).syntax.functions:
            body = function.body
            seen.update(row.ordinal for _, row, _ in instructions(body.code, body.start, body.end))
    assert not [row.name for row in TABLE if not seen[row.ordinal]]


def test_a_seed_gives_always_the_same_module() -> None:
    assert generate(7).data == generate(7).data
