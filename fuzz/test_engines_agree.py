"""Both engines do the same with generated modules: results, traps, memories, globals, tables and fuel."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import agree, machine_code
from fuzz.agree import (
    Case,
    check,
    check_amounts,
    check_auto,
    check_compiled,
    check_interrupts,
    check_mixture,
)
from fuzz.engines import PLENTY, difference, load, run
from fuzz.generator import Generated, generate, generated_modules
from fuzz.hot import AT_ONCE, hot_after
from fuzz.machine_code import compiled_with, compiles
from fuzz.profiles import generated_cases, windowed_cases
from fuzz.small_windows import small_windows
from tinywasm.binary import decode
from tinywasm.codec import instructions
from tinywasm.engine import native_available
from tinywasm.instructions import TABLE
from tinywasm.module import Module

needs_both = pytest.mark.skipif(not native_available, reason="the native engine is not built")


@needs_both
@generated_cases
@given(generated_modules())
def test_engines_agree(generated: Generated) -> None:
    check(Case(generated))


@needs_both
@windowed_cases
@given(generated_modules(), st.integers(4, 80))
def test_engines_agree_where_operands_are_seen_through_windows(generated: Generated, slots: int) -> None:
    with small_windows(slots):
        check(Case(generated))


needs_llvm = pytest.mark.skipif(not compiles, reason="nothing is compiled without the extension and llvmlite")


@needs_llvm
@pytest.mark.parametrize("seed", range(8))
def test_compiled_functions_agree(seed: int) -> None:
    case = Case(generate(seed))
    check_compiled(case)
    # Some of them are.
    from tinywasm.engine.native import kept

    (machine,) = kept.shared(case.module.context).machine.values()
    assert machine.codes


@needs_llvm
@pytest.mark.parametrize("seed", range(8, 16))
def test_functions_agree_that_are_compiled_while_they_run(seed: int) -> None:
    check_auto(Case(generate(seed)))


@needs_llvm
def test_functions_agree_that_are_entered_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: Counter[str] = Counter()
    for name in ("enter", "enter_loop"):
        method = getattr(machine_code, name)

        def counted(*arguments: Any, name: str = name, method: Any = method) -> None:
            entered[name] += 1
            method(*arguments)

        monkeypatch.setattr(machine_code, name, counted)
    with compiled_with("QUICK"):
        for seed in range(16, 32):
            check_mixture(Case(generate(seed)))
    assert entered["enter"] > 10 and entered["enter_loop"] > 5


@needs_both
def test_those_functions_become_python_source_that_are_chosen() -> None:
    case, chosen = Case(generate(3)), itertools.cycle((True, False))
    with hot_after(AT_ONCE, lambda: next(chosen)):
        case.agrees("python", PLENTY)
    translated = {key[0] for key in case.module.context.compiled["source"].made}
    assert 1 < len(translated) < len(case.module.syntax.functions) - 1


@needs_both
def test_a_store_is_usable_after_an_interrupt() -> None:
    assert sum(check_interrupts(Case(generate(seed))) for seed in range(8)) > 4


@needs_both
def test_engines_agree_where_fuel_runs_out() -> None:
    # The second module uses less than most.
    assert all(check_amounts(Case(generate(seed))) > 10 for seed in (5, 63))


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


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the command needs to fork")


@needs_both
@needs_fork
def test_the_command_says_how_many_agree(capsys: pytest.CaptureFixture[str]) -> None:
    assert agree.main(["--from", "1000", "8"]) == 0
    assert capsys.readouterr().out.startswith("8 of 8 agree, ")


def differ(seed: int) -> None:
    if seed == 5:
        raise AssertionError("they differ")


def crash(seed: int) -> None:
    if seed == 5:
        os.abort()


@needs_both
@needs_fork
@pytest.mark.parametrize(("what", "words"), [(differ, "they differ"), (crash, "ended by SIGABRT")])
def test_the_command_names_the_first_seed_that_does_not_agree(
    what: Callable[[int], None],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agree, "check_seed", what)
    assert agree.main(["--from", "2", "50"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told == [f"3 agree; then seed 5, windows of 0: {words}", "go on with --from 6"]
