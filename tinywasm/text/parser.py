"""Entry points of the text parser."""

from __future__ import annotations

from tinywasm.syntax import DecodedModule
from tinywasm.text.cursor import Cursor
from tinywasm.text.fields import ModuleParser


def parse_module(source: str | bytes) -> DecodedModule:
    """The module of a whole `.wat` source: `(module ...)`, or its fields alone.

    `source` as bytes is UTF-8. Raises `ParseError` where it is malformed, with line and column, and
    `ValidationError` where a branch hint stands before something that is no conditional branch.
    """
    return _module(Cursor(source))


def parse_source(source: str | bytes) -> DecodedModule | bytes:
    """As `parse_module`, but the module may also be given as scripts give one.

    Of `(module binary "...")` it is the bytes in the binary format, which nobody has looked at, and of
    `(module quote "...")` the module in the text that is quoted, where errors have their place.
    """
    cursor = Cursor(source)
    form = _given_in(cursor)
    if form is None:
        return _module(cursor)
    content = cursor.strings()
    cursor.close()
    if not cursor.at_end():
        raise cursor.unexpected()
    return content if form == "binary" else parse_module(content)


def _given_in(cursor: Cursor) -> str | None:
    """Move the cursor to the strings of `(module $id? binary` or `quote`; which it is, or neither."""
    start = cursor.index
    if cursor.take_form("module"):
        cursor.identifier()
        for form in ("binary", "quote"):
            if cursor.take(form):
                return form
    cursor.index = start
    return None


def _module(cursor: Cursor) -> DecodedModule:
    module = module_at(cursor) if cursor.take_form("module") else parse_module_fields(cursor)
    if not cursor.at_end():
        raise cursor.unexpected()
    return module


def module_at(cursor: Cursor) -> DecodedModule:
    """A module's identifier, fields and closing parenthesis, the cursor standing behind `(module`.

    Raises as `parse_module`.
    """
    module = parse_module_fields(cursor, cursor.identifier())
    cursor.close()
    return module


def parse_module_fields(cursor: Cursor, name: str | None = None) -> DecodedModule:
    """The fields of one module, up to a `)` that closes more than a field, or to the end.

    `name` is the module's identifier, without `$`. Raises as `parse_module`.
    """
    return ModuleParser(cursor).parse(name)
