"""Settings of all tests."""

import signal

from hypothesis import settings

# Started in the background, a process ignores Ctrl-C, and so does whatever it starts: the tests of Ctrl-C
# would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Machines with few cores run several tests at once: the time of one example says nothing.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")
