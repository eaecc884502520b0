"""Whatever is put in, the confidential runtime's parsers end in a value or one of our errors.

They do so soon, in little memory, and without executing anything.
"""

from __future__ import annotations

import ast
import random
import resource
import time
import tracemalloc
from pathlib import Path

import pytest

import schannel
from fuzz.end_inputs import every_target
from fuzz.profiles import parser_cases
from fuzz.target import Target, damage

TARGETS = list(every_target())
MAX_SECONDS = 1.0
MAX_MEMORY = 1 << 20
"""Bytes that parsing may take at its peak, besides eight for each of the input's."""

MEASURED = 50
"""Every so manieth case's memory is measured, which is slow."""

CONNECTED = ("enclave handshake", "client handshake", "identity")
"""Parsers whose input is good for one connection only."""

each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@each_target
def test_seeds_get_through(target: Target) -> None:
    """What is damaged must be worth it."""
    assert any(map(target.accepts, target.seeds)) or target.name in CONNECTED


@each_target
def test_damaged_input(target: Target) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(parser_cases):
        data = damage(random.Random(f"{target.name} {number}"), target.seeds)
        started = time.process_time()
        try:
            target.accepts(data)
        except BaseException as error:
            raise AssertionError(f"case {number} of {target.name}: {data.hex()}") from error
        assert time.process_time() - started < MAX_SECONDS, f"case {number}: {data.hex()}"
        if number % MEASURED == 0:
            assert _memory(target, data) < MAX_MEMORY + 8 * len(data), f"case {number}: {data.hex()}"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 << 10, f"{parser_cases} inputs left {grown} KiB behind"


def _memory(target: Target, data: bytes) -> int:
    tracemalloc.start()
    try:
        target.accepts(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_execution_is_noticed() -> None:
    target = Target("guilty", lambda data: eval(data), (), (Exception,))
    with pytest.raises(AssertionError, match="did compile"):
        target.accepts(b"1 + 1")


def test_nothing_in_the_channel_executes_what_it_reads() -> None:
    calls = {
        node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        for path in Path(schannel.__path__[0]).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }
    assert not calls & {"eval", "exec", "__import__", "import_module", "system", "Popen", "run"}
