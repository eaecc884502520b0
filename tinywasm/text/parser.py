"""Entry points of the text parser."""

from __future__ import annotations

from tinywasm.module import DecodedModule
from tinywasm.text.cursor import Cursor
from tinywasm.text.fields import ModuleParser


def parse_module(source: str | bytes) -> DecodedModule:
    """The module of a whole `.wat` source: `(module ...)`, or its fields alone.

    `source` as bytes is UTF-8. Raises `ParseError` where it is malformed, with line and column, and
    `ValidationError` where a branch hint stands before something that is no conditional branch.
    """
    cursor = Cursor(source)
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
