"""Prints a decoded module as text that parses back to the same module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tinywasm.codec import write_storagetype, write_vector
from tinywasm.errors import ValidationError
from tinywasm.leb128 import write_unsigned
from tinywasm.syntax import (
    EXTERN_KINDS,
    DataSegment,
    DecodedModule,
    ElementSegment,
    Expr,
    FuncImport,
    Function,
    ImportDesc,
    Names,
)
from tinywasm.text import spelling
from tinywasm.text.annotations import SECTION_IDS
from tinywasm.text.print_code import CodePrinter, FunctionNames, Identifiers
from tinywasm.text.spelling import TypeSpelling
from tinywasm.types import (
    CompositeType,
    FuncType,
    GlobalType,
    MemoryType,
    RecGroup,
    StructType,
    SubType,
    TableType,
    TagType,
    ValType,
)

_SECTION_NAMES = {number: kind for kind, number in SECTION_IDS.items()}
_DATA_CHUNK = 64
# The text format spells every local out, so the counts of runs must not be believed. In a whole module:
_MOST_LOCALS = 10_000_000


def print_module(module: DecodedModule) -> str:
    """The module as text, in the flat form and with the names of its name section.

    Names and branch hints take the place of the custom sections that held them.
    Raises `ValidationError` for a module with more than ten million locals, and `DecodeError` where
    the code is malformed.
    """
    return "\n".join(ModulePrinter(module).lines()) + "\n"


class _Binder:
    """Spells the places where an index is bound: identifier, index, name.

    Names of indices from `count` on, which a name section may hold, are nobody's and left out.
    """

    def __init__(self, names: Mapping[int, str], count: int) -> None:
        self.names = {index: name for index, name in names.items() if index < count}
        self.identifiers = spelling.unique_identifiers(self.names)

    def words(self, index: int) -> list[str]:
        words = [self.identifiers[index]] if index in self.identifiers else []
        return [*words, f"(;{index};)", *self._annotation(index)]

    def bindings(self) -> dict[int, str]:
        """All of them without indices, for locals, labels and fields."""
        return {
            index: " ".join([*filter(None, [self.identifiers.get(index)]), *self._annotation(index)])
            for index in self.names
        }

    def _annotation(self, index: int) -> list[str]:
        if index not in self.names or index in self.identifiers:
            return []
        return [f"(@name {spelling.name(self.names[index])})"]


class ModulePrinter:
    """Prints a module field by field: an index space is counted while its fields are printed."""

    def __init__(self, module: DecodedModule) -> None:
        self.module = module
        self.subtypes = module.subtypes()
        self.binders = _binders(module, len(self.subtypes))
        self.fields = self._field_binders()
        spaces = {kind: binder.identifiers for kind, binder in self.binders.items()}
        self.types = TypeSpelling(spaces["type"])
        fields = {index: binder.identifiers for index, binder in self.fields.items()}
        self.identifiers = Identifiers({**spaces, "mem": spaces["memory"]}, fields, self.types)
        self.counts = dict.fromkeys(EXTERN_KINDS, 0)
        self.locals_left = _MOST_LOCALS
        # Identifiers and annotations say what these say, and stay right when the text is edited.
        self.spelled_sections = [
            section
            for section, content in (
                ("name", module.names != Names()),
                ("metadata.code.branch_hint", module.branch_hints),
            )
            if content
        ]

    def _field_binders(self) -> dict[int, _Binder]:
        binders = {}
        for index, names in self.module.names.fields.items():
            composite = self._composite(index)
            if isinstance(composite, StructType):
                binders[index] = _Binder(names, len(composite.fields))
        return binders

    def _composite(self, index: int) -> CompositeType | None:
        return self.subtypes[index].composite if index < len(self.subtypes) else None

    def lines(self) -> Iterator[str]:
        yield " ".join(["(module", *self._module_name()])
        for line in self._fields():
            yield f"  {line}"
        yield ")"

    def _module_name(self) -> list[str]:
        name = self.module.names.module
        if name is None:
            return []
        return [spelling.identifier(name)] if name else ['(@name "")']

    def _fields(self) -> Iterator[str]:
        yield from self._types()
        yield from self._imports()
        yield from self._tables()
        for memory in self.module.memories:
            yield self._form(*self._bind("memory"), self.types.memory_type(memory))
        for tag in self.module.tags:
            yield self._form(*self._bind("tag"), f"(type {self.types.heap(_index(tag.type))})")
        for item in self.module.globals:
            head = [*self._bind("global"), self.types.global_type(item.type)]
            yield self._form(*head, *self._expression(item.init))
        yield from self._exports()
        for index, segment in enumerate(self.module.elems):
            yield from self._element_segment(index, segment)
        for function in self.module.functions:
            yield from self._function(function)
        for index, data in enumerate(self.module.datas):
            yield from self._data_segment(index, data)
        yield from self._customs()

    @staticmethod
    def _form(*words: str) -> str:
        return f"({' '.join(words)})"

    def _bind(self, kind: str) -> list[str]:
        """Keyword and binding of the next index of a space."""
        index = self.counts[kind]
        self.counts[kind] += 1
        return [kind, *self.binders[kind].words(index)]

    def _expression(self, expr: Expr) -> list[str]:
        return [line.strip() for line in CodePrinter(self.identifiers, FunctionNames()).lines(expr)]

    def _types(self) -> Iterator[str]:
        first = 0
        for group in self.module.types:
            yield from self._group(first, group)
            first += len(group.subtypes)

    def _group(self, first: int, group: RecGroup) -> Iterator[str]:
        lines = [self._subtype(first + place, subtype) for place, subtype in enumerate(group.subtypes)]
        if len(lines) == 1:
            yield lines[0]
            return
        yield "(rec"
        for line in lines:
            yield f"  {line}"
        yield ")"

    def _subtype(self, index: int, subtype: SubType) -> str:
        fields = self.fields[index].bindings() if index in self.fields else {}
        text = self.types.composite(subtype.composite, fields)
        if subtype.supertypes or not subtype.final:
            supertypes = map(self.types.heap, subtype.supertypes)
            text = self._form("sub", *(["final"] if subtype.final else []), *supertypes, text)
        return self._form("type", *self.binders["type"].words(index), text)

    def _imports(self) -> Iterator[str]:
        for item in self.module.imports:
            desc = self._import_desc(item.desc)
            yield self._form("import", spelling.name(item.module), spelling.name(item.name), desc)

    def _import_desc(self, desc: ImportDesc) -> str:
        if isinstance(desc, FuncImport):
            params = _Binder(
                self.module.names.locals.get(self.counts["func"], {}), self._params(desc.type) or 0
            )
            return self._form(*self._bind("func"), *self._type_use(desc.type, params.bindings()))
        if isinstance(desc, TableType):
            return self._form(*self._bind("table"), self.types.table_type(desc))
        if isinstance(desc, MemoryType):
            return self._form(*self._bind("memory"), self.types.memory_type(desc))
        if isinstance(desc, GlobalType):
            return self._form(*self._bind("global"), self.types.global_type(desc))
        return self._form(*self._bind("tag"), f"(type {self.types.heap(_index(desc.type))})")

    def _type_use(self, index: int, params: Mapping[int, str]) -> list[str]:
        use = f"(type {self.types.index(index)})"
        composite = self._composite(index)
        if not isinstance(composite, FuncType):
            return [use]
        return [use, *self.types.signature(composite, params)]

    def _tables(self) -> Iterator[str]:
        for table in self.module.tables:
            init = self._expression(table.init) if table.init else []
            yield self._form(*self._bind("table"), self.types.table_type(table.type), *init)

    def _exports(self) -> Iterator[str]:
        for export in self.module.exports:
            index = self.identifiers.spaces[export.kind].get(export.index, str(export.index))
            yield self._form("export", spelling.name(export.name), self._form(export.kind, index))
        if self.module.start is not None:
            start = self.module.start
            yield self._form("start", self.identifiers.spaces["func"].get(start, str(start)))

    def _element_segment(self, index: int, segment: ElementSegment) -> Iterator[str]:
        words = ["elem", *self.binders["elem"].words(index)]
        if segment.mode == "declarative":
            words.append("declare")
        elif segment.offset is not None:
            words += self._target("table", segment.table, segment.offset)
        yield self._form(*words, *self._elements(segment))

    def _target(self, kind: str, index: int, offset: Expr) -> list[str]:
        text = self.identifiers.spaces[kind].get(index, str(index))
        return [self._form(kind, text), self._form("offset", *self._expression(offset))]

    def _elements(self, segment: ElementSegment) -> list[str]:
        functions = self.identifiers.spaces["func"]
        if all(isinstance(item, int) for item in segment.init) and _is_func_ref(segment):
            return ["func", *(functions.get(index, str(index)) for index in _indices(segment.init))]
        items = [
            self._form("item", *self._expression(item)) for item in segment.init if isinstance(item, Expr)
        ]
        return [self.types.storage(segment.type), *items]

    def count_imports(self) -> None:
        """Go on behind the imports, as if they had been printed."""
        for item in self.module.imports:
            self._import_desc(item.desc)

    def function_parts(self, function: Function) -> tuple[int, str, list[str], FunctionNames]:
        """The next function's index, its head without parentheses, its locals, and the names in it."""
        index = self.counts["func"]
        locals_ = self._local_binder(index, function)
        head = " ".join([*self._bind("func"), *self._type_use(function.type, locals_.bindings())])
        names = FunctionNames(locals_.identifiers, self._labels(index), self._hints(index, function))
        return index, head, list(self._locals(function, locals_.bindings())), names

    def _function(self, function: Function) -> Iterator[str]:
        _, head, locals_, names = self.function_parts(function)
        yield f"({head}"
        yield from locals_
        for line in CodePrinter(self.identifiers, names).lines(function.body):
            yield f"  {line}"
        yield ")"

    def _local_binder(self, index: int, function: Function) -> _Binder:
        count = sum(count for count, _ in function.locals)
        self.locals_left -= count
        if self.locals_left < 0:
            raise ValidationError("too many locals", where=f"function {index}")
        params = self._params(function.type)
        # Without the type, nobody knows which local is the first behind the parameters.
        total = 0 if params is None else params + count
        return _Binder(self.module.names.locals.get(index, {}), total)

    def _params(self, type_index: int) -> int | None:
        composite = self._composite(type_index)
        return len(composite.params) if isinstance(composite, FuncType) else None

    def _locals(self, function: Function, names: Mapping[int, str]) -> Iterator[str]:
        index = self._params(function.type) or 0
        for count, valtype in function.locals:
            text = self.types.storage(valtype)
            unnamed = 0
            for number in range(index, index + count):
                if number not in names:
                    unnamed += 1
                    continue
                yield from self._unnamed_locals(unnamed, text)
                unnamed = 0
                yield f"  (local {names[number]} {text})"
            yield from self._unnamed_locals(unnamed, text)
            index += count

    @staticmethod
    def _unnamed_locals(count: int, valtype: str) -> Iterator[str]:
        if count:
            yield f"  (local{f' {valtype}' * count})"

    def _labels(self, index: int) -> dict[int, str]:
        names = self.module.names.labels.get(index, {})
        return {label: spelling.identifier(name) for label, name in names.items() if name}

    def _hints(self, index: int, function: Function) -> dict[int, int]:
        start = len(write_vector(_write_local, function.locals))
        return {offset - start: hint for offset, hint in self.module.branch_hints.get(index, ())}

    def _data_segment(self, index: int, segment: DataSegment) -> Iterator[str]:
        words = ["data", *self.binders["data"].words(index)]
        if segment.offset is not None:
            words += self._target("memory", segment.memory, segment.offset)
        chunks = _chunks(segment.init)
        if len(chunks) <= 1:
            yield self._form(*words, *chunks)
            return
        yield "(" + " ".join(words)
        for chunk in chunks:
            yield f"  {chunk}"
        yield ")"

    def _customs(self) -> Iterator[str]:
        for custom in self.module.customs:
            if custom.name in self.spelled_sections:
                continue
            place = f"(after {_SECTION_NAMES[custom.after]})" if custom.after else "(before first)"
            yield self._form("@custom", spelling.name(custom.name), place, *_chunks(custom.payload))


