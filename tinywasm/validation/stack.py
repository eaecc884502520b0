"""The state of the validation algorithm (appendix 7.6): operand stack, control stack, and locals."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import Final

from tinywasm.errors import ValidationError
from tinywasm.instructions import Feature
from tinywasm.matching import BOT, BOT_HEAP, matches_value
from tinywasm.types import (
    I32,
    ArrayType,
    DefinedType,
    FieldType,
    FuncType,
    PackedType,
    RefType,
    StorageType,
    StructType,
    ValType,
)
from tinywasm.validation.context import Context

# A call of two bytes may push a thousand results: the height is the one thing here that outgrows the
# body's length, and must not outgrow memory.
MAX_OPERANDS: Final = 1_000_000

_SHOWN: Final = 20

Types = Sequence[ValType]
# Operands, how many they are, and results.
Signature = tuple[list[ValType], int, list[ValType]]


class Frame:
    """An entry of the control stack. `kind` is the mnemonic that opened it, or `func`."""

    __slots__ = ("end", "height", "inits", "kind", "start", "unreachable")

    def __init__(self, kind: str, start: Types, end: Types, height: int, inits: int) -> None:
        self.kind = kind
        self.start = start
        self.end = end
        self.height = height
        self.unreachable = False
        self.inits = inits

    @property
    def label(self) -> Types:
        """The operands that a branch to this label takes."""
        return self.start if self.kind == "loop" else self.end


def describe(types: Sequence[ValType]) -> str:
    """A result type for people: the top of it, where it is long."""
    shown = [_describe_one(value) for value in types[-_SHOWN:]]
    return "[" + " ".join(["..."] * (len(types) > _SHOWN) + shown) + "]"


def _describe_one(value: ValType) -> str:
    return "(ref bot)" if isinstance(value, RefType) and value.heap is BOT_HEAP else str(value)


def is_defaultable(storage: StorageType) -> bool:
    """Whether the type has a default value (section 3.2)."""
    return not isinstance(storage, RefType) or storage.nullable


def unpack(storage: StorageType) -> ValType:
    """The type on the stack of a field's contents (section 2.3)."""
    return I32 if isinstance(storage, PackedType) else storage


