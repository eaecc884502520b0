"""The annotations that change a module: `@name`, `@custom` and `@metadata.code.branch_hint`."""

from __future__ import annotations

from tinywasm.errors import ParseError
from tinywasm.syntax import CustomSection
from tinywasm.text.cursor import Cursor
from tinywasm.text.lexer import Annotation, string_bytes

# Sections in their order in a binary module (section 5.5.17), with their ids.
SECTION_IDS: dict[str, int] = {
    "type": 1,
    "import": 2,
    "func": 3,
    "table": 4,
    "memory": 5,
    "tag": 13,
    "global": 6,
    "export": 7,
    "start": 8,
    "elem": 9,
    "datacount": 12,
    "code": 10,
    "data": 11,
}
_ORDER = list(SECTION_IDS)


def _error(cursor: Cursor, annotation: Annotation, problem: str) -> ParseError:
    return cursor.stream.error(f"@{annotation.name} annotation: {problem}", annotation.offset)


def name_annotation(cursor: Cursor, identifier: str | None, what: str = "names") -> str | None:
    """The name that a `@name` annotation at the current token gives, else the identifier before it.

    Raises `ParseError`; `what` tells there what has several names.
    """
    if not cursor.stream.annotations:
        return identifier
    found = [annotation for annotation in cursor.annotations() if annotation.name == "name"]
    if len(found) > 1:
        raise _error(cursor, found[1], f"multiple {what}")
    if not found:
        return identifier
    found[0].used = True
    return _name(cursor, found[0])


def _name(cursor: Cursor, annotation: Annotation) -> str:
    if len(annotation.tokens) != 1 or not annotation.tokens[0].startswith('"'):
        raise _error(cursor, annotation, "string expected")
    return _decode(cursor, annotation, annotation.tokens[0])


def _string(cursor: Cursor, annotation: Annotation, token: str) -> bytes:
    try:
        return string_bytes(token)
    except ValueError as error:
        raise _error(cursor, annotation, str(error)) from None


def _decode(cursor: Cursor, annotation: Annotation, token: str) -> str:
    try:
        return _string(cursor, annotation, token).decode()
    except UnicodeDecodeError:
        raise _error(cursor, annotation, "malformed UTF-8 encoding") from None


def branch_hints(cursor: Cursor, index: int) -> list[int]:
    """The branch hints before the token with that index, none or one. Raises `ParseError`."""
    hints: list[int] = []
    for annotation in cursor.stream.annotations.get(index, ()):
        if annotation.name != "metadata.code.branch_hint":
            continue
        if hints:
            raise _error(cursor, annotation, "duplicate annotation")
        payload = [_string(cursor, annotation, token) for token in annotation.tokens if token.startswith('"')]
        if len(payload) != len(annotation.tokens) or b"".join(payload) not in (b"\0", b"\1"):
            raise _error(cursor, annotation, 'malformed hint, "\\00" or "\\01" expected')
        hints.append(b"".join(payload)[0])
        annotation.used = True
    return hints


class CustomSections:
    """Collects a module's `@custom` annotations and puts them into the order of the binary format."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        # Place in _ORDER, doubled, plus one behind that section; with it name and payload.
        self._found: list[tuple[int, str, bytes]] = []

    def collect(self) -> None:
        """Take the annotations at the current token, which stands between two fields."""
        for annotation in self._cursor.annotations():
            if annotation.name == "custom" and not annotation.used:
                annotation.used = True
                self._found.append(self._parse(annotation))

    def _parse(self, annotation: Annotation) -> tuple[int, str, bytes]:
        tokens = annotation.tokens
        if not tokens or not tokens[0].startswith('"'):
            raise _error(self._cursor, annotation, "missing section name")
        name = _decode(self._cursor, annotation, tokens[0])
        place, start = 2 * len(_ORDER), 1
        if tokens[1:2] == ["("]:
            place, start = self._placement(annotation)
        rest = tokens[start:]
        if not all(token.startswith('"') for token in rest):
            raise _error(self._cursor, annotation, "unexpected token")
        return place, name, b"".join(_string(self._cursor, annotation, token) for token in rest)

    def _placement(self, annotation: Annotation) -> tuple[int, int]:
        """`(before first)`, `(after last)`, or either word with a section; and where the tokens go on."""
        side, section = (*annotation.tokens[2:4], "", "")[:2]
        if side not in ("before", "after"):
            raise _error(self._cursor, annotation, "malformed placement")
        if section in SECTION_IDS:
            place = 2 * _ORDER.index(section) + (side == "after")
        elif (side, section) == ("before", "first"):
            place = -1
        elif (side, section) == ("after", "last"):
            place = 2 * len(_ORDER)
        else:
            raise _error(self._cursor, annotation, "malformed section kind")
        if annotation.tokens[4:5] != [")"]:
            raise _error(self._cursor, annotation, "unexpected token")
        return place, 5

    def sections(self, present: set[str]) -> list[CustomSection]:
        """The custom sections in order; `present` are the names of the other sections of the module."""
        sections = []
        for place, name, payload in sorted(self._found, key=lambda found: found[0]):
            after = 0
            if place >= 0 and place % 2:
                after = SECTION_IDS[_ORDER[place // 2]]
            else:
                before = [kind for kind in _ORDER[: max(place, 0) // 2] if kind in present]
                after = SECTION_IDS[before[-1]] if before else 0
            sections.append(CustomSection(name, payload, after))
        return sections


def check_all_used(cursor: Cursor, start: int, end: int) -> None:
    """Refuse annotations among the tokens `start` to `end` that stand where they mean nothing."""
    for index, found in cursor.stream.annotations.items():
        for annotation in found:
            if annotation.used or not start <= index <= end:
                continue
            if annotation.name == "metadata.code.branch_hint":
                raise _error(cursor, annotation, "not in a function")
            raise cursor.stream.error(f"misplaced @{annotation.name} annotation", annotation.offset)
