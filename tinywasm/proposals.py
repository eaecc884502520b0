"""Proposals that are not supported, by what a module of theirs has: errors name them."""

from __future__ import annotations

import re

_CONTROL = "memory-control"
_DESCRIPTORS = "custom-descriptors"
_LEGACY = "legacy exception-handling"
_STACKS = "stack-switching"
_SHARED = "shared-everything-threads"
_STRINGS = "stringref"
_HALF = "half-precision"
_THREADS = "threads"

_LIMITS = ((0x02, _THREADS), (0x08, "custom-page-sizes"))
_OPCODES = {
    **dict.fromkeys((0x06, 0x07, 0x09, 0x18, 0x19), _LEGACY),
    **dict.fromkeys(range(0xE0, 0xE7), _STACKS),
    0xFE: _THREADS,
}
_PREFIXED = {
    **{(0xFB, code): _DESCRIPTORS for code in range(0x20, 0x27)},
    **{(0xFB, code): _STRINGS for code in range(0x80, 0xB8)},
    (0xFC, 0x12): _CONTROL,
    (0xFC, 0x30): _HALF,
    (0xFC, 0x31): _HALF,
    **{(0xFD, code): _HALF for code in range(0x120, 0x150)},
}
_TYPES = {
    **dict.fromkeys((0x4C, 0x4D, 0x62), _DESCRIPTORS),
    **dict.fromkeys((0x5D, 0x68, 0x75), _STACKS),
    0x65: _SHARED,
}
_IMPORT_KINDS = {0x7E: "compact-import-section", 0x7F: "compact-import-section"}
# Compiled when somebody asks, which is after an error.
_WORDS = (
    (r"\w+\.atomic\..*|atomic\.fence|shared", _THREADS),
    ("try|catch|catch_all|delegate|rethrow", _LEGACY),
    ("cont|(nullcont|cont)ref|cont\\.(new|bind)|suspend|resume(_throw(_ref)?)?|switch", _STACKS),
    (r".*_desc(_\w+)?|descriptor|describes|exact|ref\.get_desc", _DESCRIPTORS),
    (r"memory\.discard", _CONTROL),
    (r"component", "component-model"),
    (r"string(ref|view_\w+)?(\..*)?", _STRINGS),
    (r"f16x8\..*|f32\.load_f16|f32\.store_f16", _HALF),
)


def of_opcode(prefix: int | None, code: int) -> str:
    """What to add to an error about an opcode, behind its prefix where it has one."""
    name = _OPCODES.get(code) if prefix is None else _OPCODES.get(prefix) or _PREFIXED.get((prefix, code))
    return _said(name)


def of_limits(flags: int, allowed: int) -> str:
    """What to add to an error about the flags of limits, besides those in `allowed`."""
    return _said(next((name for flag, name in _LIMITS if flags & flag & ~allowed), None))


def of_type(code: int) -> str:
    """What to add to an error about the first byte of a type."""
    return _said(_TYPES.get(code))


def of_import_kind(code: int) -> str:
    """What to add to an error about an import's kind."""
    return _said(_IMPORT_KINDS.get(code))


def of_word(word: str) -> str:
    """What to add to an error about a word of the text format."""
    return _said(next((name for pattern, name in _WORDS if re.fullmatch(pattern, word)), None))


def _said(name: str | None) -> str:
    if name is None:
        return ""
    if name == "custom-page-sizes":
        return f": it is of the proposal {name}, which is not switched on"
    return f": it is of the proposal {name}, which is not supported"