class Body:
    """One expression after the other: `begin` makes the state new, the rules change it.

    `position` is that of the instruction at hand, where it may matter, and `address` the address type
    of the memory or table that the instruction names. `ready` are the locals that hold a value, of
    those looked at so far, with their types. `seen` are encodings of three bytes that the module allows.
    Methods raise `ValidationError` without a place, which whoever knows the position adds.
    """

    def __init__(self, context: Context, features: Collection[Feature], has_data_count: bool) -> None:
        self.context = context
        self.features = features
        self.has_data_count = has_data_count
        self.position = 0
        self.address: ValType = I32
        self.seen: dict[bytes, Signature] = {}
        self.stack: list[ValType] = []
        self.controls: list[Frame] = []
        self._struct_operands: dict[DefinedType, tuple[ValType, ...]] = {}
        self._without_default: dict[DefinedType, ValType | None] = {}
        self.begin((), ())

    def begin(self, params: Types, results: Types, locals: Sequence[tuple[int, ValType]] = ()) -> None:
        """Enter an expression. `locals` is run-length encoded, and stays so."""
        self.stack.clear()
        self.controls.clear()
        self.ready: dict[int, ValType] = dict(enumerate(params))
        self._inits: list[int] = []
        self._locals = locals
        self._ends = list(accumulate((count for count, _ in locals), initial=len(params)))
        self.results = results
        self.enter("func", (), results)

    # Locals

    def _declared(self, index: int) -> ValType:
        if index >= self._ends[-1]:
            raise ValidationError(f"unknown local {index}")
        return self._locals[bisect_right(self._ends, index) - 1][1]

    def local_get(self, index: int) -> ValType:
        """The type of a local that holds a value but is not among the `ready` yet."""
        declared = self._declared(index)
        if not is_defaultable(declared):
            raise ValidationError(f"uninitialized local {index}")
        self.ready[index] = declared
        return declared

    def local_set(self, index: int) -> ValType:
        """The type of a local, which holds a value from here to the end of the frame."""
        known = self.ready.get(index)
        if known is not None:
            return known
        declared = self.ready[index] = self._declared(index)
        if not is_defaultable(declared):
            self._inits.append(index)
        return declared

    # Operands

    def push(self, value: ValType) -> None:
        self.stack.append(value)

    def push_all(self, values: Types) -> None:
        if len(self.stack) > MAX_OPERANDS:
            raise ValidationError(f"operand stack is higher than {MAX_OPERANDS}")
        self.stack += values

    def pop(self, wanted: ValType) -> ValType:
        """Take an operand of type `wanted`; the result is its own type, perhaps `BOT`."""
        stack = self.stack
        if len(stack) > self.frame.height:
            actual = stack[-1]
            if actual is wanted or matches_value(actual, wanted):
                return stack.pop()
        elif self.frame.unreachable:
            return BOT
        raise self.mismatch((wanted,))

    def pop_any(self) -> ValType:
        """Take an operand of any type."""
        if len(self.stack) > self.frame.height:
            return self.stack.pop()
        if self.frame.unreachable:
            return BOT
        raise ValidationError("type mismatch: instruction requires [any] but stack has []")

    def pop_ref(self) -> RefType:
        """Take a reference. One that unreachable code leaves open has the heap type `BOT_HEAP`."""
        value = self.pop_any()
        if isinstance(value, RefType):
            return value
        if value is BOT:
            return RefType(False, BOT_HEAP)
        raise ValidationError(f"type mismatch: instruction requires [ref] but stack has [{value}]")

    def peek(self, wanted: Types, subject: str = "instruction") -> int:
        """Check that the operands on top are as `wanted`; the result is how many of them are there."""
        stack = self.stack
        count = len(wanted)
        there = len(stack) - self.frame.height
        if there < count:
            if not self.frame.unreachable:
                raise self.mismatch(wanted, subject)
            count = there
        if count:
            operands = tuple(stack[-count:])
            expected = tuple(wanted[-count:])
            if operands != expected and not all(map(matches_value, operands, expected)):
                raise self.mismatch(wanted, subject)
        return count

    def pop_all(self, wanted: Types, subject: str = "instruction") -> None:
        """Take operands of the types `wanted`, the last one from the top."""
        count = self.peek(wanted, subject)
        if count:
            del self.stack[-count:]

    def pop_repeated(self, wanted: ValType, count: int) -> None:
        """Take `count` operands of one type, without believing `count`."""
        there = len(self.stack) - self.frame.height
        if there < count and not self.frame.unreachable:
            raise ValidationError(
                f"type mismatch: instruction requires {count} operands {wanted} but stack has {there}"
            )
        self.pop_all([wanted] * min(there, count))

    def mismatch(self, wanted: Types, subject: str = "instruction") -> ValidationError:
        operands = self.stack[self.frame.height :]
        shown = operands[-len(wanted) :] if wanted else operands
        return ValidationError(
            f"type mismatch: {subject} requires {describe(wanted)} but stack has {describe(shown)}"
        )

    # Control

    def enter(self, kind: str, start: Types, end: Types) -> None:
        """Open a frame, whose parameters are on the stack already no more."""
        self.frame = Frame(kind, start, end, len(self.stack), len(self._inits))
        self.controls.append(self.frame)
        self.push_all(start)

    def leave(self) -> Frame:
        """Close the frame: exactly its results are on the stack, and are taken."""
        frame = self.frame
        self.pop_all(frame.end, "block")
        if len(self.stack) != frame.height:
            raise self.mismatch(frame.end, "block")
        while len(self._inits) > frame.inits:
            del self.ready[self._inits.pop()]
        self.controls.pop()
        if self.controls:
            self.frame = self.controls[-1]
        return frame

    def set_unreachable(self) -> None:
        """The rest of the frame has a polymorphic stack."""
        del self.stack[self.frame.height :]
        self.frame.unreachable = True

    def label(self, index: int) -> Types:
        """The operands of the label."""
        if index >= len(self.controls):
            raise ValidationError(f"unknown label {index}")
        return self.controls[-1 - index].label

    # Type definitions

    def func(self, index: int) -> FuncType:
        """The function type at a type index."""
        composite = self.defined(index).composite
        if isinstance(composite, FuncType):
            return composite
        raise ValidationError(f"non-function type {index}")

    def fields(self, index: int) -> Sequence[FieldType]:
        """The fields of the structure type at a type index."""
        composite = self.defined(index).composite
        if isinstance(composite, StructType):
            return composite.fields
        raise ValidationError(f"non-structure type {index}")

    def array(self, index: int) -> FieldType:
        """The field of the array type at a type index."""
        composite = self.defined(index).composite
        if isinstance(composite, ArrayType):
            return composite.field
        raise ValidationError(f"non-array type {index}")

    def defined(self, index: int) -> DefinedType:
        if index >= len(self.context.types):
            raise ValidationError(f"unknown type {index}")
        return self.context.types[index]

    def struct_operands(self, index: int) -> Types:
        """What `struct.new` takes; kept, since a structure may be long and made often."""
        defined = self.defined(index)
        known = self._struct_operands.get(defined)
        if known is None:
            known = tuple(unpack(field.storage) for field in self.fields(index))
            self._struct_operands[defined] = known
        return known

    def struct_without_default(self, index: int) -> ValType | None:
        """The first field's type that has no default value; kept as well."""
        defined = self.defined(index)
        if defined not in self._without_default:
            operands = self.struct_operands(index)
            first = next((value for value in operands if not is_defaultable(value)), None)
            self._without_default[defined] = first
        return self._without_default[defined]
