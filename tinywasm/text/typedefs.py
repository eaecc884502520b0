"""Types in the text format (section 6.4) and type uses (section 6.4.15)."""

from __future__ import annotations

from typing import NamedTuple

from tinywasm.syntax import Names
from tinywasm.text.cursor import Cursor
from tinywasm.text.identifiers import IndexSpace, at_index
from tinywasm.types import (
    F32,
    F64,
    I32,
    I64,
    REF_SHORTHANDS,
    V128,
    AbstractHeap,
    ArrayType,
    CompositeType,
    FieldType,
    FuncType,
    GlobalType,
    HeapType,
    Limits,
    MemoryType,
    NumType,
    PackedType,
    RecGroup,
    RefType,
    StorageType,
    StructType,
    SubType,
    TableType,
    ValType,
)

_SIMPLE: dict[str, ValType] = {"i32": I32, "i64": I64, "f32": F32, "f64": F64, "v128": V128, **REF_SHORTHANDS}
_PACKED = {"i8": PackedType.I8, "i16": PackedType.I16}
_HEAPS = {heap.value: heap for heap in AbstractHeap}


class TypeUse(NamedTuple):
    """A type use as written: `(type x)` if given, and the inline function type.

    `params` holds the token index of each parameter's binding, where an identifier or a `@name` may
    stand, and whether one may.
    """

    explicit: int | None
    inline: FuncType
    params: list[int | None]
    token: int


