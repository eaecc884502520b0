"""How many cases a run tries: `FUZZ_PROFILE` is `ci`, the default, `nightly`, or `sanitized`."""

from __future__ import annotations

import os
from typing import TypeVar

from hypothesis import HealthCheck, Phase, settings

_PROFILES = ("ci", "nightly", "sanitized")
# What is not said of `sanitized` is as with `ci`.
_CASES = {"ci": 200, "nightly": 10_000, "sanitized": 500}
_ACCEPTANCE_CASES = {"ci": 120, "nightly": 10_000, "sanitized": 400}
# A nested case takes a good part of its second.
_NESTED_CASES = {"ci": 30, "nightly": 500}
_PARSER_CASES = {"ci": 100, "nightly": 10_000, "sanitized": 1_000}
_GENERATED_CASES = {"ci": 200, "nightly": 20_000, "sanitized": 150}
_WINDOWED_CASES = {"ci": 100, "nightly": 5_000, "sanitized": 60}
# Runs on each engine, and steps of each.
_USER_RUNS = {"ci": (4, 400), "nightly": (60, 4000)}
_ORACLE_CASES = {"ci": 75, "nightly": 5_000, "sanitized": 150}
# Modules of 250 functions.
_SHAPE_MODULES = {"ci": 4, "nightly": 2_000}
# Those with changed code: each takes some 400 versions of it.
_CHANGED_MODULES = {"ci": 4, "nightly": 400}
# Forged serialized modules.
_FORGED = {"ci": 300, "nightly": 50_000}
_SHAPE_ORACLE_MODULES = {"ci": 2, "nightly": 40}
_Size = TypeVar("_Size")


def _chosen(sizes: dict[str, _Size]) -> _Size:
    profile = os.environ.get("FUZZ_PROFILE", "ci")
    if profile not in _PROFILES:
        raise ValueError(f"FUZZ_PROFILE is {profile!r}, not one of {', '.join(_PROFILES)}")
    return sizes.get(profile, sizes["ci"])


def _settings(cases: dict[str, int]) -> settings:
    return settings(
        max_examples=_chosen(cases),
        # The time of a case is measured where it runs, without what the test around it costs.
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[phase for phase in Phase if phase is not Phase.explain],
        print_blob=True,
    )


cases = _settings(_CASES)
acceptance_cases = _settings(_ACCEPTANCE_CASES)
parser_cases = _chosen(_PARSER_CASES)
nested_cases = _settings(_NESTED_CASES)
windowed_cases = _settings(_WINDOWED_CASES)
oracle_cases = _settings(_ORACLE_CASES)
generated_cases = _settings(_GENERATED_CASES)
shape_modules = _chosen(_SHAPE_MODULES)
changed_modules = _chosen(_CHANGED_MODULES)
forged = _chosen(_FORGED)
shape_oracle_modules = _chosen(_SHAPE_ORACLE_MODULES)
# So that several processors take part.
SHAPE_PARTS = min(shape_modules // 2, 40)
user_runs, user_steps = _chosen(_USER_RUNS)
