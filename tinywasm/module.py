"""Modules ready to run: decoded, validated, and kept in serialized form."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from mmap import ACCESS_READ, mmap
from operator import index
from os import PathLike
from os.path import getsize, isfile
from typing import BinaryIO

from tinywasm import artifact, binary
from tinywasm import engine as engines
from tinywasm.config import Engine
from tinywasm.errors import DecodeError, WasmError
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
from tinywasm.whole_files import read_whole, runnable


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
        if artifact.is_artifact(source):
            raise DecodeError(
                "this is a serialized module: `tinywasm run` takes it where its name ends in "
                f"{artifact.SUFFIX}, and in Python Module.deserialize, with trusted=True if it has machine "
                "code",
                0,
            )
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
        self.context.source = source

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
        module, source = self._read_back()
        return artifact.pack(source, self.engine.config.features, module._code())

    def compile(self, cpu: str = "host", *, processes: int = 1) -> bytes:
        """As `serialize`, with machine code, which runs without llvmlite.

        `cpu` says for which processors: "host" for this machine's and those that have all of its features,
        "x86-64" for all, or "x86-64-v2", "x86-64-v3" or "x86-64-v4". With `Config(consume_fuel=True)` the
        code pays with fuel, and runs in stores of such engines alone; others interpret. Takes long: about a
        minute for a megabyte of WebAssembly. So many `processes` share the work; with more than one, the
        program's main module is imported in each, as `multiprocessing` does it. Raises `ValueError` where
        nothing can be compiled: that takes the native engine and the extra `tinywasm[llvm]`; and
        `ChildProcessError` where one of the processes was ended.
        """
        if index(processes) < 1:
            raise ValueError("processes must be at least 1")
        chosen = engines.choose(self.engine.config.engine)
        if chosen.ahead is None:
            raise ValueError(f"the {chosen.name} engine makes no machine code")
        ahead = chosen.ahead()
        module, source = self._read_back()
        head, text = ahead.make(
            module.context, module.syntax, self.engine.config.consume_fuel, cpu, processes
        )
        machine = artifact.MachineCode(ahead.maker(), head, text)
        return artifact.pack(source, self.engine.config.features, module._code(), machine)

    def _read_back(self) -> tuple[Module, bytes | memoryview]:
        """The module as it is read from the binary format, whose positions code has; and that."""
        if self._source is not None:
            return self, self._source
        source = binary.encode(self.syntax)
        return Module(self.engine, source), source

    def _code(self) -> artifact.Code | None:
        chosen = engines.choose(self.engine.config.engine)
        if chosen.keeper is None:
            return None
        keeper = chosen.keeper()
        return artifact.Code(chosen.name, keeper.maker(), keeper.pack(self.context, self.syntax))

    @classmethod
    def deserialize(
        cls, engine: Engine, encoded: bytes | bytearray | memoryview, *, trusted: bool = False
    ) -> Module:
        """From what `serialize` or `compile` gave.

        Raises `WasmError` where another version of tinywasm or another configuration made it, or where it
        was changed by accident. Anyone can forge one: it is validated and its code
        verified, but it is not authenticated. Machine code cannot be verified: whoever made the file can do
        whatever your program can. So `WasmError` is raised for machine code as well, unless you say that you
        have `trusted` its maker; and where it is for another processor.
        """
        if not isinstance(engine, Engine):
            raise TypeError(f"expected an Engine, not {engine!r}")
        if not isinstance(encoded, bytes | bytearray | memoryview):
            raise TypeError(f"expected the bytes of a serialized module, not {type(encoded).__name__}")
        return cls._unpacked(engine, bytes(encoded), trusted)

    @classmethod
    def deserialize_file(cls, engine: Engine, path: str | PathLike[str], *, trusted: bool = False) -> Module:
        """As `deserialize`, from a file. Raises `OSError` too.

        A `trusted` file is mapped, so that processes share its machine code: replace it, and do not write
        into it, while they run.
        """
        if not trusted or not isfile(path) or not getsize(path):
            return cls.deserialize(engine, read_whole(path), trusted=trusted)
        with open(path, "rb") as file:
            content = mmap(file.fileno(), 0, access=ACCESS_READ)
            return cls._unpacked(engine, memoryview(content), trusted, file)

    @classmethod
    def _unpacked(
        cls,
        engine: Engine,
        content: bytes | memoryview,
        trusted: bool,
        file: BinaryIO | None = None,
    ) -> Module:
        source, code, machine = artifact.unpack(content, engine.config.features)
        if machine is not None and not trusted:
            raise WasmError(
                "the serialized module has machine code, which nothing verifies: give trusted=True "
                "if you trust whoever made it like a shared library"
            )
        module = cls(engine, source)
        chosen = engines.choose(engine.config.engine)
        if code is None or code.engine != chosen.name:
            return module
        if chosen.keeper is not None:
            keeper = chosen.keeper()
            if code.maker == keeper.maker():
                keeper.unpack(module.context, memoryview(code.packed))
        if machine is not None and chosen.ahead is not None:
            ahead = chosen.ahead()
            if machine.maker != ahead.maker():
                raise WasmError("the machine code is of another build of tinywasm: compile the module again")
            text = memoryview(machine.text)
            code_map = text if file is None else runnable(file, machine.at, text)
            ahead.take(module.context, memoryview(machine.head), code_map)
        return module


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