class TypeParser:
    """Parses types at a cursor, and holds the type definitions of the module."""

    def __init__(self, cursor: Cursor, space: IndexSpace, names: Names) -> None:
        self.cursor = cursor
        self.space = space
        self.names = names
        self.groups: list[RecGroup] = []
        self.subtypes: list[SubType] = []
        self.fields: dict[int, IndexSpace] = {}
        # Each function type that is alone and final in its group, to its first index.
        self._lone: dict[FuncType, int] = {}

    def heaptype(self) -> HeapType:
        heap = _HEAPS.get(self.cursor.peek())
        if heap is None:
            return self.type_index()
        self.cursor.index += 1
        return heap

    def type_index(self) -> int:
        if not at_index(self.cursor):
            raise self.cursor.unexpected()
        return self.space.resolve(self.cursor)

    def at_valtype(self) -> bool:
        return self.cursor.peek() in _SIMPLE or self.cursor.at_form("ref")

    def valtype(self) -> ValType:
        simple = _SIMPLE.get(self.cursor.tokens[self.cursor.index])
        if simple is not None:
            self.cursor.index += 1
            return simple
        return self.reftype()

    def reftype(self) -> RefType:
        shorthand = REF_SHORTHANDS.get(self.cursor.peek())
        if shorthand is not None:
            self.cursor.index += 1
            return shorthand
        self.cursor.expect_form("ref")
        nullable = self.cursor.take("null")
        heap = self.heaptype()
        self.cursor.close()
        return RefType(nullable, heap)

    def valtypes(self) -> list[ValType]:
        """Value types up to the closing parenthesis, which is left behind."""
        types = []
        while not self.cursor.take(")"):
            types.append(self.valtype())
        return types

    def results(self) -> list[ValType]:
        """Any number of `(result ...)`."""
        types: list[ValType] = []
        while self.cursor.take_form("result"):
            types += self.valtypes()
        return types

    def _params(self, bindings: list[int | None]) -> list[ValType]:
        """Any number of `(param ...)`; notes in `bindings` where each may have its identifier."""
        types: list[ValType] = []
        while self.cursor.take_form("param"):
            start = self.cursor.index
            if self.cursor.identifier() is not None or self.cursor.annotations():
                types.append(self.valtype())
                self.cursor.close()
                bindings.append(start)
            else:
                more = self.valtypes()
                types += more
                bindings += [None] * len(more)
        return types

    def functype(self) -> FuncType:
        """The parameters and results of a function type."""
        params = self._params([])
        return FuncType(params, self.results())

    def type_use(self) -> TypeUse:
        """A type use, not looked up yet."""
        token = self.cursor.index
        explicit = None
        if self.cursor.take_form("type"):
            explicit = self.type_index()
            self.cursor.close()
        bindings: list[int | None] = []
        inline = FuncType(self._params(bindings), self.results())
        if self.cursor.at_form("type", "param"):
            raise self.cursor.unexpected(self.cursor.index + 1)
        return TypeUse(explicit, inline, bindings, token)

    def unnamed_type_use(self) -> TypeUse:
        """A type use whose parameters must have no identifiers. Raises `ParseError`."""
        use = self.type_use()
        for binding in use.params:
            if binding is not None and self.cursor.tokens[binding].startswith("$"):
                raise self.cursor.unexpected(binding)
        return use

    def index_of(self, use: TypeUse) -> int:
        """The index of the used type; a type that is only inline is defined if it is not yet.

        Raises `ParseError` where the inline type differs from the one referred to.
        """
        if use.explicit is None:
            return self._implicit(use.inline)
        if use.inline.params or use.inline.results:
            if use.explicit >= len(self.subtypes):
                raise self.cursor.error(f"unknown type {use.explicit}", use.token)
            if self.subtypes[use.explicit].composite != use.inline:
                raise self.cursor.error("inline function type", use.token)
        return use.explicit

    def _implicit(self, functype: FuncType) -> int:
        index = self._lone.get(functype)
        if index is None:
            index = len(self.subtypes)
            self._add_group((SubType(functype),))
        return index

    def params_of(self, index: int) -> tuple[ValType, ...] | None:
        """The parameters of the function type with that index; None where it is none."""
        composite = self.subtypes[index].composite if index < len(self.subtypes) else None
        return tuple(composite.params) if isinstance(composite, FuncType) else None

    def _add_group(self, subtypes: tuple[SubType, ...]) -> None:
        if len(subtypes) == 1 and subtypes[0].final and not subtypes[0].supertypes:
            composite = subtypes[0].composite
            if isinstance(composite, FuncType):
                self._lone.setdefault(composite, len(self.subtypes))
        self.groups.append(RecGroup(subtypes))
        self.subtypes += subtypes

    def define_group(self) -> None:
        """A `type` or a `rec` field, the cursor standing at its keyword; all identifiers are bound."""
        first = len(self.subtypes)
        if self.cursor.take("rec"):
            subtypes: list[SubType] = []
            while not self.cursor.take(")"):
                self.cursor.expect("(")
                subtypes.append(self._definition(first + len(subtypes)))
            self._add_group(tuple(subtypes))
        else:
            self._add_group((self._definition(first),))

    def _definition(self, index: int) -> SubType:
        self.cursor.expect("type")
        self.cursor.identifier()
        self.cursor.expect("(")
        if not self.cursor.take("sub"):
            subtype = SubType(self._composite(index))
        else:
            final = self.cursor.take("final")
            supertypes = []
            while at_index(self.cursor):
                supertypes.append(self.type_index())
            self.cursor.expect("(")
            subtype = SubType(self._composite(index), tuple(supertypes), final)
            self.cursor.close()
        self.cursor.close()
        return subtype

    def _composite(self, index: int) -> CompositeType:
        """A composite type behind its `(`."""
        composite: CompositeType
        if self.cursor.take("func"):
            composite = self.functype()
        elif self.cursor.take("struct"):
            composite = StructType(tuple(self._fields(index)))
        elif self.cursor.take("array"):
            composite = ArrayType(self._fieldtype())
        else:
            raise self.cursor.unexpected()
        self.cursor.close()
        return composite

    def _fields(self, index: int) -> list[FieldType]:
        display: dict[int, str] = {}
        space = self.fields[index] = IndexSpace("field", display)
        fields: list[FieldType] = []
        while self.cursor.take_form("field"):
            if self.cursor.peek().startswith("$") or self.cursor.annotations():
                space.bind(self.cursor)
                fields.append(self._fieldtype())
                self.cursor.close()
            else:
                while not self.cursor.take(")"):
                    fields.append(self._fieldtype())
            space.count = len(fields)
        if display:
            self.names.fields[index] = display
        return fields

    def _fieldtype(self) -> FieldType:
        if self.cursor.take_form("mut"):
            storage = self._storagetype()
            self.cursor.close()
            return FieldType(storage, True)
        return FieldType(self._storagetype())

    def _storagetype(self) -> StorageType:
        packed = _PACKED.get(self.cursor.peek())
        if packed is None:
            return self.valtype()
        self.cursor.index += 1
        return packed

    def address(self) -> NumType:
        """The optional address type of a memory or a table."""
        if self.cursor.take("i64"):
            return I64
        self.cursor.take("i32")
        return I32

    def limits(self) -> Limits:
        minimum = self.cursor.unsigned(64)
        return Limits(minimum, self.cursor.unsigned(64) if at_index(self.cursor) else None)

    def tabletype(self) -> TableType:
        address = self.address()
        limits = self.limits()
        return TableType(self.reftype(), limits, address)

    def memorytype(self) -> MemoryType:
        address = self.address()
        limits = self.limits()
        return MemoryType(limits, address, self.page_size())

    def page_size(self) -> int:
        """The optional `(pagesize n)` of the custom-page-sizes proposal, in bytes."""
        if not self.cursor.take_form("pagesize"):
            return MemoryType(Limits(0)).page_size
        size = self.cursor.unsigned(64)
        if size == 0 or size & (size - 1):
            raise self.cursor.error("invalid custom page size", self.cursor.index - 1)
        self.cursor.close()
        return size

    def globaltype(self) -> GlobalType:
        if self.cursor.take_form("mut"):
            content = self.valtype()
            self.cursor.close()
            return GlobalType(content, True)
        return GlobalType(self.valtype())
