"""Modules ready to run, and instantiation: where validation, runtime and engine meet (section 4.7)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from os import PathLike, fspath
from typing import Any

from tinywasm import artifact, binary, matching
from tinywasm import engine as engines
from tinywasm.code import read_instruction
from tinywasm.config import Engine
from tinywasm.engine import Backend
from tinywasm.errors import LinkError
from tinywasm.instructions import Feature
from tinywasm.interruption import STEPS, obeying, watched
from tinywasm.loading import loading
from tinywasm.module import (
    DecodedModule,
    ElementSegment,
    Export,
    Expr,
    FuncImport,
    Import,
    ImportDesc,
)
from tinywasm.runtime.func import FuncInstance
from tinywasm.runtime.instance import ModuleInstance
from tinywasm.runtime.storage import Extern
from tinywasm.runtime.store import Store
from tinywasm.types import (
    DefinedType,
    ExportType,
    ExternSort,
    ExternType,
    FuncType,
    GlobalType,
    ImportType,
    MemoryType,
    RefType,
    TableType,
    TagType,
    ValType,
)
from tinywasm.unique import Unique
from tinywasm.validation import Context, validate

Namespace = Mapping[str, Mapping[str, Extern]]
Bind = Callable[[ModuleInstance], None]


def is_binary(source: bytes | bytearray | memoryview) -> bool:
    """Whether bytes are read in the binary format: they begin with 0, as no text does, or there are none."""
    return source[:1] in (b"", b"\0")


def read_module(
    source: bytes | str, features: Collection[Feature] = ()
) -> tuple[DecodedModule, bytes | None]:
    """A module in either format, and its binary form where it is given in that.

    `features` are the proposals to accept beyond the standard. Raises `DecodeError` or `ParseError`.
    """
    if isinstance(source, str) or not is_binary(source):
        parsed = _parse(source)
        if isinstance(parsed, DecodedModule):
            return parsed, None
        source = parsed
    return binary.decode(source, features), source


def _parse(source: str | bytes) -> DecodedModule | bytes:
    # Most modules are binary, and the text format takes long to load.
    with loading:
        from tinywasm.text import parse_source
    return parse_source(source)


class Module(Unique):
    """A validated module, ready to be instantiated any number of times.

    `syntax` is its decoded form, `context` what validation found out.
    """

    def __init__(self, engine: Engine, source: bytes | bytearray | memoryview | str) -> None:
        """From the binary format (bytes that begin with 0) or the text format (str, or UTF-8).

        Also from `(module binary "...")` and `(module quote "...")`, as scripts have them. A `memoryview` is
        not copied: what it shows must stay as it is.
        Raises `DecodeError`, `ParseError` or `ValidationError`.
        """
        if not isinstance(engine, Engine):
            raise TypeError(f"expected an Engine, not {engine!r}")
        if not isinstance(source, bytes | bytearray | memoryview | str):
            raise TypeError(f"expected the bytes or the text of a module, not {type(source).__name__}")
        if isinstance(source, memoryview) and is_binary(source):
            self._bind(engine, binary.decode(source, engine.config.features), source)
            return
        source = source if isinstance(source, str) else bytes(source)
        syntax, encoded = read_module(source, engine.config.features)
        self._bind(engine, syntax, source=encoded)

    def _bind(self, engine: Engine, syntax: DecodedModule, source: bytes | memoryview | None = None) -> None:
        self.engine = engine
        self.syntax = syntax
        self._source = source
        self.context: Context = validate(syntax, engine.config.features)

    @classmethod
    def from_decoded(cls, engine: Engine, syntax: DecodedModule) -> Module:
        """From a decoded module. Raises `ValidationError`, or `DecodeError` for a malformed body."""
        module = cls.__new__(cls)
        module._bind(engine, syntax)
        return module

    @classmethod
    def from_file(cls, engine: Engine, path: str | PathLike[str]) -> Module:
        """From a file in either format. Raises as the constructor, and `OSError`."""
        return cls(engine, _content(path))

    @classmethod
    def validate(cls, engine: Engine, wasm: bytes | bytearray | str) -> None:
        """Check a module. Raises as the constructor."""
        cls(engine, wasm)

    @property
    def imports(self) -> list[ImportType]:
        """What instantiation asks for, in order."""
        return [
            ImportType(imp.module, imp.name, _shown(type))
            for imp, type in zip(self.syntax.imports, import_types(self), strict=True)
        ]

    @property
    def exports(self) -> list[ExportType]:
        """What instances offer, in order."""
        return [ExportType(export.name, self._export_type(export)) for export in watched(self.syntax.exports)]

    def _export_type(self, export: Export) -> ExternSort:
        spaces: dict[str, Sequence[ExternType]] = {
            "func": self.context.funcs,
            "table": self.context.tables,
            "memory": self.context.memories,
            "global": self.context.globals,
        }
        if export.kind == "tag":
            return _shown(TagType(self.context.tags[export.index]))
        return _shown(spaces[export.kind][export.index])

    def serialize(self) -> bytes:
        """A form to keep, which `deserialize` reads: the module, and its code where the engine makes any.

        It is for the same version of tinywasm and the same features of the configuration. Code is made for
        all functions, which takes time, and only the same engine uses it.
        """
        source = binary.encode(self.syntax) if self._source is None else self._source
        chosen = engines.choose(self.engine.config.engine)
        code = None
        if chosen.keeper is not None:
            keeper = chosen.keeper()
            # With the positions that the code has where it is read.
            read = self if self._source is not None else Module(self.engine, source)
            code = artifact.Code(chosen.name, keeper.maker(), keeper.pack(read.context, read.syntax))
        return artifact.pack(source, self.engine.config.features, code)

    @classmethod
    def deserialize(cls, engine: Engine, encoded: bytes | bytearray) -> Module:
        """From what `serialize` gave.

        Raises `WasmError` where another version of tinywasm or another configuration made it, or where it
        was changed by accident. Anyone can forge one: it is validated and its code
        verified, but it is not authenticated.
        """
        if not isinstance(engine, Engine):
            raise TypeError(f"expected an Engine, not {engine!r}")
        if not isinstance(encoded, bytes | bytearray):
            raise TypeError(f"expected the bytes of a serialized module, not {type(encoded).__name__}")
        source, code = artifact.unpack(bytes(encoded), engine.config.features)
        module = cls(engine, source)
        chosen = engines.choose(engine.config.engine)
        if code is not None and code.engine == chosen.name and chosen.keeper is not None:
            keeper = chosen.keeper()
            if code.maker == keeper.maker():
                keeper.unpack(module.context, memoryview(code.packed))
        return module

    @classmethod
    def deserialize_file(cls, engine: Engine, path: str | PathLike[str]) -> Module:
        """As `deserialize`, from a file. Raises `OSError` too."""
        return cls.deserialize(engine, _content(path))


def _content(path: str | PathLike[str]) -> bytes:
    with open(fspath(path), "rb") as file:
        return file.read()


def wat2wasm(wat: str | bytes) -> bytes:
    """Text format to binary format. Raises `ParseError`; nothing is validated.

    For `(module binary "...")` that is the bytes given there, whatever they are.
    """
    parsed = _parse(wat)
    return parsed if isinstance(parsed, bytes) else binary.encode(parsed)


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

    Raises `Trap`, `WasmException` whose tag and values are raw, what a host function raises, or `WasmError`
    while another thread's call is under way.
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
    with obeying(store.poll_time):
        instance = backend.instance(module.syntax, module.context)
        for extern in externs:
            instance.add(extern)
        elems = _allocate(backend, instance, module)
        if len(module.syntax.exports) > STEPS:
            instance.gather_exports()
        _run_segments(backend, instance, elems)
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


def _shown(type: ExternType) -> ExternSort:
    """The type as embedders see it: functions by their signature, not by their definition."""
    if isinstance(type, DefinedType):
        assert isinstance(type.composite, FuncType)
        return type.composite
    return TagType(type.functype) if isinstance(type, TagType) else type


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


def _allocate(backend: Backend, instance: ModuleInstance, module: Module) -> list[list[Any]]:
    """Make what the module defines; its element segments as raw references."""
    syntax, context = module.syntax, module.context
    for index, function in enumerate(watched(syntax.functions), context.imported_funcs):
        type = context.funcs[index]
        instance.add(FuncInstance(type, module=instance, index=index, definition=function))
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
        [_reference(backend, instance, item, type) for item in watched(_items(segment))]
        for segment, type in watched(zip(syntax.elems, context.elems, strict=True))
    ]
    if syntax.datas or elems:
        instance.set_segments([segment.init for segment in syntax.datas], elems)
    return elems


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


def _items(segment: ElementSegment) -> Sequence[int | Expr]:
    return segment.init


def _reference(backend: Backend, instance: ModuleInstance, item: int | Expr, type: RefType) -> Any:
    return instance.funcs[item] if isinstance(item, int) else _constant(backend, instance, item, type)


def _run_segments(backend: Backend, instance: ModuleInstance, elems: Sequence[Sequence[Any]]) -> None:
    """Active segments are written in order and dropped, declarative ones dropped."""
    for index, segment in enumerate(watched(instance.syntax.elems)):
        if segment.offset is not None:
            references = elems[index]
            table = instance.tables[segment.table]
            offset = _constant(backend, instance, segment.offset, table.type.address)
            table.init(offset, references, 0, len(references))
        if segment.mode != "passive":
            instance.drop_elem(index)
    for index, data in enumerate(watched(instance.syntax.datas)):
        if data.offset is not None:
            memory = instance.memories[data.memory]
            offset = _constant(backend, instance, data.offset, memory.type.address)
            memory.init(offset, data.init, 0, len(data.init))
            instance.drop_data(index)
