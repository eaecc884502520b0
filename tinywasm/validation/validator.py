"""Validation of modules (section 3.5)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from typing import Any, Final, cast

from tinywasm.errors import ValidationError
from tinywasm.instructions import Feature
from tinywasm.interruption import STEPS, look, watched
from tinywasm.loading import loading
from tinywasm.matching import canonicalise, close_ref, close_value, matches_composite, matches_ref
from tinywasm.syntax import (
    DataSegment,
    DataSegments,
    DecodedModule,
    ElementSegment,
    Export,
    Expr,
    FuncImport,
    Function,
    Functions,
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
    RefType,
    StructType,
    SubType,
    TableType,
    TagType,
)
from tinywasm.validation import bodies
from tinywasm.validation.const import validate_const
from tinywasm.validation.context import Context
from tinywasm.validation.extern_types import check_arity, check_memory, check_table_limits
from tinywasm.validation.stack import Body, is_defaultable

# Section 7.3 allows such a limit; this is the JavaScript embedding's.
MAX_FIELDS: Final = 10_000


def validate(module: DecodedModule, features: Collection[Feature] = frozenset()) -> Context:
    """Check `module` against chapter 3 and give its context, in which all types are closed.

    `features` are the proposals that are on. Raises `ValidationError` with the place where a rule is
    broken, or `DecodeError` for malformed code, since it is here that function bodies are first read.
    """
    return _Validator(module, features).validate()


class _Validator:
    def __init__(self, module: DecodedModule, features: Collection[Feature]) -> None:
        self.module = module
        self.features = features
        self.context = Context(datas=len(module.datas))
        self.body = Body(self.context, features, module.data_count is not None)
        # The definitions that turned out to be functions' types.
        self.signatures: dict[int, DefinedType] = {}

    def validate(self) -> Context:
        module = self.module
        self._types()
        self._each("import", module.imports, self._import)
        self._count_imports()
        self._declarations()
        self._each("element segment", module.elems, self._elem)
        self._datas()
        self._exports()
        self._each("start", [] if module.start is None else [module.start], self._start)
        self._bodies()
        return self.context

    def _each(self, kind: str, items: Iterable[Any], check: Callable[[Any], object], first: int = 0) -> None:
        """Check the items, of which the index space begins at `first`; errors say which one they are about.

        Only an error has that written: a module has many parts, and at most one error.
        """
        index, item = first, None
        try:
            for item in watched(items):
                check(item)
                index += 1
        except ValidationError as error:
            error.where = error.where or self._described(kind, index, item)
            raise

    def _described(self, kind: str, index: int, item: Any) -> str:
        match kind:
            case "import":
                return f"import {index} {item.module!r} {item.name!r}"
            case "export":
                return f"export {item.name!r}"
            case "start":
                return kind
        names = self.module.names
        spaces = {
            "type": names.types,
            "function": names.functions,
            "table": names.tables,
            "memory": names.memories,
            "global": names.globals,
            "tag": names.tags,
            "element segment": names.elems,
            "data segment": names.datas,
        }
        name = spaces[kind].get(index)
        return f"{kind} {index}" if name is None else f"{kind} {index} ${name}"

    # Types (section 3.2)

    def _types(self) -> None:
        self.context.types = canonicalise(self.module.types)
        checked: set[DefinedType] = set()

        def check(item: tuple[int, SubType, DefinedType]) -> None:
            index, sub, defined = item
            if defined in checked and not sub.supertypes:
                return
            checked.add(defined)
            _check_size(defined)
            if len(sub.supertypes) > 1:
                raise ValidationError(f"sub type {index} has more than one super type")
            for name, above in zip(sub.supertypes, defined.supertypes, strict=True):
                if above.final or not matches_composite(defined.composite, above.composite):
                    reason = ", which is final" if above.final else ""
                    raise ValidationError(f"sub type {index} does not match super type {name}{reason}")

        subtypes = self.module.subtypes()
        self._each("type", zip(range(len(subtypes)), subtypes, self.context.types, strict=True), check)

    def _func_type(self, index: int) -> DefinedType:
        defined = self.signatures.get(index)
        if defined is None:
            self.body.func(index)
            defined = self.signatures[index] = self.context.types[index]
        return defined

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
        context, module = self.context, self.module
        self._functions(module.functions)
        self._each("tag", module.tags, self._tag, context.imported_tags)
        self._each("table", module.tables, self._table, context.imported_tables)
        self._each("memory", module.memories, self._memory, context.imported_memories)
        self._each("global", module.globals, self._global, context.imported_globals)

    def _functions(self, functions: Sequence[Function]) -> None:
        context, types = self.context, self.context.types
        signatures = {index for index, type in enumerate(types) if isinstance(type.composite, FuncType)}
        if isinstance(functions, Functions) and signatures.issuperset(functions.types):
            context.funcs.extend(map(types.__getitem__, functions.types))
        else:
            self._each("function", functions, self._declare, context.imported_funcs)

    def _declare(self, function: Function) -> None:
        self.context.funcs.append(self._func_type(function.type))

    def _tag(self, tag: TagType) -> None:
        self.context.tags.append(self._tag_type(tag))

    def _memory(self, memory: MemoryType) -> None:
        self.context.memories.append(self._memory_type(memory))

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
        self._items(elem.init, element)
        if elem.mode == "active":
            self._elem_target(elem)
            table = self.context.tables[elem.table]
            if not matches_ref(element, table.element):
                raise ValidationError(
                    f"type mismatch: element type {element} does not match the table's {table.element}"
                )
        self.context.elems.append(element)

    def _items(self, items: Sequence[int | Expr], element: RefType) -> None:
        if set(map(type, items)) == {int} and max(cast(Sequence[int], items)) < len(self.context.funcs):
            self.context.refs.update(cast(Sequence[int], items))
            return
        for item in watched(items):
            if isinstance(item, Expr):
                validate_const(self.body, item, element)
            else:
                self._function_reference(item)

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

    def _datas(self) -> None:
        datas, memories = self.module.datas, self.context.memories
        if not isinstance(datas, DataSegments) or not memories or memories[0].address is not I32:
            self._each("data segment", datas, self._data)
            return
        # The rest are as they should be.
        for index, other in watched(datas.others.items()):
            self._each("data segment", (other,), self._data, index)

    def _data(self, data: DataSegment) -> None:
        if data.offset is None:
            return
        memories = self.context.memories
        if data.memory >= len(memories):
            raise ValidationError(f"unknown memory {data.memory}")
        validate_const(self.body, data.offset, memories[data.memory].address)

    # Exports and start

    def _exports(self) -> None:
        seen: set[str] = set()

        def check(export: Export) -> None:
            if export.name in seen:
                raise ValidationError("duplicate export name")
            seen.add(export.name)
            self._export(export)

        self._each("export", self.module.exports, check)

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

    def _start(self, start: int) -> None:
        if start >= len(self.context.funcs):
            raise ValidationError(f"unknown function {start}")
        composite = self.context.funcs[start].composite
        if composite != FuncType():
            raise ValidationError(f"start function {start} must not have parameters or results")

    # Functions (section 3.5)

    def _bodies(self) -> None:
        functions, first = self.module.functions, self.context.imported_funcs
        if not bodies.available or not functions:
            self._each("function", functions, self._function, first)
            return
        acceptor = bodies.acceptor(self.context, self.features, self.module.data_count is not None)

        def check(function: Function) -> None:
            body = function.body
            if not acceptor.accepts(function.type, function.locals, body.code, body.start, body.end):
                self._function(function)

        if not isinstance(functions, Functions):
            self._each("function", functions, check, first)
            return
        index, count = 0, len(functions)
        while index < count:
            look()
            last = min(index + STEPS, count)
            index = acceptor.accepts_entries(functions.types, functions.code, functions.places, index, last)
            if index < last:
                # Its locals may be of types that only its own reader knows.
                self._each("function", (functions[index],), check, first + index)
                index += 1

    def _function(self, function: Function) -> None:
        types = self.context.types
        functype = types[function.type].composite
        assert isinstance(functype, FuncType)
        locals = [(count, close_value(value, types)) for count, value in function.locals]
        self.body.begin(functype.params, functype.results, locals)
        _code_validator()(self.body, function.body)


@cache
def _code_validator() -> Callable[[Body, Expr], None]:
    """`validate_code`, loaded when it is first wanted: where C is there, hardly any body needs it."""
    with loading:
        from tinywasm.validation.code import validate_code
    return validate_code


def _check_size(defined: DefinedType) -> None:
    composite = defined.composite
    if isinstance(composite, FuncType):
        check_arity(composite)
    elif isinstance(composite, StructType) and len(composite.fields) > MAX_FIELDS:
        raise ValidationError(f"type has {len(composite.fields)} fields, more than the limit of {MAX_FIELDS}")
