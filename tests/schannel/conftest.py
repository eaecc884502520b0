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
