"""Identifiers: the index spaces of a module and what is bound in them (section 6.3.5)."""

from __future__ import annotations

from tinywasm.interruption import STEPS, look
from tinywasm.syntax import Names
from tinywasm.text.annotations import name_annotation
from tinywasm.text.cursor import Cursor


class IndexSpace:
    """One index space: its size so far, and the indices of its identifiers.

    `kind` is the word in messages. `display` collects the names of the name section.
    """

    __slots__ = ("count", "display", "indices", "kind")

    def __init__(self, kind: str, display: dict[int, str]) -> None:
        self.kind = kind
        self.display = display
        self.indices: dict[str, int] = {}
        self.count = 0

    def bind(self, cursor: Cursor) -> int:
        """A new index, under the identifier that comes next, if one does. Raises `ParseError`."""
        index = self.count
        self.count += 1
        identifier = cursor.identifier()
        if identifier is not None:
            if identifier in self.indices:
                raise cursor.error(f"duplicate {self.kind} ${identifier}", cursor.index - 1)
            self.indices[identifier] = index
        name = name_annotation(cursor, identifier)
        if name is not None:
            self.display[index] = name
        return index

    def resolve(self, cursor: Cursor) -> int:
        """The index that comes next, a number or an identifier. Raises `ParseError`."""
        token = cursor.tokens[cursor.index]
        if not token.startswith("$"):
            return cursor.unsigned(32)
        index = self.indices.get(token[1:])
        if index is None:
            raise cursor.error(f"unknown {self.kind} {token}")
        cursor.index += 1
        return index


def at_index(cursor: Cursor) -> bool:
    """Whether an index comes next."""
    if cursor.index % STEPS == 0:
        look()
    first = cursor.tokens[cursor.index][:1]
    return first == "$" or first.isdigit()


class Scope:
    """The index spaces of one module, keyed by the words that immediates use for them."""

    def __init__(self) -> None:
        self.names = Names()
        self.types = IndexSpace("type", self.names.types)
        self.spaces: dict[str, IndexSpace] = {
            "type": self.types,
            "func": IndexSpace("func", self.names.functions),
            "table": IndexSpace("table", self.names.tables),
            "memory": IndexSpace("memory", self.names.memories),
            "global": IndexSpace("global", self.names.globals),
            "tag": IndexSpace("tag", self.names.tags),
            "elem": IndexSpace("elem segment", self.names.elems),
            "data": IndexSpace("data segment", self.names.datas),
        }
