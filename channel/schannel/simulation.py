"""The simulated device of this machine: where its keys are, and the policy that trusts it.

A simulated device key is a file. Whoever can read it can forge any evidence, the machine's owner first of
all: it serves to try the protocol out, and protects nothing from that owner.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .ed25519_sha3 import PUBLIC_KEY_SIZE
from .errors import LocalError
from .measurement import EnclaveImage, installed_image
from .policy import Policy
from .primitives import digest
from .regular_files import open_regular, read_hexadecimal

STATE_VARIABLES = ("TINYWASM_STATE_DIR", "XDG_STATE_HOME", "HOME")
"""Environment variables that say where the device's keys are, in the order in which they are asked."""

SECRET_KEY_FILE = "simulated-device.key"
PUBLIC_KEY_FILE = "simulated-device.pub"


def state_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of the simulated device's keys; it need not exist.

    Raises:
        LocalError: the environment names no folder.
    """
    own, state_home, home = (environ.get(name, "") for name in STATE_VARIABLES)
    if own:
        return Path(own)
    if state_home:
        return Path(state_home) / "tinywasm"
    if home:
        return Path(home) / ".local" / "state" / "tinywasm"
    raise LocalError(f"none of {', '.join(STATE_VARIABLES)} is set: no place for the simulated device's key")


def read_public_key(directory: Path) -> bytes:
    """The public key of this machine's simulated device, 32 bytes.

    Raises:
        LocalError: there is none yet, or the file holds something else.
    """
    path = directory / PUBLIC_KEY_FILE
    try:
        with open_regular(path) as file:
            return read_hexadecimal(file, PUBLIC_KEY_SIZE)
    except OSError as error:
        raise LocalError(
            f"{path} cannot be read ({error.strerror}): wasm-host makes it at its first start on this machine"
        ) from error
    except ValueError as error:
        raise LocalError(f"{path} does not hold a public key") from error


def monitor_measurement(image: EnclaveImage) -> bytes:
    """The simulated monitor's own measurement, 64 bytes: it is part of the application's packages."""
    return digest("SHA3-512", image.application)


def simulation_policy(directory: Path | None = None) -> Policy:
    """Accept this release, as it is installed here, on this machine's simulated device.

    Raises:
        LocalError: a package is not installed, or there is no simulated device yet.
    """
    device_key = read_public_key(directory or state_directory())
    image = installed_image()
    return Policy(
        enclave_measurements=frozenset({image.measurement()}),
        monitor_measurements=frozenset({monitor_measurement(image)}),
        simulated_devices=frozenset({device_key}),
        allow_simulated=True,
    )
