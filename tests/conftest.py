"""Settings of all tests."""

import os
import signal

import pytest
from hypothesis import settings

# Started in the background, a process ignores Ctrl-C, and so does whatever it starts: the tests of Ctrl-C
# would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Machines with few cores run several tests at once: the time of one example says nothing.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """One more than there are processors, since tests of processes wait for much of their time."""
    named = "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ
    return None if named else (os.cpu_count() or 1) + 1
