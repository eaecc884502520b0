"""The channel's parsers end every input in a value or one of our errors, soon, and in little memory."""

from __future__ import annotations

import ast
import os
import random
import resource
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

import schannel
from fuzz.channel_inputs import Target, damage, targets
from schannel.errors import ProtocolError

CASES = {"ci": 2_000, "nightly": 100_000}[os.environ.get("FUZZ_PROFILE", "ci")]
"""Inputs of all parsers together."""

TARGETS = targets()
MAX_SECONDS = 1.0
MAX_MEMORY = 1 << 20
"""Bytes that parsing may take at its peak, besides eight for each of the input's."""

MEASURED = 50
"""Every so manieth case's memory is measured, which is slow."""


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_seeds_get_through(target: Target) -> None:
    """What is damaged must be worth it; a handshake's messages are good for one connection only."""
    bound = ("enclave handshake", "client handshake", "identity")
    assert any(_ends(target.parse, seed) for seed in target.seeds) or target.name in bound


def _ends(parse: Callable[[bytes], object], data: bytes) -> bool:
    """Whether the input is accepted; anything but a value or an error of ours is raised."""
    try:
        parse(data)
    except ProtocolError:
        return False
    return True


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_damaged_input(target: Target) -> None:
    count = -(-CASES // len(TARGETS))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        data = damage(random.Random(f"{target.name} {number}"), target.seeds)
        started = time.process_time()
        try:
            _ends(target.parse, data)
        except BaseException as error:
            raise AssertionError(f"case {number} of {target.name}: {data.hex()}") from error
        assert time.process_time() - started < MAX_SECONDS, f"case {number}: {data.hex()}"
        if number % MEASURED == 0:
            assert _memory(target.parse, data) < MAX_MEMORY + 8 * len(data), f"case {number}: {data.hex()}"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 << 10, f"{count} inputs left {grown} KiB behind"


def _memory(parse: Callable[[bytes], object], data: bytes) -> int:
    tracemalloc.start()
    try:
        _ends(parse, data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_nothing_in_the_channel_executes_what_it_reads() -> None:
    calls = {
        node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        for path in Path(schannel.__path__[0]).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }
    assert not calls & {"eval", "exec", "__import__", "import_module", "system", "Popen", "run"}
