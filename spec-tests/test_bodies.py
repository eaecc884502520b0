"""On every function body of the suite, and on variants, the compiled acceptor and the validator agree."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from bodies import Verdicts, mutations, split
from locate import Script
from modules import well_formed
from tinywasm.errors import DecodeError, ValidationError
from tinywasm.syntax import Function
from tinywasm.validation.bodies import available
from tinywasm.wast.suite import config_for, unsupported

# A script's, so that the test takes a few seconds whatever the script's size.
VARIANTS = 500
LONGEST = 5000


@pytest.mark.skipif(not available, reason="the extension is not built")
def test_verdicts(script: Script) -> None:
    reason = unsupported(script.path)
    if reason:
        pytest.skip(reason)
    for line, verdicts, function in _functions(script):
        accepted, valid = verdicts.accepted(function), verdicts.valid(function)
        assert accepted == valid, f"{script.name}:{line}: {function.locals} {function.body.bytes.hex()}"


def _functions(script: Script) -> Iterator[tuple[int, Verdicts, Function]]:
    """The functions of all modules and variants of them, with the lines of their modules."""
    features = config_for(script.path).features
    modules = []
    for line, source in well_formed(script):
        try:
            module = source.decode(features)
            modules.append((line, module, Verdicts(module, features)))
        except (DecodeError, ValidationError):
            continue
    count = sum(len(module.functions) for _, module, _ in modules) or 1
    random = Random(script.name)
    for line, module, verdicts in modules:
        readable = [function for function in module.functions if _is_readable(function)]
        spare = [part for function in readable for part in split(function.body)]
        for function in module.functions:
            yield line, verdicts, function
        for function in readable:
            if len(function.body.bytes) <= LONGEST:
                for variant in mutations(random, function, spare, VARIANTS // count + 1):
                    yield line, verdicts, variant


def _is_readable(function: Function) -> bool:
    try:
        split(function.body)
    except DecodeError:
        return False
    return True
