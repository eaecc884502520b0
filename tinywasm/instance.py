"""Modules ready to run, and instantiation: where validation, runtime and engine meet (section 4.7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tinywasm import binary, matching, text
from tinywasm.config import Engine
from tinywasm.engine import call, evaluate, lower_constant
from tinywasm.errors import LinkError
from tinywasm.module import (
    DecodedModule,
    ElementSegment,
    Expr,
    FuncImport,
    Import,
    ImportDesc,
)
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.globals import GlobalInstance
from tinywasm.runtime.heap import TagInstance
from tinywasm.runtime.memory import MemoryInstance
from tinywasm.runtime.module import Extern, ModuleInstance
from tinywasm.runtime.store import Store
from tinywasm.runtime.table import TableInstance
from tinywasm.types import ExternType, GlobalType, MemoryType, TableType, TagType
from tinywasm.validation import Context, validate

Namespace = Mapping[str, Mapping[str, Extern]]


class Module:
    """A validated module. `syntax` is its decoded form, `context` what validation found out."""

    def __init__(self, engine: Engine, source: bytes | str) -> None:
        """From the binary format (bytes) or the text format (str).

        Raises `DecodeError`, `ParseError` or `ValidationError`.
        """
        syntax = (
            text.parse_module(source)
            if isinstance(source, str)
            else binary.decode(source, engine.config.features)
        )
        self._validate(engine, syntax)

    def _validate(self, engine: Engine, syntax: DecodedModule) -> None:
        self.engine = engine
        self.syntax = syntax
        self.context: Context = validate(syntax, engine.config.features)

    @classmethod
    def from_decoded(cls, engine: Engine, syntax: DecodedModule) -> Module:
        """From a decoded module. Raises `ValidationError`, or `DecodeError` for a malformed body."""
        module = cls.__new__(cls)
        module._validate(engine, syntax)
        return module

    @classmethod
    def from_file(cls, engine: Engine, path: str | Path) -> Module:
        """From a file in either format, told apart by the binary format's magic number."""
        data = Path(path).read_bytes()
        if data.startswith(b"\0asm"):
            return cls(engine, data)
        return cls.from_decoded(engine, text.parse_module(data))


def invoke(store: Store, func: FuncInstance, args: Sequence[Any]) -> list[Any]:
    """Call a function instance with raw values (see `runtime`); the raw results.

    Raises `Trap`, `WasmException`, or what a host function raises.
    """
    return call(store, func, args)


def instantiate(store: Store, module: Module, namespace: Namespace) -> ModuleInstance:
    """Link by name and type, initialise, and run the start function (section 4.7.4).

    Raises `LinkError` for a missing or mismatched import, and whatever initialisation traps with;
    segments written before the trap stay written.
    """
    externs = _resolve(module, namespace)
    instance = ModuleInstance(store, module.syntax, module.context.types)
    for extern in externs:
        _space(instance, extern).append(extern)
    _allocate(instance, module)
    for export in module.syntax.exports:
        spaces: dict[str, Sequence[Extern]] = {
            "func": instance.funcs,
            "table": instance.tables,
            "memory": instance.memories,
            "global": instance.globals,
            "tag": instance.tags,
        }
        instance.exports[export.name] = spaces[export.kind][export.index]
    _run_segments(instance)
    if module.syntax.start is not None:
        call(store, instance.funcs[module.syntax.start], [])
    return instance


def _space(instance: ModuleInstance, extern: Extern) -> list[Any]:
    """The index space that an external value belongs to."""
    if isinstance(extern, FuncInstance):
        return instance.funcs
    if isinstance(extern, TableInstance):
        return instance.tables
    if isinstance(extern, MemoryInstance):
        return instance.memories
    return instance.globals if isinstance(extern, GlobalInstance) else instance.tags


def extern_type(extern: Extern) -> ExternType:
    """The present type of an external value, with current sizes (section 4.2.20)."""
    if isinstance(extern, MemoryInstance | TableInstance):
        return extern.current_type
    return extern.type


