"""The modules of a script."""

from __future__ import annotations

from collections.abc import Iterator

from locate import Script
from tinywasm.wast.commands import AssertModule, DefineModule, ModuleSource
from tinywasm.wast.script import parse_script

# Not assert_invalid_custom: the parser refuses annotations in the wrong place.
_WELL_FORMED = ("assert_invalid", "assert_unlinkable", "assert_trap")


def well_formed(script: Script) -> Iterator[tuple[int, ModuleSource]]:
    """The well-formed ones, valid or not, with their lines."""
    for command in parse_script(script.path.read_bytes()):
        body = command.body
        if isinstance(body, DefineModule):
            yield command.line, body.source
        elif (
            isinstance(body, AssertModule)
            and body.head in _WELL_FORMED
            # Else it is an instance of a module that was defined before.
            and isinstance(body.module, ModuleSource)
        ):
            yield command.line, body.module
