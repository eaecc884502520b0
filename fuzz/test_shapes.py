"""Functions of every shape do the same on both engines, however they are lowered, and in wasmtime.

They are also known to reach whatever the native engine can make of code.
"""

from __future__ import annotations

import pytest

from fuzz import profiles, reach, shape_runs
from fuzz.generator_shapes import FUNCTIONS, generate
from tinywasm.engine import native_available

pytestmark = pytest.mark.skipif(not native_available, reason="the native engine is not built")

# The way into machine code, which LLVM makes where it is asked to: tests/tinywasm/test_compiled.py and
# `fuzz.machine_code`.
NOT_RUN = ["compiled"]
# What the shapes do not reach of the lowering, with the reason.
UNREACHED = {
    # What machine code asks, to be entered in a loop: tests/tinywasm/test_auto.py.
    *(
        f"tinywasm/engine/native/select.py: {line}"
        for line in (
            "code = build(context, index, function)",
            "signature = context.funcs[index].composite",
            "assert isinstance(signature, FuncType)",
            "selector = Selector(context, code, Locals(signature.params, function.locals), metered, False)",
            "words = selector.run(sum(operands.widths(signature.results))).words",
            "return words, {selector.starts[block]: block for block in range(code.blocks)}",
        )
    ),
    # A million locals or operands: tests/tinywasm/test_limits.py and test_windows.py.
    'tinywasm/engine/ir/build.py: raise too_large(name, MAX_LOCALS, "locals")',
    'tinywasm/engine/ir/operands.py: raise too_large(self.name, MAX_OPERANDS, "operands at the same time")',
    "tinywasm/engine/ir/operands.py: return Trap(",
    # Functions without parameters that have many results: tests/tinywasm/test_rows.py.
    "tinywasm/engine/native/select.py: elif count: -> return slot",
    # Thousands of instructions without a loop, hundreds of labels in a table: test_interruption.py.
    "tinywasm/engine/python/bind.py: self.step(steps.poll, self.instance.store.backend)",
    "tinywasm/engine/ir/rare.py: look()",
}


@pytest.mark.parametrize("part", range(profiles.SHAPE_PARTS))
def test_engines_agree(part: int) -> None:
    for seed in range(part, profiles.shape_modules, profiles.SHAPE_PARTS):
        shape_runs.check(seed)


@pytest.mark.parametrize("part", range(profiles.SHAPE_PARTS))
def test_wasmtime_agrees(part: int) -> None:
    pytest.importorskip("wasmtime", reason="wasmtime has no wheel for every system")
    from fuzz import shape_oracle

    for seed in range(part, profiles.shape_oracle_modules, profiles.SHAPE_PARTS):
        shape_oracle.check(seed)


def test_every_word_of_the_native_engine_is_run() -> None:
    assert reach.missing_words() == NOT_RUN


def test_every_branch_of_the_lowering_is_taken() -> None:
    assert set(reach.missing_branches()) == UNREACHED


def test_a_seed_gives_always_the_same_functions() -> None:
    one, other = generate(3), generate(3)
    assert one.module == other.module and one.count == FUNCTIONS
