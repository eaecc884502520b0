"""Which enclaves to accept: the options for it, and the policy that they choose."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from schannel.errors import PolicyFileError
from schannel.events import EnclaveVerified
from schannel.policy import KEYSTONE_TEST_DEVICE_KEY, Policy
from schannel.simulation import simulation_policy

from .errors import ClientError
from .places import policy_path

_SIMULATED = "warning: this enclave is simulated: it protects nothing from the owner of its machine"
_PUBLISHED = (
    "warning: this device has the test key that Keystone publishes: it protects nothing, and may be anything"
)


def warn(verified: EnclaveVerified) -> None:
    """Say on standard error that no hardware stands behind the evidence, where none does."""
    if verified.simulated:
        published = verified.device_public_key == KEYSTONE_TEST_DEVICE_KEY
        print(_PUBLISHED if published else _SIMULATED, file=sys.stderr)


class TrustOptions:
    """``--policy`` and ``--allow-simulation``."""

    @staticmethod
    def add(parser: argparse.ArgumentParser) -> None:
        """Add the options."""
        trust = parser.add_mutually_exclusive_group()
        trust.add_argument(
            "--policy",
            type=Path,
            metavar="FILE",
            help=f"which enclaves to accept (default {policy_path()})",
        )
        trust.add_argument(
            "--allow-simulation", action="store_true",
            help="instead of a policy: accept this installation's own release on this machine's simulated "
            "device",
        )  # fmt: skip

    @staticmethod
    def policy(options: argparse.Namespace) -> Policy:
        """The policy that the options choose; ClientError if there is none to use."""
        if options.allow_simulation:
            return simulation_policy()
        return read_policy(options.policy)


def read_policy(path: Path | None) -> Policy:
    """A policy from a file, by default the usual one; ClientError if it cannot be used."""
    chosen = path or policy_path()
    try:
        return Policy.from_file(chosen)
    except PolicyFileError as error:
        raise ClientError(f"{chosen}: {error}") from error
    except OSError as error:
        if path is None and isinstance(error, FileNotFoundError):
            raise ClientError(
                f"no policy, so no enclave can be trusted: write {chosen} (wasm-host measure shows what a "
                "host offers), name another file with --policy, or try it out with --allow-simulation"
            ) from error
        raise ClientError(f"cannot read {chosen}: {(error.strerror or str(error)).lower()}") from error
