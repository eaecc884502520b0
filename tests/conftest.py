"""Settings of all tests."""

from hypothesis import settings

# Machines with few cores run several tests at once: the time of one example says nothing.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")
