"""The text format (chapter 6): parser and printer."""

from tinywasm.text.cursor import Cursor
from tinywasm.text.disassembly import Disassembly
from tinywasm.text.parser import module_at, parse_module, parse_module_fields, parse_source
from tinywasm.text.printer import print_module

__all__ = [
    "Cursor",
    "Disassembly",
    "module_at",
    "parse_module",
    "parse_module_fields",
    "parse_source",
    "print_module",
]
