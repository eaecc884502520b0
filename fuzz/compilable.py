"""Generates modules of the instructions that are compiled to machine code, so that most functions are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

from fuzz import generator_code, generator_control
from fuzz.generator import Generated, generate
from fuzz.generator_code import Body
from fuzz.generator_env import Env
from tinywasm.engine import native_available
from tinywasm.instructions import AT, Instruction
from tinywasm.types import F32, F64, I32, I64, V128, ValType

compiles = native_available and find_spec("llvmlite") is not None
_NUMBERS: list[ValType] = [I32, I64, F32, F64, V128]


def compilable(seed: int) -> Generated:
    """The module of a seed."""
    with _limited():
        return generate(seed)


@contextmanager
def _limited() -> Iterator[None]:
    """While it lasts, bodies have numbers, and no references, exceptions and tail calls."""
    numbers, references = generator_code.PRODUCERS
    replaced: list[tuple[Any, str, Any]] = [
        (Env, "value_type", lambda env: env.pick(_NUMBERS)),
        (generator_code, "CLOSED", _of_numbers(generator_code.CLOSED)),
        (generator_control, "CLOSED", _of_numbers(generator_code.CLOSED)),
        (generator_code, "WITHOUT_RESULT", _of_numbers(generator_code.WITHOUT_RESULT)),
        (generator_code, "BY_RESULT", _by_result()),
        (generator_code, "STATEMENTS", list(filter(_wanted, generator_code.STATEMENTS))),
        (generator_code, "PRODUCERS", (list(filter(_wanted, numbers)), references)),
        (generator_control, "_by_reference", _indirect),
        (generator_control, "try_block", _block),
        *((generator_control, name, lambda body: False) for name in ("_throw", "_throw_ref", "_tail_call")),
    ]
    with ExitStack() as stack:
        for holder, name, value in replaced:
            stack.enter_context(patch.object(holder, name, value))
        yield


def _indirect(body: Body, type: int, call: str, *, indirect: bool) -> None:
    """Through the table of functions, which may have another one there, or none."""
    env = body.env
    body.values(env.params(type))
    slots = [slot for slot, each in env.slots.get(0, {}).items() if each == type]
    if slots and env.chance(0.9):
        body.number_of(I32, env.pick(slots))
    else:
        body.small(I32, 8)
    body.emit("call_indirect", type, 0)


def _wanted(function: Callable[..., bool]) -> bool:
    return function.__module__ != "fuzz.generator_refs"


def _of_numbers(rows: list[Instruction]) -> list[Instruction]:
    return [row for row in rows if {*row.params, *row.results} <= {*_NUMBERS, AT}]


def _by_result() -> dict[ValType, list[Instruction]]:
    return {type: _of_numbers(rows) for type, rows in generator_code.BY_RESULT.items()}


def _block(body: Body, results: tuple[ValType, ...]) -> None:
    """In place of a `try_table`."""
    ready = body.open("block", results[0] if results else None, results)
    generator_control._fill(body, results)
    body.close(ready)
