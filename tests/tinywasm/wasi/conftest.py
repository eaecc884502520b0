"""Guests to test with: on a directory of the disk and on a tree in memory, under each engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines import ENGINES
from tests.tinywasm.wasi.wasi_calls import TinywasmCalls, World
from tinywasm.wasi import WasiConfig


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["directory", "tree"])
def world(request: pytest.FixtureRequest, engine: str, tmp_path: Path) -> World:
    return World(request.param, engine, tmp_path)


@pytest.fixture
def guest(world: World) -> Iterator[TinywasmCalls]:
    made = world.guest()
    yield made
    made.wasi.close()


@pytest.fixture
def plain(engine: str) -> Iterator[Callable[[WasiConfig], TinywasmCalls]]:
    """Makes guests from configurations, for what has nothing to do with the kind of files."""
    made: list[TinywasmCalls] = []

    def make(config: WasiConfig) -> TinywasmCalls:
        made.append(TinywasmCalls(config, engine))
        return made[-1]

    yield make
    for calls in made:
        calls.wasi.close()
