"""Every well-formed module of the suite survives the encoder and the printer, in whichever form it came."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from locate import Script
from roundtrip import check_module, check_text, through_text
from tinywasm import binary
from tinywasm.wast.commands import AssertModule, DefineModule, ModuleSource
from tinywasm.wast.script import parse_script
from tinywasm.wast.suite import config_for, unsupported

# Not assert_invalid_custom: the parser refuses annotations in the wrong place.
_WELL_FORMED = ("assert_invalid", "assert_unlinkable", "assert_trap")


def _well_formed(script: Script) -> Iterator[tuple[int, ModuleSource]]:
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


def test_round_trip(script: Script) -> None:
    reason = unsupported(script.path)
    if reason:
        pytest.skip(reason)
    features = config_for(script.path).features
    for line, source in _well_formed(script):
        try:
            module = source.decode(features)
            data = binary.encode(module)
            check_module(data, features)
            if source.kind == "binary":
                assert binary.decode(data, features) == module
                check_text(data, features)
            else:
                assert through_text(data, features) == data
        except Exception as error:
            error.add_note(f"the module at {script.name}:{line}")
            raise
