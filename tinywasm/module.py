"""Modules ready to run: decoded, validated, and kept in serialized form."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from os import PathLike

from tinywasm import artifact, binary
from tinywasm import engine as engines
from tinywasm.config import Engine
from tinywasm.garbage import uncollected
from tinywasm.instructions import Feature
from tinywasm.interruption import watched
from tinywasm.loading import loading
from tinywasm.syntax import (
    DecodedModule,
    Export,
    FuncImport,
)
from tinywasm.types import (
    DefinedType,
    ExportType,
    ExternSort,
    ExternType,
    FuncType,
    GlobalType,
    ImportType,
    MemoryType,
    TableType,
    TagType,
)
from tinywasm.unique import Unique
from tinywasm.validation import Context, validate
from tinywasm.whole_files import read_whole


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
        with uncollected():
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
        return cls(engine, read_whole(path))

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
        return cls.deserialize(engine, read_whole(path))


def wat2wasm(wat: str | bytes) -> bytes:
    """Text format to binary format. Raises `ParseError`; nothing is validated.

    For `(module binary "...")` that is the bytes given there, whatever they are.
    """
    parsed = _parse(wat)
    return parsed if isinstance(parsed, bytes) else binary.encode(parsed)


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


def _shown(type: ExternType) -> ExternSort:
    """The type as embedders see it: functions by their signature, not by their definition."""
    if isinstance(type, DefinedType):
        assert isinstance(type.composite, FuncType)
        return type.composite
    return TagType(type.functype) if isinstance(type, TagType) else type
