"""Tokens of the text format (section 6.2).

A token is its source text, a `str`; its first character tells its kind: `(` and `)`, `"` for a
string, `$` for an identifier, anything else a keyword or a number. The end of the input is the empty
string. Quoted identifiers are unquoted here, so that `$"x"` and `$x` are the same token.

Annotations are no tokens: those that `annotations` understands are kept aside with the index of the
token that follows them, all others are skipped once their tokens are checked.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field

from tinywasm.errors import ParseError
from tinywasm.interruption import watched

KNOWN_ANNOTATIONS = frozenset({"custom", "name", "metadata.code.branch_hint"})

_IDCHAR = r"[0-9A-Za-z!#$%&'*+\-./:<=>?@\\^_`|~]"
_STRING_BODY = (
    r"\"(?:[^\"\\\x00-\x1f\x7f]++|\\(?:[nrt\\'\"]|[0-9A-Fa-f]{2}|u\{[0-9A-Fa-f]++(?:_[0-9A-Fa-f]++)*+\}))*+"
)
_STRING = _STRING_BODY + '"'
# Block comments without another one inside; those with one go through `_skip_comment`.
_COMMENT = r"\(;[^;(]*+(?:(?:;(?!\))|\((?!;))[^;(]*+)*+;\)"
_TRIVIA = rf"(?:[ \t\n\r]++|;;[^\n\r]*+|{_COMMENT})*+"
# What must not follow a token immediately: it would be part of one reserved token.
_GLUED = r"(?![\"\[\]{},]|;(?!;))"
_WORD = rf"(?!\$(?!{_IDCHAR})){_IDCHAR}++{_GLUED}"
_PLAIN = re.compile(rf"{_TRIVIA}(\((?![;@])|\)|{_WORD}|{_STRING}(?!{_IDCHAR}){_GLUED})?")
_RESERVED = rf"(?:{_IDCHAR}++|{_STRING}|[,\[\]{{}}]|;(?!;))++"
_RESERVED_TOKEN = re.compile(_RESERVED)
_ANY = re.compile(rf"{_TRIVIA}(\((?!;)|\)|{_RESERVED})?")
_FOREIGN = re.compile(rf"{_TRIVIA}(?!\()")
_QUOTED_ID = re.compile(rf"\$({_STRING})")
_ANNOTATION_ID = re.compile(rf"\(@(?:({_IDCHAR}++)|({_STRING}))")
_STRING_START = re.compile(_STRING_BODY)
_COMMENT_EDGE = re.compile(r"\(;|;\)")
_NEWLINE = re.compile(r"\r\n|\n|\r")
_ESCAPE = re.compile(rb"((?:\\[0-9A-Fa-f]{2})+)|\\(?:([nrt\\'\"])|u\{([0-9A-Fa-f_]+)\})")
# Characters of a token that errors show.
_SHOWN = 40
_SIMPLE_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\", b"'": b"'", b'"': b'"'}


@dataclass(slots=True)
class Annotation:
    """One annotation `(@name ...)`; `tokens` are those between the name and the last parenthesis.

    The parser sets `used` once it found the annotation where it has a meaning.
    """

    name: str
    tokens: list[str]
    offset: int
    used: bool = False


@dataclass(slots=True)
class TokenStream:
    """All tokens of a source and their offsets; the last token is the empty end mark.

    `annotations` maps a token's index to the known annotations directly before it.
    """

    text: str
    tokens: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    annotations: dict[int, list[Annotation]] = field(default_factory=dict)
    _lines: list[int] = field(default_factory=list)

    def line(self, offset: int) -> int:
        """The line of a character offset, from 1."""
        if not self._lines:
            self._lines = [0, *(match.end() for match in _NEWLINE.finditer(self.text))]
        return bisect_right(self._lines, offset)

    def error(self, message: str, offset: int) -> ParseError:
        """A `ParseError` that points at a character offset."""
        line = self.line(offset)
        return ParseError(message, line, offset - self._lines[line - 1] + 1)

    def of_text(self) -> str:
        """What to add to an error about a token where the source does not begin as WebAssembly text does."""
        return ": this is not WebAssembly text, which begins with `(`" if _FOREIGN.match(self.text) else ""


def string_bytes(token: str) -> bytes:
    """The bytes that a string token denotes. Raises `ValueError` for a `\\u` that is no scalar value."""
    body = token[1:-1].encode()
    return _ESCAPE.sub(_unescape, body) if b"\\" in body else body


def _unescape(match: re.Match[bytes]) -> bytes:
    run, simple, scalar = match.groups()
    if run:
        return bytes.fromhex(run.replace(b"\\", b"").decode())
    if simple:
        return _SIMPLE_ESCAPES[simple]
    digits = scalar.replace(b"_", b"").lstrip(b"0")
    code = int(digits or b"0", 16) if len(digits) <= 6 else 0x110000
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise ValueError("illegal escape")
    return chr(code).encode()


def shortened(token: str) -> str:
    """A token as errors show it."""
    return token if len(token) <= _SHOWN else token[:_SHOWN] + "..."


def tokenise(source: str | bytes) -> TokenStream:
    """Split `source` into tokens. Raises `ParseError` where it is lexically malformed."""
    return _Lexer(_decode(source)).run()


def _decode(source: str | bytes) -> str:
    if isinstance(source, bytes):
        try:
            return source.decode()
        except UnicodeDecodeError as error:
            good = TokenStream(source[: error.start].decode())
            message = "malformed UTF-8 encoding"
            if "(" not in good.text:
                message += ": neither text nor a binary module, which begins with \\0asm"
            raise good.error(message, len(good.text)) from None
    try:
        source.encode()
    except UnicodeEncodeError as error:
        raise TokenStream(source).error("malformed UTF-8 encoding", error.start) from None
    return source


class _Lexer:
    def __init__(self, text: str) -> None:
        self.text = text
        self.stream = TokenStream(text)

    def run(self) -> TokenStream:
        position, end = 0, len(self.text)
        while True:
            position = self._plain(position)
            if position == end:
                self._append("", end)
                return self.stream
            position = self._special(position)

    def _append(self, token: str, offset: int) -> None:
        self.stream.tokens.append(token)
        self.stream.offsets.append(offset)

    def _plain(self, position: int) -> int:
        """Take ordinary tokens until something else comes; returns where."""
        add_token, add_offset = self.stream.tokens.append, self.stream.offsets.append
        for match in watched(_PLAIN.finditer(self.text, position)):
            token = match[1]
            if not token:
                return match.end()
            add_token(token)
            add_offset(match.start(1))
        return len(self.text)

    def _special(self, position: int) -> int:
        """What the fast pattern leaves: nested comments, annotations, quoted identifiers, and errors."""
        if self.text.startswith("(;", position):
            return self._skip_comment(position)
        if self.text.startswith("(@", position):
            return self._annotation(position)
        quoted = _QUOTED_ID.match(self.text, position)
        reserved = _RESERVED_TOKEN.match(self.text, position)
        if quoted and reserved and quoted.end() == reserved.end():
            self._append("$" + self._name(quoted[1], position, "empty identifier"), position)
            return quoted.end()
        raise self._lexical_error(position, reserved[0] if reserved else "")

    def _name(self, token: str, offset: int, if_empty: str) -> str:
        try:
            name = string_bytes(token).decode()
        except UnicodeDecodeError:
            raise self.stream.error("malformed UTF-8 encoding", offset) from None
        except ValueError as error:
            raise self.stream.error(str(error), offset) from None
        if not name:
            raise self.stream.error(if_empty, offset)
        return name

    def _lexical_error(self, position: int, reserved: str) -> ParseError:
        if reserved == "$":
            return self.stream.error("empty identifier", position)
        after = position + len(reserved)
        if self.text.startswith('"', after):
            return self._string_error(after)
        what = f"unknown operator {shortened(reserved)}" if reserved else "illegal character"
        return self.stream.error(f"{what}{self.stream.of_text()}", position)

    def _string_error(self, position: int) -> ParseError:
        match = _STRING_START.match(self.text, position)
        stop = match.end() if match else position
        culprit = self.text[stop : stop + 1]
        if culprit in ("", "\n", "\r"):
            return self.stream.error("unclosed string", position)
        if culprit == "\\":
            return self.stream.error("illegal escape", stop)
        return self.stream.error("illegal control character in a string", stop)

    def _skip_comment(self, position: int) -> int:
        depth = 0
        for edge in _COMMENT_EDGE.finditer(self.text, position):
            depth += 1 if edge[0] == "(;" else -1
            if depth == 0:
                return edge.end()
        raise self.stream.error("unclosed comment", position)

    def _annotation(self, start: int) -> int:
        head = _ANNOTATION_ID.match(self.text, start)
        if not head:
            raise self.stream.error("empty annotation id", start)
        name = head[1] or self._name(head[2], start, "empty annotation id")
        tokens: list[str] = []
        position = self._annotation_tokens(head.end(), tokens, start)
        if name in KNOWN_ANNOTATIONS:
            following = len(self.stream.tokens)
            self.stream.annotations.setdefault(following, []).append(Annotation(name, tokens, start))
        return position

    def _annotation_tokens(self, position: int, tokens: list[str], start: int) -> int:
        depth = 1
        while True:
            match = _ANY.match(self.text, position)
            assert match
            token, position = match[1], match.end()
            if token == ")":
                depth -= 1
                if depth == 0:
                    return position
            elif token == "(":
                depth += 1
            elif not token:
                position = self._annotation_special(position, start)
                continue
            tokens.append(token)

    def _annotation_special(self, position: int, start: int) -> int:
        if position == len(self.text):
            raise self.stream.error("unclosed annotation", start)
        if self.text.startswith("(;", position):
            return self._skip_comment(position)
        raise self._lexical_error(position, "")
