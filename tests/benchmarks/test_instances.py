"""What stores and instances take, measured by `benchmarks.instances`."""

from __future__ import annotations

import pytest

from benchmarks import instances


@pytest.mark.parametrize("runtime", instances.runtimes())
def test_a_store_and_an_instance_take_little(runtime: str) -> None:
    result = instances._in_a_process(runtime, "memory", 1000)
    assert result["alive"] == 1000
    assert 0 < result["bytes"] < 15_000
    assert result["dropped"] > 0 and result["kept"] > 0


def test_the_table_has_a_row_for_each_runtime_and_module() -> None:
    rows = instances.report(100, 100, rounds=1).splitlines()[2:]
    assert len(rows) == len(instances.runtimes()) * len(instances.MODULES)
    assert all(row.endswith("| 100 |") for row in rows)
