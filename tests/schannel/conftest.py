"""Where the published test values are, and small helpers that several tests use."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

VECTOR_FOLDER = Path(
    os.environ.get("TINYWASM_VECTORS", Path(__file__).resolve().parents[2].parent / "shared" / "vectors")
)


def load_vectors(name: str) -> Any:
    """The content of a file of published values, or None where it is not there."""
    path = VECTOR_FOLDER / name
    return json.loads(path.read_text()) if path.is_file() else None


@pytest.fixture(scope="session")
def keystone() -> Any:
    """Keystone's test values."""
    values = load_vectors("keystone.json")
    if values is None:
        pytest.skip("keystone.json not found: set TINYWASM_VECTORS to the folder that holds it")
    return values


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each published Noise vector; a single skipped one where they are absent."""
    if "noise_vector" not in metafunc.fixturenames:
        return
    content = load_vectors("noise-25519-aesgcm.json")
    if content is None:
        reason = "noise-25519-aesgcm.json not found: set TINYWASM_VECTORS to the folder that holds it"
        metafunc.parametrize("noise_vector", [pytest.param(None, marks=pytest.mark.skip(reason=reason))])
        return
    vectors = content["vectors"]
    metafunc.parametrize("noise_vector", vectors, ids=[vector["protocol_name"] for vector in vectors])
