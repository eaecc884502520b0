"""The part of C that the loop's arms and the numeric functions are written in, as syntax trees.

An expression or a statement is a tuple that begins with its kind. Whatever else C has is refused.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import tinywasm.engine.native

Tree = tuple[Any, ...]

COMPILER = shlex.split(os.environ.get("CC", "cc"))

NATIVE = Path(tinywasm.engine.native.__file__).parent
TYPES = {
    *("int8_t", "int16_t", "int32_t", "int64_t", "uint8_t", "uint16_t", "uint32_t", "uint64_t"),
    *("int", "unsigned", "float", "double", "v128", "Func", "Instr", "void"),
}
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>0[xX][0-9a-fA-F.]+(?:[pP][-+]?\d+)?[uUlLf]*|\d[\d.]*(?:[eE][-+]?\d+)?[uUlLf]*)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<string>"[^"]*")
    |(?P<sign><<=|>>=|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%&|^~!<>=?:;,.(){}\[\]]))""",
    re.X,
)
# Binary operators, those that bind closest last.
_LEVELS = [["||"], ["&&"], ["|"], ["^"], ["&"], ["==", "!="], ["<", ">", "<=", ">="], ["<<", ">>"]]
_LEVELS += [["+", "-"], ["*", "/", "%"]]
_ASSIGNMENTS = ("=", "+=", "-=", "*=", "&=", "|=", "^=")


class Function(NamedTuple):
    """A C function: the type of its result, its parameters as (type, name), where its body begins."""

    type: str
    parameters: list[tuple[str, str]]
    start: int


@cache
def loop() -> str:
    """The source of the loop as the compiler sees it, with all macros expanded."""
    command = [*COMPILER, "-E", "-P", "-I", str(NATIVE), str(NATIVE / "loop.c")]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@cache
def _labels() -> dict[str, int]:
    return {found[1]: found.end() - 1 for found in re.finditer(r"\bL_(\w+):\s*\{", loop())}


@cache
def arm(name: str) -> Tree:
    """The statement that runs the word of that name."""
    return Parser(loop(), _labels()[name]).statement()


@cache
def functions() -> dict[str, Function]:
    """The functions that C code of ours defines inline, by their names."""
    found = {}
    for match in re.finditer(r"static inline ([\w ]+?) (\w+)\(([^()]*)\) \{", loop()):
        type, name, parameters = match.groups()
        if type in TYPES:
            found[name] = Function(
                type, [_parameter(each) for each in parameters.split(",")], match.end() - 1
            )
    return found


def _parameter(text: str) -> tuple[str, str]:
    type, name = text.replace("const ", "").replace("*", " * ").rsplit(None, 1)
    return type.replace(" ", ""), name


@cache
def body(function: str) -> Tree:
    """The statements of a function."""
    return Parser(loop(), functions()[function].start).statement()


