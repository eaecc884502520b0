"""Linking and instantiation: where validation, runtime and engine meet (section 4.7)."""

from __future__ import annotations

import builtins
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from tinywasm import engine as engines
from tinywasm import matching
from tinywasm.codec import read_instruction
from tinywasm.engine import Backend
from tinywasm.errors import LinkError
from tinywasm.garbage import uncollected
from tinywasm.interruption import STEPS, look, obeying, watched
from tinywasm.module import Module, import_types
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.module_instance import ModuleInstance
from tinywasm.runtime.storage import Extern
from tinywasm.runtime.store import Store
from tinywasm.syntax import DataSegment, DataSegments, Expr, Import, ImportDesc
from tinywasm.types import (
    ExternType,
    GlobalType,
    MemoryType,
    RefType,
    TableType,
    TagType,
    ValType,
)

Namespace = Mapping[str, Mapping[str, Extern]]
Bind = Callable[[ModuleInstance], None]


def invoke(
    store: Store,
    func: FuncInstance,
    args: Sequence[Any],
    *,
    fuel: int | None = None,
    deadline: float | None = None,
) -> list[Any]:
    """Call a function instance with raw values (see `runtime`); the raw results.

    `fuel` is what the store has for the call, as `Store.set_fuel` gives it; `Store.get_fuel` tells what is
    left. `deadline` is a number of seconds from now, after which the call ends with `Interrupted`; with the
    call, the store's deadline is gone. `Store.clear_interrupt` takes back an interruption that came too late.

    Raises `Trap`, `WasmException` whose tag and values are raw, what a host function raises, `TypeError` for
    another number of arguments, or `WasmError` while another thread's call is under way.
    """
    if fuel is not None:
        store.set_fuel(fuel)
    if deadline is None:
        return engines.backend(store).call(func, args)
    store.set_deadline(deadline)
    try:
        return engines.backend(store).call(func, args)
    finally:
        store.set_deadline(None)


def instantiate(
    store: Store, module: Module, namespace: Namespace, before_start: Bind | None = None
) -> ModuleInstance:
    """Link by name and type, initialise, and run the start function (section 4.7.2).

    `before_start` gets the instance before any code of it runs. Raises `LinkError` for a missing or
    mismatched import, and whatever initialisation traps with; segments written before the trap stay
    written.
    """
    return instantiate_with(store, module, _resolve(module, namespace), before_start)


def instantiate_with(
    store: Store, module: Module, externs: Sequence[Extern], before_start: Bind | None = None
) -> ModuleInstance:
    """As `instantiate`, with one external value for each import, in order.

    The store is this thread's from beginning to end, as for one call.
    """
    backend = engines.backend(store)
    return backend.claimed(lambda: _instantiate(backend, store, module, externs, before_start))


def _instantiate(
    backend: Backend, store: Store, module: Module, externs: Sequence[Extern], before_start: Bind | None
) -> ModuleInstance:
    _check_imports(module, externs)
    store.limits.count("instances")
    with obeying(store.poll_time), uncollected():
        instance = backend.instance(module.syntax, module.context)
        for extern in externs:
            instance.add(extern)
        _allocate(backend, instance, module)
        if len(module.syntax.exports) > STEPS:
            instance.gather_exports()
        _run_segments(backend, instance)
    if before_start is not None:
        before_start(instance)
    if module.syntax.start is not None:
        backend.call(instance.funcs[module.syntax.start], [], caller=instance)
    return instance


def extern_type(extern: Extern) -> ExternType:
    """The present type of an external value, with current sizes (section 4.5.2)."""
    if extern.kind in ("memory", "table"):
        return extern.current_type  # type: ignore[union-attr]
    return extern.type


def _resolve(module: Module, namespace: Namespace) -> list[Extern]:
    externs = []
    for imp in module.syntax.imports:
        extern = namespace.get(imp.module, {}).get(imp.name)
        if extern is None:
            raise LinkError(f'unknown import: "{imp.module}" "{imp.name}" ({_kind(imp.desc)})')
        externs.append(extern)
    return externs


def _check_imports(module: Module, externs: Sequence[Extern]) -> None:
    imports = module.syntax.imports
    if len(externs) != len(imports):
        raise LinkError(f"the module has {len(imports)} imports, but {len(externs)} were given")
    if not imports:
        return
    for imp, extern, wanted in zip(imports, externs, import_types(module), strict=True):
        actual = extern_type(extern)
        if not matching.matches_extern(actual, wanted):
            raise LinkError(_mismatch(imp, actual, wanted))


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
    want, have = _named(wanted), _named(actual)
    if want == have:
        want, have = matching.contrast(wanted, actual, want)
    elif isinstance(wanted, MemoryType) and isinstance(actual, MemoryType):
        want, have = _with_pages(wanted, actual)
    return f"incompatible import type: {place} should be {want}, but is {have}"


