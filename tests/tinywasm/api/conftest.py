"""Stores of either engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.engines import ENGINES
from tinywasm import Config, Engine, Store

MakeStore = Callable[..., Store]


@pytest.fixture(params=ENGINES)
def make_store(request: pytest.FixtureRequest) -> MakeStore:
    """Makes stores of one engine; keywords are options of its configuration."""
    return lambda **options: Store(Engine(Config(engine=request.param, **options)))


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    return make_store()
