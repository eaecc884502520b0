"""A position in a token stream, with the steps that every parser of the text format needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tinywasm import proposals
from tinywasm.errors import ParseError
from tinywasm.instructions import BY_NAME
from tinywasm.interruption import STEPS, look
from tinywasm.text import literals
from tinywasm.text.lexer import Annotation, shortened, string_bytes, tokenise
from tinywasm.types import REF_SHORTHANDS, AbstractHeap

_T = TypeVar("_T")

# Words that are known somewhere, in modules or scripts: out of place they are "unexpected", while any
# other word is an "unknown operator".
KEYWORDS = frozenset(
    {
        *BY_NAME,
        *(heap.value for heap in AbstractHeap),
        *REF_SHORTHANDS,
        *literals.SHAPES,
        *("i8", "i16", "i32", "i64", "f32", "f64", "v128", "ref", "null", "mut", "field", "sub", "final"),
        *("rec", "type", "param", "result", "local", "func", "table", "memory", "global", "tag", "import"),
        *("export", "start", "elem", "data", "declare", "offset", "item", "module", "definition", "binary"),
        *("quote", "instance", "then", "catch", "catch_ref", "catch_all", "catch_all_ref", "pagesize"),
        *("register", "invoke", "get", "assert_return", "assert_trap", "assert_malformed", "script"),
        *("assert_invalid", "assert_unlinkable", "assert_exhaustion", "assert_exception", "input", "output"),
        *("assert_malformed_custom", "assert_invalid_custom", "either", "ref.extern", "ref.host", "thread"),
        *("nan:canonical", "nan:arithmetic", "ref.struct", "ref.array", "ref.exn", "ref.eq", "ref.any"),
    }
)


class Cursor:
    """Walks over the tokens of one source.

    `tokens[index]` is the current token; see `lexer` for what a token looks like. Every step that
    expects something raises `ParseError`, with the position, where it finds something else. The
    constructor raises it where the source is lexically malformed.
    """

    __slots__ = ("index", "stream", "tokens")

    def __init__(self, source: str | bytes) -> None:
        self.stream = tokenise(source)
        self.tokens: list[str] = self.stream.tokens
        self.index = 0

    def peek(self, ahead: int = 0) -> str:
        """The current token, or one `ahead` of it; the empty string behind the end."""
        index = self.index + ahead
        return self.tokens[index] if index < len(self.tokens) else ""

    def advance(self) -> str:
        """The current token, which is then left behind."""
        token = self.tokens[self.index]
        if not token:
            raise self.unexpected()
        self.index += 1
        return token

    def at_end(self) -> bool:
        """Whether no token is left."""
        return not self.tokens[self.index]

    def at_form(self, *keywords: str) -> bool:
        """Whether `(` and one of the keywords come next."""
        return self.tokens[self.index] == "(" and self.tokens[self.index + 1] in keywords

    def take(self, token: str) -> bool:
        """Leave `token` behind if it comes next; returns whether it did."""
        if self.index % STEPS == 0:
            look()
        if self.tokens[self.index] != token:
            return False
        self.index += 1
        return True

    def take_form(self, keyword: str) -> bool:
        """Leave `(` and the keyword behind if they come next; returns whether they did."""
        if self.tokens[self.index] != "(" or self.tokens[self.index + 1] != keyword:
            return False
        self.index += 2
        return True

    def expect(self, token: str) -> None:
        """Leave `token` behind."""
        if not self.take(token):
            raise self.unexpected()

    def expect_form(self, keyword: str) -> None:
        """Leave `(` and the keyword behind."""
        self.expect("(")
        self.expect(keyword)

    def close(self) -> None:
        """Leave `)` behind."""
        if self.tokens[self.index] != ")":
            raise self.unexpected()
        self.index += 1

    def skip_form(self) -> None:
        """Leave the rest of the current form behind, up to and with its `)`."""
        depth, index, tokens = 1, self.index, self.tokens
        while depth:
            token = tokens[index]
            if token == "(":
                depth += 1
            elif token == ")":
                depth -= 1
            elif not token:
                raise self.unexpected(index)
            index += 1
        self.index = index

    def identifier(self) -> str | None:
        """The identifier that comes next, without its `$`, or None."""
        token = self.tokens[self.index]
        if not token.startswith("$"):
            return None
        self.index += 1
        return token[1:]

    def string(self) -> bytes:
        """A string's bytes."""
        token = self.tokens[self.index]
        if not token.startswith('"'):
            raise self.unexpected()
        try:
            value = string_bytes(token)
        except ValueError as error:
            raise self.error(str(error)) from None
        self.index += 1
        return value

    def strings(self) -> bytes:
        """Any number of strings, joined."""
        parts = []
        while self.tokens[self.index].startswith('"'):
            parts.append(self.string())
        return b"".join(parts)

    def name(self) -> str:
        """A name: a string that is valid UTF-8 (section 6.3.4)."""
        value = self.string()
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise self.error("malformed UTF-8 encoding", self.index - 1) from None

    def unsigned(self, bits: int) -> int:
        """An unsigned integer of at most `bits` bits."""
        return self.literal(lambda token: literals.parse_unsigned(token, bits))

    def literal(self, parse: Callable[[str], _T | None]) -> _T:
        """A number that one of the functions of `literals` reads."""
        try:
            value = parse(self.tokens[self.index])
        except literals.LiteralError as error:
            raise self.error(str(error)) from None
        if value is None:
            raise self.unexpected()
        self.index += 1
        return value

    def annotations(self) -> list[Annotation]:
        """The known annotations directly before the current token."""
        return self.stream.annotations.get(self.index, [])

    def line(self, index: int) -> int:
        """The line of the token with that index, from 1."""
        return self.stream.line(self.stream.offsets[index])

    def error(self, message: str, index: int | None = None) -> ParseError:
        """A `ParseError` at the current token, or at that with `index`."""
        return self.stream.error(message, self.stream.offsets[self.index if index is None else index])

    def unexpected(self, index: int | None = None) -> ParseError:
        """The error for a token that cannot stand where it does."""
        token = self.tokens[self.index if index is None else index]
        if not token:
            return self.error("unexpected token: the input ends here", index)
        known = token[0] in '()"$' or token in KEYWORDS or literals.is_number(token)
        if known or token.startswith(("offset=", "align=")):
            return self.error(f"unexpected token {shortened(token)}{self.stream.of_text()}", index)
        more = proposals.of_word(token) or self.stream.of_text()
        return self.error(f"unknown operator {shortened(token)}{more}", index)
