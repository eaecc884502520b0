"""How many cases a run tries: `FUZZ_PROFILE` is `ci`, the default, or `nightly`.

`FUZZ_MODULES` is the number of generated modules where another one is wanted.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

_CASES = {"ci": 500, "nightly": 10_000}
_ACCEPTANCE_CASES = {"ci": 300, "nightly": 10_000}
# A nested case takes a good part of its second.
_NESTED_CASES = {"ci": 30, "nightly": 500}
_GENERATED_CASES = {"ci": 500, "nightly": 20_000}
_WINDOWED_CASES = {"ci": 150, "nightly": 5_000}
# Runs on each engine, and steps of each.
_USER_RUNS = {"ci": (4, 400), "nightly": (60, 4000)}
_ORACLE_CASES = {"ci": 150, "nightly": 5_000}
# Modules of 250 functions.
_SHAPE_MODULES = {"ci": 4, "nightly": 2_000}
# Those with changed code: each takes some 400 versions of it.
_CHANGED_MODULES = {"ci": 4, "nightly": 400}
# Forged serialized modules.
_FORGED = {"ci": 300, "nightly": 50_000}
_SHAPE_ORACLE_MODULES = {"ci": 2, "nightly": 40}


def _chosen(cases: dict[str, int]) -> int:
    profile = os.environ.get("FUZZ_PROFILE", "ci")
    if profile not in cases:
        raise ValueError(f"FUZZ_PROFILE is {profile!r}, not one of {', '.join(cases)}")
    return cases[profile]


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
nested_cases = _settings(_NESTED_CASES)
_modules = os.environ.get("FUZZ_MODULES")
windowed_cases = _settings(_WINDOWED_CASES)
oracle_cases = _settings(_ORACLE_CASES)
generated_cases = _settings(dict.fromkeys(_GENERATED_CASES, int(_modules)) if _modules else _GENERATED_CASES)
shape_modules = _chosen(_SHAPE_MODULES)
changed_modules = _chosen(_CHANGED_MODULES)
forged = _chosen(_FORGED)
shape_oracle_modules = _chosen(_SHAPE_ORACLE_MODULES)
# So that several processors take part.
SHAPE_PARTS = 2 if shape_modules == _SHAPE_MODULES["ci"] else 40
user_runs, user_steps = _USER_RUNS[os.environ.get("FUZZ_PROFILE", "ci")]
