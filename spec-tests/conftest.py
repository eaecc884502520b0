"""`pytest spec-tests [--suite DIR]`: the official suite, one test for each script."""

from __future__ import annotations

import pytest

from locate import Suite, find_suite

# The submodules hold Python files that are no tests of ours.
collect_ignore = ["spec", "testsuite"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--suite", help="folder of the official test suite")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "script" in metafunc.fixturenames:
        suite = find_suite(metafunc.config.getoption("--suite"))
        cases = [pytest.param(script, id=script.name) for script in suite.scripts]
        if suite.missing:
            cases.append(pytest.param(None, marks=pytest.mark.skip(reason=suite.missing), id="missing"))
        metafunc.parametrize("script", cases)


@pytest.fixture
def chosen_suite(request: pytest.FixtureRequest) -> Suite:
    """The suite that this run is about."""
    return find_suite(request.config.getoption("--suite"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last words, so that nobody takes a run without the suite, or parts of it, for a full one."""
    suite = find_suite(config.getoption("--suite"))
    if suite.missing and not hasattr(config, "workerinput"):
        terminal = config.get_terminal_writer()
        if not suite.scripts:
            terminal.line("THE OFFICIAL WEBASSEMBLY TEST SUITE DID NOT RUN.")
        terminal.line(suite.missing)
