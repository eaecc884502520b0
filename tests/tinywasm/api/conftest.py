"""Stores of either engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tinywasm import Config, Engine, Store
from tinywasm.engine import native_available

MakeStore = Callable[..., Store]


@pytest.fixture(params=["python", "native"])
def make_store(request: pytest.FixtureRequest) -> MakeStore:
    """Makes stores of one engine; keywords are options of its configuration."""
    if request.param == "native" and not native_available:
        pytest.skip("the native engine is not built")
    return lambda **options: Store(Engine(Config(engine=request.param, **options)))


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    return make_store()
