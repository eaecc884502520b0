"""Tokens, positions, and everything that is lexically malformed (section 6.2)."""

from __future__ import annotations

import pytest

from tinywasm.errors import ParseError
from tinywasm.text.cursor import Cursor
from tinywasm.text.lexer import string_bytes, tokenise


def tokens(source: str | bytes) -> list[str]:
    stream = tokenise(source)
    assert stream.tokens[-1] == ""
    return stream.tokens[:-1]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", []),
        ("(module)", ["(", "module", ")"]),
        ("(func$f)", ["(", "func$f", ")"]),
        ('"a"(b)0', ['"a"', "(", "b", ")", "0"]),
        ("a;;b\nc", ["a", "c"]),
        ("a;;b\rc", ["a", "c"]),
        ("a;;b", ["a"]),
        ("a(;b;)c", ["a", "c"]),
        ("(;;)(;(;(;;);)b;)a(;;;)", ["a"]),
        ("(; ;; ;) a", ["a"]),
        ('(; " ;) a', ["a"]),
        ('$"a" $a $"\\41"', ["$a", "$a", "$A"]),
        ('$"( ;"', ["$( ;"]),
        ("$!?@#a$%^&*b-+_.:9'`|/\\<=>~", ["$!?@#a$%^&*b-+_.:9'`|/\\<=>~"]),
        (b'"\xc3\xa9"', ['"é"']),
        ('(@x "a" (b) , ; [ ] { } }} (@y) (;) ;) ;;)\n)a', ["a"]),
        ('(@"quoted id" x)a', ["a"]),
    ],
)
def test_tokens(source: str | bytes, expected: list[str]) -> None:
    assert tokens(source) == expected


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ('""', b""),
        ('"abc"', b"abc"),
        (r'"\t\n\r\"\'\\"', b"\t\n\r\"'\\"),
        (r'"\00\fF\7f"', b"\x00\xff\x7f"),
        (r'"\5c41"', b"\\41"),
        (r'"\\41"', b"\\41"),
        (r'"\u{41}\u{1_F600}\u{000000041}"', "A\U0001f600A".encode()),
        ('"é"', "é".encode()),
    ],
)
def test_strings(token: str, expected: bytes) -> None:
    assert tokens(token) == [token]
    assert string_bytes(token) == expected


@pytest.mark.parametrize("escape", [r"\u{d800}", r"\u{dfff}", r"\u{110000}", r"\u{1000000041}"])
def test_escapes_must_be_scalar_values(escape: str) -> None:
    with pytest.raises(ParseError, match="illegal escape"):
        Cursor(f'"{escape}"').string()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a\n  \x00", "illegal character"),
        ("\x7f", "illegal character"),
        ("é", "illegal character"),
        (b"a \xff", "malformed UTF-8 encoding"),
        ("\ud800", "malformed UTF-8 encoding"),
        ("(; (; ;)", "unclosed comment"),
        ('"abc', "unclosed string"),
        ('"abc\n"', "unclosed string"),
        ('"a\tb"', "illegal control character"),
        (r'"\x"', "illegal escape"),
        (r'"\u{}"', "illegal escape"),
        (r'"\u{1_}"', "illegal escape"),
        ("$", "empty identifier"),
        ('$""', "empty identifier"),
        ('$ "a"', "empty identifier"),
        ('$"a\nb"', "empty identifier"),
        (r'$"\ef"', "malformed UTF-8 encoding"),
        (r'$"\u{d800}"', "illegal escape"),
        ('$x"abc', "unclosed string"),
        ('a"b"', 'unknown operator a"b"'),
        ('"a"b', "unknown operator"),
        ('"a""b"', "unknown operator"),
        ('$"a"0', "unknown operator"),
        ('0$"a"', "unknown operator"),
        ("a,b", "unknown operator a,b"),
        ("a;b", "unknown operator a;b"),
        ("{}", "unknown operator {}"),
        ("(@)", "empty annotation id"),
        ("(@ x)", "empty annotation id"),
        ('(@"")', "empty annotation id"),
        (r'(@"\ef")', "malformed UTF-8 encoding"),
        ("(@x", "unclosed annotation"),
        ("(@x (@y )", "unclosed annotation"),
        ('(@x "', "unclosed string"),
        ("(@x é)", "illegal character"),
        ("(@x (;)", "unclosed comment"),
    ],
)
def test_lexical_errors(source: str | bytes, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        tokenise(source)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [
        ("{", 1, 1),
        ("a\n b {", 2, 4),
        ("a\r\n{", 2, 1),
        ("a\r\r{", 3, 1),
        ('"é" {', 1, 5),
        (b'"\xc3\xa9" \n \xff', 2, 2),
        ("(; \n (; \n;);) a {", 3, 8),
    ],
)
def test_positions_count_from_one(source: str | bytes, line: int, column: int) -> None:
    with pytest.raises(ParseError) as caught:
        tokenise(source)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert str(caught.value).endswith(f"(line {line}, column {column})")


def test_known_annotations_stand_before_a_token() -> None:
    stream = tokenise('a (@custom "x" (before b)) (@unknown) (@name "y") b (@"name" "z")')
    found = {
        index: [(note.name, note.tokens) for note in notes] for index, notes in stream.annotations.items()
    }
    assert found == {
        1: [("custom", ['"x"', "(", "before", "b", ")"]), ("name", ['"y"'])],
        2: [("name", ['"z"'])],
    }


@pytest.mark.parametrize("source", ["(;" * 100_000 + ";)" * 100_000, "(@a " * 100_000 + ")" * 100_000])
def test_nesting_has_no_limit(source: str) -> None:
    assert tokens(source) == []


def test_cursor_steps() -> None:
    cursor = Cursor('(a $b "\\ff" "x" 0x10 (c))')
    assert cursor.at_form("z", "a") and not cursor.at_form("z")
    assert not cursor.take_form("z") and cursor.take_form("a")
    assert cursor.identifier() == "b" and cursor.identifier() is None
    assert cursor.strings() == b"\xffx"
    assert cursor.unsigned(32) == 16
    cursor.expect_form("c")
    cursor.close()
    assert cursor.peek() == ")" and cursor.peek(1) == "" and cursor.peek(9) == ""
    cursor.skip_form()
    assert cursor.at_end()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "unexpected token: the input ends here"),
        (")", "unexpected token )"),
        ("i32.add", "unexpected token i32.add"),
        ("-0x1.8p3", "unexpected token -0x1.8p3"),
        ("0x", "unknown operator 0x"),
        ("get_local", "unknown operator get_local"),
        ("x" * 100, "unknown operator " + "x" * 40 + "..."),
    ],
)
def test_unexpected_tokens(source: str, message: str) -> None:
    cursor = Cursor(f"( {source}")
    cursor.expect("(")
    with pytest.raises(ParseError) as caught:
        cursor.expect("(")
    assert caught.value.message == message


def test_the_end_is_never_passed() -> None:
    cursor = Cursor("")
    for step in (cursor.advance, cursor.skip_form, cursor.string, cursor.close, lambda: cursor.unsigned(8)):
        with pytest.raises(ParseError):
            step()