def _binders(module: DecodedModule, types: int) -> dict[str, _Binder]:
    names = module.names
    imported = [type(item.desc) for item in module.imports]
    return {
        "type": _Binder(names.types, types),
        "func": _Binder(names.functions, imported.count(FuncImport) + len(module.functions)),
        "table": _Binder(names.tables, imported.count(TableType) + len(module.tables)),
        "memory": _Binder(names.memories, imported.count(MemoryType) + len(module.memories)),
        "global": _Binder(names.globals, imported.count(GlobalType) + len(module.globals)),
        "tag": _Binder(names.tags, imported.count(TagType) + len(module.tags)),
        "elem": _Binder(names.elems, len(module.elems)),
        "data": _Binder(names.datas, len(module.datas)),
    }


def _index(heap: object) -> int:
    assert isinstance(heap, int)
    return heap


def _indices(items: Sequence[int] | Sequence[Expr]) -> list[int]:
    return [item for item in items if isinstance(item, int)]


def _is_func_ref(segment: ElementSegment) -> bool:
    return str(segment.type) == "(ref func)"


def _write_local(run: tuple[int, ValType]) -> bytes:
    return write_unsigned(run[0]) + write_storagetype(run[1])


def _chunks(data: bytes) -> list[str]:
    return [spelling.string(data[start : start + _DATA_CHUNK]) for start in range(0, len(data), _DATA_CHUNK)]
