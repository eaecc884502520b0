"""`pytest spec-tests [--suite DIR]`: the official suite, one test for each script."""

from __future__ import annotations

import pytest

from locate import find_suite, missing

# The submodules hold Python files that are no tests of ours.
collect_ignore = ["spec", "testsuite"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--suite", help="folder of the official test suite")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "script" in metafunc.fixturenames:
        suite = metafunc.config.getoption("--suite")
        none = pytest.param(None, marks=pytest.mark.skip(reason=missing(suite)), id="no-suite")
        cases = [pytest.param(script, id=script.name) for script in find_suite(suite)] or [none]
        metafunc.parametrize("script", cases)
