"""Validation of modules (section 3.5)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

from tinywasm.errors import ValidationError
from tinywasm.instructions import Feature
from tinywasm.interruption import watched
from tinywasm.matching import canonicalise, close_ref, close_value, matches_composite, matches_ref
from tinywasm.syntax import (
    DataSegment,
    DecodedModule,
    ElementSegment,
    Export,
    Expr,
    FuncImport,
    Function,
    Global,
    Import,
    Table,
)
from tinywasm.types import (
    I32,
    DefinedType,
    FuncType,
    GlobalType,
    MemoryType,
    StructType,
    TableType,
    TagType,
    ValType,
)
from tinywasm.validation import bodies
from tinywasm.validation.code import validate_code
from tinywasm.validation.const import validate_const
from tinywasm.validation.context import Context
from tinywasm.validation.extern_types import check_arity, check_memory, check_table_limits
from tinywasm.validation.stack import Body, is_defaultable

# Section 7.3 allows such a limit; this is the JavaScript embedding's.
MAX_FIELDS: Final = 10_000


class _At:
    """Errors inside are about `describe(*about)`, unless they know better.

    Only an error has it written: a module has many parts, and at most one error.
    """

    __slots__ = ("about", "describe")

    def __init__(self, describe: Callable[..., str], *about: object) -> None:
        self.describe = describe
        self.about = about

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, ValidationError):
            error.where = error.where or self.describe(*self.about)


def _named(kind: str, index: int, names: dict[int, str]) -> str:
    name = names.get(index)
    return f"{kind} {index}" if name is None else f"{kind} {index} ${name}"


def validate(module: DecodedModule, features: Collection[Feature] = frozenset()) -> Context:
    """Check `module` against chapter 3 and give its context, in which all types are closed.

    `features` are the proposals that are on. Raises `ValidationError` with the place where a rule is
    broken, or `DecodeError` for malformed code, since it is here that function bodies are first read.
    """
    return _Validator(module, features).validate()


class _Validator:
    def __init__(self, module: DecodedModule, features: Collection[Feature]) -> None:
        self.module = module
        self.names = module.names
        self.features = features
        self.context = Context(datas=len(module.datas))
        self.body = Body(self.context, features, module.data_count is not None)

    def validate(self) -> Context:
        module = self.module
        self._types()
        for index, entry in enumerate(watched(module.imports)):
            with _At("import {} {!r} {!r}".format, index, entry.module, entry.name):
                self._import(entry)
        self._count_imports()
        self._declarations()
        for index, elem in enumerate(watched(module.elems)):
            with _At(_named, "element segment", index, self.names.elems):
                self._elem(elem)
        for index, data in enumerate(watched(module.datas)):
            with _At(_named, "data segment", index, self.names.datas):
                self._data(data)
        self._exports()
        self._start()
        self._bodies()
        return self.context

    # Types (section 3.2)

    def _types(self) -> None:
        self.context.types = canonicalise(self.module.types)
        checked: set[DefinedType] = set()
        pairs = zip(self.module.subtypes(), self.context.types, strict=True)
        for index, (sub, defined) in enumerate(watched(pairs)):
            if defined in checked and not sub.supertypes:
                continue
            checked.add(defined)
            with _At(_named, "type", index, self.names.types):
                _check_size(defined)
                if len(sub.supertypes) > 1:
                    raise ValidationError(f"sub type {index} has more than one super type")
                for name, above in zip(sub.supertypes, defined.supertypes, strict=True):
                    if above.final or not matches_composite(defined.composite, above.composite):
                        reason = ", which is final" if above.final else ""
                        raise ValidationError(f"sub type {index} does not match super type {name}{reason}")

    def _func_type(self, index: int) -> DefinedType:
        self.body.func(index)
        return self.context.types[index]

    def _table_type(self, table: TableType) -> TableType:
        check_table_limits(table)
        return TableType(close_ref(table.element, self.context.types), table.limits, table.address)

    def _memory_type(self, memory: MemoryType) -> MemoryType:
        check_memory(memory, self.features)
        return memory

    def _global_type(self, globaltype: GlobalType) -> GlobalType:
        return GlobalType(close_value(globaltype.content, self.context.types), globaltype.mutable)

    def _tag_type(self, tag: TagType) -> DefinedType:
        defined = self._func_type(tag.type) if isinstance(tag.type, int) else tag.type
        assert isinstance(defined, DefinedType)
        if isinstance(defined.composite, FuncType) and defined.composite.results:
            raise ValidationError("non-empty tag result type")
        return defined

    # Imports and declarations

    def _import(self, entry: Import) -> None:
        context, desc = self.context, entry.desc
        if isinstance(desc, FuncImport):
            context.funcs.append(self._func_type(desc.type))
        elif isinstance(desc, TableType):
            context.tables.append(self._table_type(desc))
        elif isinstance(desc, MemoryType):
            context.memories.append(self._memory_type(desc))
        elif isinstance(desc, GlobalType):
            context.globals.append(self._global_type(desc))
        else:
            context.tags.append(self._tag_type(desc))

    def _count_imports(self) -> None:
        context = self.context
        context.imported_funcs = len(context.funcs)
        context.imported_tables = len(context.tables)
        context.imported_memories = len(context.memories)
        context.imported_globals = len(context.globals)
        context.imported_tags = len(context.tags)

    def _declarations(self) -> None:
        """Tables, whose initial elements see the imported globals only, come before globals."""
        context, module, names = self.context, self.module, self.names
        for index, function in enumerate(watched(module.functions), context.imported_funcs):
            with _At(_named, "function", index, names.functions):
                context.funcs.append(self._func_type(function.type))
        for index, tag in enumerate(watched(module.tags), context.imported_tags):
            with _At(_named, "tag", index, names.tags):
                context.tags.append(self._tag_type(tag))
        for index, table in enumerate(watched(module.tables), context.imported_tables):
            with _At(_named, "table", index, names.tables):
                self._table(table)
        for index, memory in enumerate(watched(module.memories), context.imported_memories):
            with _At(_named, "memory", index, names.memories):
                context.memories.append(self._memory_type(memory))
        for index, entry in enumerate(watched(module.globals), context.imported_globals):
            with _At(_named, "global", index, names.globals):
                self._global(entry)

    def _table(self, table: Table) -> None:
        tabletype = self._table_type(table.type)
        if table.init is not None:
            validate_const(self.body, table.init, tabletype.element)
        elif not is_defaultable(tabletype.element):
            raise ValidationError(f"type mismatch: {tabletype.element} has no default value")
        self.context.tables.append(tabletype)

    def _global(self, entry: Global) -> None:
        globaltype = self._global_type(entry.type)
        validate_const(self.body, entry.init, globaltype.content)
        self.context.globals.append(globaltype)

    # Segments (section 3.5)

    def _elem(self, elem: ElementSegment) -> None:
        element = close_ref(elem.type, self.context.types)
        init: Sequence[int | Expr] = elem.init
        for item in watched(init):
            if isinstance(item, Expr):
                validate_const(self.body, item, element)
            else:
                self._function_reference(item)
        if elem.mode == "active":
            self._elem_target(elem)
            table = self.context.tables[elem.table]
            if not matches_ref(element, table.element):
                raise ValidationError(
                    f"type mismatch: element type {element} does not match the table's {table.element}"
                )
        self.context.elems.append(element)

    def _elem_target(self, elem: ElementSegment) -> None:
        tables = self.context.tables
        if elem.table >= len(tables):
            raise ValidationError(f"unknown table {elem.table}")
        if elem.offset is not None:
            validate_const(self.body, elem.offset, tables[elem.table].address)

    def _function_reference(self, index: int) -> None:
        if index >= len(self.context.funcs):
            raise ValidationError(f"unknown function {index}")
        self.context.refs.add(index)

    def _data(self, data: DataSegment) -> None:
        if data.offset is None:
            return
        memories = self.context.memories
        if data.memory >= len(memories):
            raise ValidationError(f"unknown memory {data.memory}")
        address = memories[data.memory].address
        if data.offset.number is None or address is not I32:
            validate_const(self.body, data.offset, address)

    # Exports and start

    def _exports(self) -> None:
        seen: set[str] = set()
        for export in self.module.exports:
            with _At("export {!r}".format, export.name):
                if export.name in seen:
                    raise ValidationError("duplicate export name")
                seen.add(export.name)
                self._export(export)

    def _export(self, export: Export) -> None:
        context = self.context
        if export.kind == "func":
            self._function_reference(export.index)
            return
        spaces: dict[str, Sequence[object]] = {
            "table": context.tables,
            "memory": context.memories,
            "global": context.globals,
            "tag": context.tags,
        }
        if export.index >= len(spaces[export.kind]):
            raise ValidationError(f"unknown {export.kind} {export.index}")

    def _start(self) -> None:
        start = self.module.start
        if start is None:
            return
        with _At(str, "start"):
            if start >= len(self.context.funcs):
                raise ValidationError(f"unknown function {start}")
            composite = self.context.funcs[start].composite
            if composite != FuncType():
                raise ValidationError(f"start function {start} must not have parameters or results")

    # Functions (section 3.5)

    def _bodies(self) -> None:
        accepts = self._acceptor()
        for index, function in enumerate(watched(self.module.functions), self.context.imported_funcs):
            body = function.body
            if not accepts(function.type, function.locals, body.code, body.start, body.end):
                with _At(_named, "function", index, self.names.functions):
                    self._function(function, self.context.funcs[index])

    def _acceptor(self) -> Callable[[int, Sequence[tuple[int, ValType]], bytes, int, int], bool]:
        if bodies.available and self.module.functions:
            has_data_count = self.module.data_count is not None
            return bodies.acceptor(self.context, self.features, has_data_count).accepts
        return lambda *_: False

    def _function(self, function: Function, defined: DefinedType) -> None:
        functype = defined.composite
        assert isinstance(functype, FuncType)
        types = self.context.types
        locals = [(count, close_value(value, types)) for count, value in function.locals]
        self.body.begin(functype.params, functype.results, locals)
        validate_code(self.body, function.body)


def _check_size(defined: DefinedType) -> None:
    composite = defined.composite
    if isinstance(composite, FuncType):
        check_arity(composite)
    elif isinstance(composite, StructType) and len(composite.fields) > MAX_FIELDS:
        raise ValidationError(f"type has {len(composite.fields)} fields, more than the limit of {MAX_FIELDS}")
