"""The two verdicts on a function body: of the compiled acceptor, and of the validator in Python."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from random import Random

from tinywasm.codec import instructions
from tinywasm.errors import DecodeError, ValidationError
from tinywasm.instructions import Feature
from tinywasm.matching import close_value
from tinywasm.syntax import DecodedModule, Expr, Function
from tinywasm.types import FuncType
from tinywasm.validation import validate
from tinywasm.validation.bodies import acceptor
from tinywasm.validation.code import validate_code
from tinywasm.validation.stack import Body

_UNREACHABLE = Expr(b"\x00\x0b", 0, 2)


class Verdicts:
    """On bodies in the place of those of `module`.

    Raises `ValidationError` or `DecodeError` where other parts of the module are wrong.
    """

    def __init__(self, module: DecodedModule, features: Collection[Feature]) -> None:
        functions = [Function(function.type, (), _UNREACHABLE) for function in module.functions]
        self._context = validate(replace(module, functions=functions), features)
        has_data_count = module.data_count is not None
        self._acceptor = acceptor(self._context, features, has_data_count)
        self._body = Body(self._context, features, has_data_count)

    def accepted(self, function: Function) -> bool:
        """Whether the acceptor is certain that the function is valid."""
        body = function.body
        return self._acceptor.accepts(function.type, function.locals, body.code, body.start, body.end)

    def valid(self, function: Function) -> bool:
        """Whether the validator in Python finds nothing wrong."""
        types = self._context.types
        functype = types[function.type].composite
        assert isinstance(functype, FuncType)
        try:
            locals = [(count, close_value(value, types)) for count, value in function.locals]
            self._body.begin(functype.params, functype.results, locals)
            validate_code(self._body, function.body)
        except (DecodeError, ValidationError):
            return False
        return True


def mutations(random: Random, function: Function, spare: Sequence[bytes], count: int) -> Iterator[Function]:
    """Variants of the function, each with a few bytes or instructions changed, from `spare` among others."""
    parts = split(function.body)
    for _ in range(count):
        if random.random() < 0.3:
            code = _change_bytes(random, function.body.bytes)
        else:
            code = _change_instructions(random, parts, spare)
        yield Function(function.type, function.locals, Expr(code, 0, len(code)))


def split(expr: Expr) -> list[bytes]:
    """The encodings of the instructions. Raises `DecodeError` where one is malformed."""
    starts = [position for position, _, _ in instructions(expr.code, expr.start, expr.end)]
    ends = [*starts[1:], expr.end]
    return [expr.code[start:end] for start, end in zip(starts, ends, strict=True)]


def _change_bytes(random: Random, code: bytes) -> bytes:
    changed = bytearray(code)
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(changed) + 1)
        new = bytes(
            random.choice((random.randrange(256), 0, 1, 0x7F, 0x80)) for _ in range(random.randrange(3))
        )
        changed[place : place + random.randrange(3)] = new
    return bytes(changed)


def _change_instructions(random: Random, parts: Sequence[bytes], spare: Sequence[bytes]) -> bytes:
    changed = list(parts[:-1])
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(changed) + 1)
        new = [random.choice(spare) for _ in range(random.randrange(3))]
        if random.random() < 0.4:
            # Behind it the stack is polymorphic, so that more is valid.
            new.insert(0, _UNREACHABLE.bytes[:1])
        changed[place : place + random.randrange(3)] = new
    return b"".join([*changed, *parts[-1:]])
