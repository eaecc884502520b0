"""Reads scripts: the grammar of the reference interpreter's README, section "Scripts".

Commands come one by one, and the modules in them stay unread until they run: what is malformed in one
concerns its own command only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from tinywasm import binary
from tinywasm.errors import ParseError
from tinywasm.syntax import DecodedModule
from tinywasm.text import literals, module_at, parse_module
from tinywasm.text.cursor import Cursor
from tinywasm.types import ANYREF, EXTERNREF, F32, F64, I32, I64, V128, AbstractHeap, NumType
from tinywasm.wast.commands import (
    Action,
    AssertFails,
    AssertModule,
    AssertReturn,
    Body,
    Command,
    DefineModule,
    Get,
    InstantiateModule,
    Invoke,
    ModuleSource,
    Perform,
    Register,
    Unreadable,
)
from tinywasm.wast.result_patterns import (
    EitherPattern,
    FunctionPattern,
    HostPattern,
    HostReference,
    NanPattern,
    NullPattern,
    NumberPattern,
    Pattern,
    ReferencePattern,
    Value,
    VectorPattern,
    from_bits,
)

_ON_MODULES = (
    "assert_malformed",
    "assert_malformed_custom",
    "assert_invalid",
    "assert_invalid_custom",
    "assert_unlinkable",
)
_COMMANDS = frozenset(
    {
        *("module", "register", "invoke", "get", "script", "input", "output"),
        *("assert_return", "assert_trap", "assert_exhaustion", "assert_exception", *_ON_MODULES),
    }
)
_FIELDS = frozenset(
    {
        *("type", "rec", "import", "func", "table", "memory", "global", "tag"),
        *("export", "start", "elem", "data"),
    }
)
_NUMBERS: dict[str, tuple[NumType, Callable[[str], int | None], int]] = {
    "i32.const": (I32, literals.parse_i32, 32),
    "i64.const": (I64, literals.parse_i64, 64),
    "f32.const": (F32, literals.parse_f32, 32),
    "f64.const": (F64, literals.parse_f64, 64),
}
_LANE_TYPES = {"i8": I32, "i16": I32, "i32": I32, "i64": I64, "f32": F32, "f64": F64}
_T = TypeVar("_T")
_NANS = ("nan:canonical", "nan:arithmetic")
_REFERENCES: dict[str, AbstractHeap] = {
    f"ref.{heap}": heap
    for heap in (
        AbstractHeap.ANY,
        AbstractHeap.EQ,
        AbstractHeap.I31,
        AbstractHeap.STRUCT,
        AbstractHeap.ARRAY,
        AbstractHeap.FUNC,
        AbstractHeap.EXTERN,
        AbstractHeap.EXN,
    )
}


def parse_script(text: bytes) -> Iterator[Command]:
    """The commands of a script. One that breaks the grammar comes as `Unreadable`; after one whose end
    cannot be told, nothing follows."""
    try:
        cursor = Cursor(text)
    except ParseError as error:
        yield Command(error.line, Unreadable(error))
        return
    if cursor.at_form(*_FIELDS):
        source = ModuleSource(None, "text", lambda _: parse_module(text))
        yield Command(cursor.line(cursor.index), DefineModule(source, True))
        return
    while not cursor.at_end():
        line, start = cursor.line(cursor.index), cursor.index
        try:
            yield Command(line, _command(cursor))
        except ParseError as error:
            yield Command(line, Unreadable(error))
            if not _recovered(cursor, start):
                return


def _recovered(cursor: Cursor, start: int) -> bool:
    """Leave the whole form at `start` behind, if it is one and has an end."""
    cursor.index = start
    if not cursor.take("("):
        return False
    try:
        cursor.skip_form()
    except ParseError:
        return False
    return True


def _command(cursor: Cursor) -> Body:
    cursor.expect("(")
    head = cursor.peek()
    if head == "module":
        return _module(cursor)
    if head in ("invoke", "get"):
        return Perform(_action(cursor))
    if head not in _COMMANDS:
        raise cursor.unexpected()
    cursor.advance()
    body = _rest(head, cursor)
    cursor.close()
    return body


def _rest(head: str, cursor: Cursor) -> Body:
    if head == "register":
        return Register(cursor.name(), cursor.identifier())
    if head == "assert_return":
        action = _open_action(cursor)
        return AssertReturn(action, _all(cursor, _pattern))
    if head == "assert_exception":
        return AssertFails(head, _open_action(cursor), "")
    if head in _ON_MODULES or (head == "assert_trap" and cursor.at_form("module")):
        return _assert_module(head, cursor)
    if head in ("assert_trap", "assert_exhaustion"):
        action = _open_action(cursor)
        return AssertFails(head, action, cursor.name())
    raise cursor.error(f"the script command {head} is not supported", cursor.index - 1)


def _all(cursor: Cursor, parse: Callable[[Cursor], _T]) -> list[_T]:
    items = []
    while cursor.peek() == "(":
        items.append(parse(cursor))
    return items


def _assert_module(head: str, cursor: Cursor) -> AssertModule:
    cursor.expect("(")
    body = _module(cursor)
    if isinstance(body, InstantiateModule):
        if head not in ("assert_trap", "assert_unlinkable"):
            raise cursor.error(f"{head} takes a module, not an instance")
        return AssertModule(head, body, cursor.name())
    return AssertModule(head, body.source, cursor.name())


def _module(cursor: Cursor) -> DefineModule | InstantiateModule:
    """A module whose `(` is behind the cursor; leaves its `)` behind."""
    cursor.expect("module")
    if cursor.take("instance"):
        body = InstantiateModule(cursor.identifier(), cursor.identifier())
        cursor.close()
        return body
    instantiate = not cursor.take("definition")
    start = cursor.index
    name = cursor.identifier()
    if cursor.take("binary"):
        data = cursor.strings()
        source = ModuleSource(name, "binary", lambda features: binary.decode(data, features))
        cursor.close()
    elif cursor.take("quote"):
        data = cursor.strings()
        source = ModuleSource(name, "quote", lambda _: parse_module(data))
        cursor.close()
    else:
        source = ModuleSource(name, "text", lambda _: _read_text(cursor, start))
        cursor.skip_form()
    return DefineModule(source, instantiate)


def _read_text(cursor: Cursor, start: int) -> DecodedModule:
    """The module from its identifier at token `start` on; the cursor comes back to where it is by now."""
    place, cursor.index = cursor.index, start
    try:
        return module_at(cursor)
    finally:
        cursor.index = place


def _open_action(cursor: Cursor) -> Action:
    cursor.expect("(")
    return _action(cursor)


def _action(cursor: Cursor) -> Action:
    """An action whose `(` is behind the cursor; leaves its `)` behind."""
    head = cursor.peek()
    if head not in ("invoke", "get"):
        raise cursor.unexpected()
    cursor.advance()
    instance, name = cursor.identifier(), cursor.name()
    action = Get(instance, name) if head == "get" else Invoke(instance, name, _all(cursor, _argument))
    cursor.close()
    return action


def _argument(cursor: Cursor) -> Value:
    cursor.expect("(")
    head = cursor.peek()
    if head in _NUMBERS:
        cursor.advance()
        number, parse, width = _NUMBERS[head]
        value = Value(number, from_bits(number, cursor.literal(parse) & ((1 << width) - 1)))
    elif head == "v128.const":
        cursor.advance()
        value = Value(V128, _vector(cursor))
    elif head == "ref.null":
        cursor.advance()
        cursor.advance()
        value = Value(ANYREF, None)
    elif head in ("ref.extern", "ref.host"):
        cursor.advance()
        reference = EXTERNREF if head == "ref.extern" else ANYREF
        value = Value(reference, HostReference(cursor.unsigned(32)))
    else:
        raise cursor.unexpected()
    cursor.close()
    return value


def _shape(cursor: Cursor) -> tuple[str, int, str]:
    shape = cursor.peek()
    if shape not in literals.SHAPES:
        raise cursor.unexpected()
    cursor.advance()
    return (shape, *literals.SHAPES[shape])


def _vector(cursor: Cursor) -> bytes:
    _, count, lane = _shape(cursor)
    return b"".join(cursor.literal(lambda token: literals.parse_lane(token, lane)) for _ in range(count))


def _pattern(cursor: Cursor) -> Pattern:
    cursor.expect("(")
    head = cursor.peek()
    cursor.advance()
    pattern: Pattern
    if head in _NUMBERS:
        pattern = _number_pattern(head, cursor)
    elif head == "v128.const":
        pattern = _vector_pattern(cursor)
    elif head == "either":
        pattern = EitherPattern(_all(cursor, _alternative))
    else:
        pattern = _reference_pattern(head, cursor)
    cursor.close()
    return pattern


def _alternative(cursor: Cursor) -> Pattern:
    """A pattern inside `either`, which does not nest: no input shall drive the recursion."""
    if cursor.at_form("either"):
        raise cursor.unexpected(cursor.index + 1)
    return _pattern(cursor)


def _number_pattern(head: str, cursor: Cursor) -> NumberPattern | NanPattern:
    type, parse, width = _NUMBERS[head]
    if head[0] == "f" and cursor.peek() in _NANS:
        return NanPattern(type, cursor.advance() == "nan:canonical")
    return NumberPattern(type, cursor.literal(parse) & ((1 << width) - 1))


def _vector_pattern(cursor: Cursor) -> VectorPattern:
    shape, count, lane = _shape(cursor)
    type = _LANE_TYPES[lane]
    lanes: list[NumberPattern | NanPattern] = []
    for _ in range(count):
        if lane[0] == "f" and cursor.peek() in _NANS:
            lanes.append(NanPattern(type, cursor.advance() == "nan:canonical"))
        else:
            bits = cursor.literal(lambda token: literals.parse_lane(token, lane))
            lanes.append(NumberPattern(type, int.from_bytes(bits, "little")))
    return VectorPattern(shape, int(lane[1:]), lanes)


def _reference_pattern(head: str, cursor: Cursor) -> Pattern:
    if head == "ref.null":
        if cursor.peek() != ")":
            cursor.advance()
        return NullPattern()
    if head in ("ref.extern", "ref.host") and cursor.peek() != ")":
        return HostPattern(HostReference(cursor.unsigned(32)))
    if head == "ref.func" and cursor.peek() != ")":
        return FunctionPattern(cursor.unsigned(32))
    if head not in _REFERENCES:
        raise cursor.unexpected(cursor.index - 1)
    return ReferencePattern(_REFERENCES[head])