def _with_pages(wanted: MemoryType, actual: MemoryType) -> tuple[str, str]:
    """Two types of memories, with both page sizes where these differ."""
    texts = [f"memory {type.address} {type.limits}" for type in (wanted, actual)]
    if wanted.page_size != actual.page_size:
        sizes = (wanted.page_size, actual.page_size)
        texts = [f"{text} (pagesize {size})" for text, size in zip(texts, sizes, strict=True)]
    return texts[0], texts[1]


def _named(type: ExternType) -> str:
    # A tag's type says itself what it is.
    return str(type) if isinstance(type, TagType) else f"{_kind(type)} {type}"


def _allocate(backend: Backend, instance: ModuleInstance, module: Module) -> None:
    """Make what the module defines."""
    syntax, context = module.syntax, module.context
    if syntax.functions:
        instance.define_functions()
    for memory in syntax.memories:
        instance.add(backend.memory(memory))
    for defined in context.tags[context.imported_tags :]:
        instance.add(backend.tag(TagType(defined)))
    for index, glob in enumerate(watched(syntax.globals), context.imported_globals):
        global_type = context.globals[index]
        instance.add(backend.glob(global_type, _constant(backend, instance, glob.init, global_type.content)))
    for index, table in enumerate(watched(syntax.tables), context.imported_tables):
        table_type = context.tables[index]
        init = None if table.init is None else _constant(backend, instance, table.init, table_type.element)
        instance.add(backend.table(table_type, init))
    elems = [
        _references(backend, instance, segment.init, type)
        for segment, type in watched(zip(syntax.elems, context.elems, strict=True))
    ]
    if syntax.datas or elems:
        instance.set_segments(syntax.datas, elems)


# Constants whose raw value is the immediate without its sign.
_LITERALS = {"i32.const": 0xFFFF_FFFF, "i64.const": 0xFFFF_FFFF_FFFF_FFFF}


def _constant(backend: Backend, instance: ModuleInstance, expr: Expr, type: ValType) -> Any:
    """The value of a constant expression; for a literal, as in nearly all of 100,000 segments, at once."""
    if expr.number is not None:
        return expr.number
    row, immediates, after = read_instruction(expr.code, expr.start)
    if row.name in _LITERALS and expr.end == after + 1:
        return immediates[0] & _LITERALS[row.name]
    return backend.constant(instance, expr, type)


def _references(
    backend: Backend, instance: ModuleInstance, items: Sequence[int | Expr], type: RefType
) -> list[Any] | array[int]:
    """Raw references; functions that are named by their indices stay so."""
    if set(map(builtins.type, items)) <= {int}:
        return array("I", cast(Sequence[int], items))
    return [_reference(backend, instance, item, type) for item in watched(items)]


def _reference(backend: Backend, instance: ModuleInstance, item: int | Expr, type: RefType) -> Any:
    return instance.funcs[item] if isinstance(item, int) else _constant(backend, instance, item, type)


def _run_segments(backend: Backend, instance: ModuleInstance) -> None:
    """Active segments are written in order and dropped, declarative ones dropped."""
    for index, segment in enumerate(watched(instance.syntax.elems)):
        if segment.offset is not None:
            address = instance.tables[segment.table].type.address
            instance.run_elem(index, segment.table, _constant(backend, instance, segment.offset, address))
        if segment.mode != "passive":
            instance.drop_elem(index)
    datas = instance.syntax.datas
    if not isinstance(datas, DataSegments):
        for index, data in enumerate(watched(datas)):
            _run_data(backend, instance, index, data)
        return
    for first, last in datas.runs(STEPS):
        look()
        if first in datas.others:
            _run_data(backend, instance, first, datas.others[first])
        else:
            instance.run_datas(datas, first, last)


def _run_data(backend: Backend, instance: ModuleInstance, index: int, data: DataSegment) -> None:
    if data.offset is not None:
        memory = instance.memories[data.memory]
        offset = _constant(backend, instance, data.offset, memory.type.address)
        memory.init(offset, data.init, 0, len(data.init))
        instance.drop_data(index)
