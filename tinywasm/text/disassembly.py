"""The code of a module, instruction by instruction with positions, under the names of its name section."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tinywasm.syntax import DecodedModule, ElementSegment, Expr, Function
from tinywasm.text.print_code import CodePrinter, FunctionNames
from tinywasm.text.printer import ModulePrinter


@dataclass(frozen=True, slots=True)
class Listed:
    """A function: `heading` binds its identifier and its type, `locals` declares the others."""

    index: int
    heading: str
    locals: list[str]
    function: Function
    printer: CodePrinter

    def instructions(self) -> Iterator[tuple[int, str]]:
        """Position and text of each instruction, the final `end` included, indented by depth.

        Raises `DecodeError` where the body is malformed.
        """
        return self.printer.placed_lines(self.function.body)


class Disassembly:
    """Of a whole module; functions come in order, and once."""

    def __init__(self, module: DecodedModule) -> None:
        self._printer = ModulePrinter(module)
        self._printer.count_imports()
        self._module = module

    def functions(self) -> Iterator[Listed]:
        """Raises `ValidationError` for too many locals."""
        for function in self._module.functions:
            index, heading, locals_, names = self._printer.function_parts(function)
            printer = CodePrinter(self._printer.identifiers, names)
            yield Listed(index, heading, locals_, function, printer)

    def expression(self, expr: Expr) -> str:
        """A constant expression in one line. Raises `DecodeError`."""
        printer = CodePrinter(self._printer.identifiers, FunctionNames())
        return " ".join(line.strip() for line in printer.lines(expr))

    def elements(self, segment: ElementSegment) -> list[str]:
        """The segment's items: functions, or expressions."""
        functions = self._printer.identifiers.spaces["func"]
        return [
            self.expression(item) if isinstance(item, Expr) else functions.get(item, str(item))
            for item in segment.init
        ]