def import_types(module: Module) -> list[ExternType]:
    """The closed types of the imports, in order."""
    context = module.context
    spaces: dict[type, Callable[[int], ExternType]] = {
        FuncImport: lambda index: context.funcs[index],
        TableType: lambda index: context.tables[index],
        MemoryType: lambda index: context.memories[index],
        GlobalType: lambda index: context.globals[index],
        TagType: lambda index: TagType(context.tags[index]),
    }
    counts = dict.fromkeys(spaces, 0)
    types = []
    for imp in module.syntax.imports:
        kind = type(imp.desc)
        types.append(spaces[kind](counts[kind]))
        counts[kind] += 1
    return types


def _resolve(module: Module, namespace: Namespace) -> list[Extern]:
    externs = []
    for imp, wanted in zip(module.syntax.imports, import_types(module), strict=True):
        extern = namespace.get(imp.module, {}).get(imp.name)
        if extern is None:
            raise LinkError(f'unknown import: "{imp.module}" "{imp.name}" ({_kind(imp.desc)})')
        actual = extern_type(extern)
        if not matching.matches_extern(actual, wanted):
            raise LinkError(_mismatch(imp, actual, wanted))
        externs.append(extern)
    return externs


def _kind(desc: ImportDesc | ExternType) -> str:
    names: dict[type, str] = {
        TableType: "table",
        MemoryType: "memory",
        GlobalType: "global",
        TagType: "tag",
    }
    return names.get(type(desc), "function")


def _mismatch(imp: Import, actual: ExternType, wanted: ExternType) -> str:
    place = f'"{imp.module}" "{imp.name}"'
    want, have = f"{_kind(wanted)} {wanted}", f"{_kind(actual)} {actual}"
    return f"incompatible import type: {place} should be {want}, but is {have}"


def _allocate(instance: ModuleInstance, module: Module) -> None:
    syntax, context, config = module.syntax, module.context, module.engine.config
    imported = context.imported_funcs
    for index, function in enumerate(syntax.functions, imported):
        type = context.funcs[index]
        instance.funcs.append(FuncInstance(type, module=instance, index=index, definition=function))
    for memory in syntax.memories:
        instance.memories.append(MemoryInstance(memory, config.max_memory_pages))
    for defined in context.tags[context.imported_tags :]:
        instance.tags.append(TagInstance(TagType(defined)))
    for index, glob in enumerate(syntax.globals, context.imported_globals):
        instance.globals.append(GlobalInstance(context.globals[index], _constant(instance, glob.init)))
    for index, table in enumerate(syntax.tables, context.imported_tables):
        init = None if table.init is None else _constant(instance, table.init)
        instance.tables.append(TableInstance(context.tables[index], init, config.max_table_elements))
    for segment in syntax.elems:
        instance.elems.append(_references(instance, segment))
    instance.datas = [segment.init for segment in syntax.datas]


def _constant(instance: ModuleInstance, expr: Expr) -> Any:
    return evaluate(lower_constant(instance, expr))


def _references(instance: ModuleInstance, segment: ElementSegment) -> list[Any]:
    return [
        instance.funcs[item] if isinstance(item, int) else _constant(instance, item) for item in segment.init
    ]


def _run_segments(instance: ModuleInstance) -> None:
    """Active segments are written in order and dropped, declarative ones dropped."""
    for index, segment in enumerate(instance.syntax.elems):
        if segment.offset is not None:
            references = instance.elems[index]
            offset = _constant(instance, segment.offset)
            instance.tables[segment.table].init(offset, references, 0, len(references))
        if segment.mode != "passive":
            instance.elems[index] = []
    for index, data in enumerate(instance.syntax.datas):
        if data.offset is not None:
            offset = _constant(instance, data.offset)
            instance.memories[data.memory].init(offset, data.init, 0, len(data.init))
            instance.datas[index] = b""