class Parser:
    """Recursive descent from a place in the text on."""

    def __init__(self, text: str, start: int) -> None:
        self.text = text
        self.end = start
        self.kind = self.token = ""
        self.advance()

    def advance(self) -> None:
        match = _TOKEN.match(self.text, self.end)
        assert match, f"no C: {self.text[self.end : self.end + 60]!r}"
        self.end = match.end()
        self.kind = match.lastgroup or ""
        self.token = match[self.kind]

    def accept(self, *tokens: str) -> str:
        """The token, if it is one of these, and then the next one."""
        found = self.token
        if found not in tokens:
            return ""
        self.advance()
        return found

    def expect(self, token: str) -> None:
        assert self.token == token, f"{token} wanted at {self.text[self.end - 20 : self.end + 60]!r}"
        self.advance()

    def name(self) -> str:
        found = self.token
        assert self.kind == "name", found
        self.advance()
        return found

    def type(self) -> str:
        """A type, pointers with their stars."""
        while self.accept("const", "volatile"):
            pass
        found = self.name()
        while self.token in ("*", "const"):
            found += "*" if self.accept("*") else self.accept("const") and ""
        return found

    # Statements

    def statement(self) -> Tree:
        if self.token == "{":
            # The closing brace is not read over: an arm may be all that is looked at.
            return self.block()
        if self.accept(";"):
            return ("block", [])
        if self.token in TYPES or self.token == "const":
            return self.declaration()
        if self.token in _STATEMENTS and self.kind == "name":
            return _STATEMENTS[self.token](self)
        value = self.expression()
        self.expect(";")
        return ("expression", value)

    def block(self) -> Tree:
        self.expect("{")
        found = []
        while self.token != "}":
            found.append(self.statement())
        self.expect("}")
        return ("block", found)

    def declaration(self) -> Tree:
        type, names = self.type(), []
        while True:
            # Each of several pointers has its own star, and there are none of those here.
            name, size, value = self.name(), None, None
            if self.accept("["):
                size = self.expression()
                self.expect("]")
            if self.accept("="):
                value = self.initializer() if self.token == "{" else self.assignment()
            names.append((name, size, value))
            if not self.accept(","):
                self.expect(";")
                return ("declaration", type, names)

    def initializer(self) -> Tree:
        for token in "{0}":
            self.expect(token)
        return ("zeros",)

    def condition(self) -> Tree:
        self.advance()
        self.expect("(")
        value = self.expression()
        self.expect(")")
        then = self.statement()
        return ("if", value, then, self.statement() if self.accept("else") else None)

    def once(self) -> Tree:
        """The `do` of a macro, which is no loop."""
        self.advance()
        found = self.statement()
        for token in ("while", "(", "0", ")", ";"):
            self.expect(token)
        return found

    def repetition(self) -> Tree:
        self.advance()
        self.expect("(")
        first = self.statement()
        condition = self.expression()
        self.expect(";")
        step = self.expression()
        self.expect(")")
        return ("for", first, condition, step, self.statement())

    def jump(self) -> Tree:
        self.advance()
        if self.accept("*"):
            self.expression()
            label = "*"
        else:
            label = self.name()
        self.expect(";")
        return ("goto", label)

    def result(self) -> Tree:
        self.advance()
        value = self.expression()
        self.expect(";")
        return ("return", value)

    def assembly(self) -> Tree:
        """Empty assembly that hides a value from the compiler."""
        self.advance()
        self.accept("volatile")
        self.expect("(")
        self.expect('""')
        depth = 1
        while depth:
            depth += (self.token == "(") - (self.token == ")")
            self.advance()
        self.expect(";")
        return ("block", [])

    # Expressions

    def expression(self) -> Tree:
        return self.assignment()

    def assignment(self) -> Tree:
        left = self.conditional()
        operator = self.accept(*_ASSIGNMENTS)
        return ("assign", operator, left, self.assignment()) if operator else left

    def conditional(self) -> Tree:
        value = self.binary(0)
        if not self.accept("?"):
            return value
        first = self.expression()
        self.expect(":")
        return ("choose", value, first, self.conditional())

    def binary(self, level: int) -> Tree:
        if level == len(_LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while operator := self.accept(*_LEVELS[level]):
            left = ("binary", operator, left, self.binary(level + 1))
        return left

    def unary(self) -> Tree:
        operator = self.accept("-", "!", "~", "*", "&", "--")
        if operator:
            return ("unary", operator, self.unary())
        if self.token == "(":
            start = self.end, self.kind, self.token
            self.advance()
            if self.token in TYPES or self.token == "const":
                type = self.type()
                self.expect(")")
                return ("cast", type, self.unary())
            self.end, self.kind, self.token = start
        return self.postfix()

    def postfix(self) -> Tree:
        value = self.primary()
        while True:
            if self.accept("("):
                value = ("call", value, self.arguments())
            elif self.accept("["):
                value = ("index", value, self.expression())
                self.expect("]")
            elif self.accept("."):
                value = ("member", value, self.name())
            elif self.accept("->"):
                value = ("arrow", value, self.name())
            elif self.accept("++"):
                value = ("increment", value)
            else:
                return value

    def arguments(self) -> list[Tree]:
        found: list[Tree] = []
        while not self.accept(")"):
            found.append(self.assignment())
            self.accept(",")
        return found

    def primary(self) -> Tree:
        if self.accept("("):
            value = self.expression()
            self.expect(")")
            return value
        if self.kind == "name":
            return ("name", self.name())
        text = self.token
        assert self.kind == "number", text
        self.advance()
        return _number(text)


_STATEMENTS = {
    "if": Parser.condition,
    "do": Parser.once,
    "for": Parser.repetition,
    "goto": Parser.jump,
    "return": Parser.result,
    "__asm__": Parser.assembly,
}


def _number(text: str) -> Tree:
    digits = text.rstrip("uUlLf") if not text.lower().startswith("0x") else text.rstrip("uUlL")
    if "." in digits or "p" in digits.lower():
        single = digits.endswith("f") or text.endswith("f")
        digits = digits.rstrip("f")
        value = float.fromhex(digits) if "x" in digits.lower() else float(digits)
        return ("float", "float" if single else "double", value)
    number, suffix = int(digits, 0), text[len(digits) :].lower()
    wide = "l" in suffix or number >= 1 << 32
    unsigned = "u" in suffix or number >= 1 << (63 if wide else 31)
    return ("number", f"{'u' if unsigned else ''}int{64 if wide else 32}_t", number)
