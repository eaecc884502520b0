"""Where the client's own files are."""

from __future__ import annotations

import os
from pathlib import Path

_PROGRAM = "wasm-client"


def config_folder() -> Path:
    """Policy and key: what a person writes or makes."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / _PROGRAM


def state_folder() -> Path:
    """What the client remembers: kept programs, and the lines typed at the prompt."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()) / _PROGRAM


def policy_path() -> Path:
    """The policy where no option names one."""
    return config_folder() / "policy.toml"


def key_path() -> Path:
    """The client's key where no option names one."""
    return config_folder() / "client.key"


def kept_path() -> Path:
    """The list of kept programs."""
    return state_folder() / "kept.json"


def history_path() -> Path:
    """The prompt's history."""
    return state_folder() / "history"
