"""Whatever runs ends soon after its time limit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks import limits

pytestmark = pytest.mark.slow

# The machines that run these are loaded; where nothing looked at the limit, the same took 16 to 35 seconds.
SOON = 2.0
SIZE = 1 << 26
# A process for each is slow: what is done in pieces in another way each.
BY_PROCESS = ("memory.fill", "table.copy", "array.new", "array.init_data", "a growing heap")


def test_no_instruction_is_forgotten() -> None:
    assert limits.unsorted() == set()


@pytest.mark.parametrize("engine", limits.ENGINES)
@pytest.mark.parametrize("name", limits.PROGRAMS)
def test_deadline_of_a_store(name: str, engine: str) -> None:
    assert limits.under_deadline(engine, limits.PROGRAMS[name](SIZE), 0.1) < SOON


@pytest.fixture(scope="module")
def in_enclave() -> Iterator[limits.Way]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYWASM_STATE_DIR", "")
        with limits.enclaves() as way:
            yield way


@pytest.mark.parametrize("name", limits.PROGRAMS)
def test_limit_of_an_enclave(name: str, in_enclave: limits.Way) -> None:
    assert in_enclave(limits.ENGINES[0], limits.PROGRAMS[name](SIZE), 0.5) < SOON


@pytest.mark.parametrize("engine", limits.ENGINES)
@pytest.mark.parametrize("name", BY_PROCESS)
@pytest.mark.parametrize("way", ["--timeout", "Ctrl-C"])
def test_limit_of_a_process(name: str, engine: str, way: str) -> None:
    # Reading the module is within the limit too.
    assert limits.WAYS[way](engine, limits.PROGRAMS[name](SIZE), 1.0) < SOON
