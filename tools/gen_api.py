"""Generates docs/api.md from the docstrings of the public names; `--check` only compares."""

from __future__ import annotations

import argparse
import enum
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import tinywasm  # noqa: E402

PAGE = ROOT / "docs" / "api.md"

_INTRODUCTION = """\
# API reference

Generated from the docstrings by `tools/gen_api.py`. All names are in the package `tinywasm`;
[embedding.md](embedding.md) is where to begin. `store` stands for a `Store`, or for the `Caller` that a
host function was given.
"""
# What belongs together, in the order of reading. A test holds that no public name is missing.
CHAPTERS: dict[str, Sequence[str]] = {
    "The short way": ["instantiate", "Instance", "Exports", "BoundFunc"],
    "Engines and modules": ["Config", "Engine", "Module", "wat2wasm"],
    "Stores and linking": ["Store", "Linker"],
    "What modules import and export": ["Func", "Caller", "Memory", "Table", "Global", "Tag"],
    "Values and types": [
        "Val", "ValType", "FuncType", "Limits", "MemoryType", "TableType", "GlobalType", "TagType",
        "ImportType", "ExportType",
    ],
    "WASI": ["WasiConfig", "MemoryTree"],
    "Errors": [
        "WasmError", "ParseError", "DecodeError", "ValidationError", "LinkError", "Trap", "TrapCode", "Frame",
        "StackExhausted", "OutOfFuel", "Interrupted", "ExitTrap", "WasmException",
    ],
}  # fmt: skip
# Aliases and plain values, which the introduction or the tour tell about.
OTHERS = {
    "WasmtimeError": "`WasmError` under wasmtime-py's name.",
    "native_available": "Whether the native engine is built and fits.",
    "__version__": "The version, a string.",
}
# Public for the layers below, and no business of an embedder's.
_INTERNAL = {
    "Config": {"features"},
    "Engine": {"watch"},
    "Module": {"from_decoded"},
    "MemoryTree": {"charge"},
    "Store": {"charge", "pay", "poll", "poll_time", "acknowledge", "epoch_advanced"},
    "WasiConfig": {"raw_argv", "raw_env", "standard_streams"},
}
# What a class may inherit without its being told again.
_ROOTS = (object, Exception, BaseException, enum.Enum)


def page() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    for title, names in CHAPTERS.items():
        parts.append(f"\n## {title}\n")
        parts.extend(_entry(name, getattr(tinywasm, name)) for name in names)
    parts.append("\n## Other names\n\n")
    parts.extend(f"- `{name}`: {text}\n" for name, text in OTHERS.items())
    return "".join(parts)


def _entry(name: str, item: Any) -> str:
    heading = f"\n### {name}{_bases(item) if inspect.isclass(item) else ''}\n\n"
    if not inspect.isclass(item):
        return f"{heading}{_code(name, item)}{_text(item)}"
    if issubclass(item, enum.Enum):
        members = ", ".join(f"`{member.name}`" for member in item)
        return f"{heading}{_text(item)}\nIts members are {members}.\n"
    constructor = (
        _code(name, item if hasattr(item, "__signature__") else item.__init__)
        if "__init__" in vars(item)
        else ""
    )
    return "".join([heading, constructor, _text(item), _initialiser(item), *_members(item)])


def _bases(cls: type) -> str:
    bases = [base.__name__ for base in cls.__bases__ if base.__name__ in tinywasm.__all__]
    return f" ({', '.join(bases)})" if bases else ""


def _initialiser(cls: type) -> str:
    document = inspect.getdoc(vars(cls)["__init__"]) if "__init__" in vars(cls) else None
    return f"\n{document}\n" if document and document != object.__init__.__doc__ else ""


def _members(cls: type) -> Iterator[str]:
    for name, member in _inherited(cls).items():
        if not _is_told(member) or name in _INTERNAL.get(cls.__name__, ()):
            continue
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        document = inspect.cleandoc(function.__doc__ or "")
        # Of Python's protocols, those that have something to say.
        if name.startswith("_") and (not document or name == "__init__" or not name.endswith("__")):
            continue
        if isinstance(member, property):
            yield _item(f"`{name}`", document)
        else:
            yield _item(f"`{_call(name, function, isinstance(member, staticmethod))}`", document)


def _inherited(cls: type) -> dict[str, Any]:
    """The class's members, and those of its bases that are no public classes themselves."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        ours = base.__module__.startswith("tinywasm") and base not in _ROOTS
        if base is cls or (ours and base.__name__ not in tinywasm.__all__):
            found = {**{name: member for name, member in vars(base).items() if name not in found}, **found}
    return found


def _is_told(member: Any) -> bool:
    return isinstance(member, property | classmethod | staticmethod) or inspect.isfunction(member)


def _item(head: str, document: str) -> str:
    if not document:
        return f"\n- {head}\n"
    return f"\n- {head}\n\n" + "".join(f"  {line}".rstrip() + "\n" for line in document.splitlines())


def _text(item: Any) -> str:
    document = inspect.getdoc(item)
    # A dataclass without a docstring gets its signature as one.
    if not document or document.startswith(f"{getattr(item, '__name__', '')}("):
        return ""
    return f"{document}\n"


def _code(name: str, function: Callable[..., Any]) -> str:
    return f"```python\n{_call(name, function)}\n```\n\n"


def _call(name: str, function: Callable[..., Any], static: bool = False) -> str:
    """The name with its parameters, types as they are written."""
    signature = inspect.signature(function)
    parameters = [
        parameter if "<factory>" not in str(parameter) else parameter.replace(default=...)
        for parameter in signature.parameters.values()
    ]
    if not static and parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    # Annotations are strings; they need no quotes, while a default may have some.
    shown = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(signature.replace(parameters=parameters)))
    shown = re.sub(r"\bStorelike\b", "Store | Caller", shown).replace("Ellipsis", "...")
    return f"{name}{shown.removesuffix(' -> None')}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or with `--check` return 1 where the file is not what would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is not current")
    options = parser.parse_args(arguments)
    if not options.check:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE.relative_to(ROOT)} is not current: run `python tools/gen_api.py`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
