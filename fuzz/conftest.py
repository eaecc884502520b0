"""`FUZZ_PROFILE=nightly pytest fuzz`; see README.md."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fuzz.corpus import has_suite
from fuzz.limits import Examiner


@pytest.fixture(scope="session")
def examiner() -> Iterator[Examiner]:
    if not hasattr(os, "fork"):
        pytest.skip("a case runs in a fork, which this system does not have")
    with Examiner() as examiner:
        yield examiner


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not has_suite():
        terminalreporter.write_line(
            "THE OFFICIAL WEBASSEMBLY TEST SUITE IS NOT HERE: ONLY fuzz/snippets.wast WAS MUTATED."
        )
