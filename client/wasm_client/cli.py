"""The ``wasm-client`` command."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from schannel.errors import LocalError, PolicyFileError
from schannel.events import EnclaveVerified
from schannel.policy import Policy
from schannel.simulation import simulation_policy

from . import prompt
from .errors import ClientError
from .session import connect
from .values import printable

DEFAULT_ADDRESS = "127.0.0.1:3333"
SIMULATED = "warning: this enclave is simulated: it protects nothing from the owner of its machine"

_PROGRAM = "wasm-client"


class CommandError(Exception):
    """The command cannot do what its options ask for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, or 1 if anything failed."""
    options = _parser().parse_args(arguments)
    return guarded(lambda: _run_options(options))


def guarded(command: Callable[[], int]) -> int:
    """Run a command whose failures are one line on standard error; returns its exit status."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return command()
    except (CommandError, ClientError, LocalError) as error:
        print(f"{_PROGRAM}: {printable(str(error))}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{_PROGRAM}: interrupted", file=sys.stderr)
    except BrokenPipeError:
        # Nobody reads any more; the interpreter's own last flush must not fail either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _run_options(options: argparse.Namespace) -> int:
    if options.skip:
        raise CommandError("--skip needs a program that the enclave has kept, which none does yet")
    if options.program is None:
        raise CommandError("no program: give a .wasm or .wat file with --program")
    policy = _policy(options.policy, options.allow_simulation)
    return run(
        options.connect, options.program, policy, attestation=options.attestation, verbose=options.verbose
    )


def run(
    address: str, program: Path, policy: Policy, *, attestation: bool = False, verbose: bool = False
) -> int:
    """Connect, deploy and prompt; returns the exit status: errors count where no person could see them.

    Raises:
        CommandError: the program cannot be read.
        ClientError: the session failed, or never began.
    """
    try:
        content = program.read_bytes()
    except OSError as error:
        raise CommandError(f"cannot read {program}: {(error.strerror or str(error)).lower()}") from error
    with connect(address, policy) as session:
        _introduce(address, session.verified, attestation=attestation)
        session.deploy(content)
        prompt.list_functions(session.functions())
        errors = prompt.run(session, verbose=verbose)
    return 1 if errors and not prompt.interactive() else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Send a program to an enclave that passes your policy, and call its functions.",
    )
    parser.add_argument(
        "-c", "--connect", default=DEFAULT_ADDRESS, metavar="HOST:PORT", help="the host (default %(default)s)"
    )
    parser.add_argument(
        "-p", "--program", type=Path, metavar="FILE", help="the program to send, .wasm or .wat"
    )
    parser.add_argument("-s", "--skip", action="store_true", help="use the program that the enclave has kept")
    parser.add_argument("-a", "--attestation", action="store_true", help="show the verified evidence")
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument(
        "--policy",
        type=Path,
        metavar="FILE",
        help=f"which enclaves to accept (default {default_policy_path()})",
    )
    trust.add_argument(
        "--allow-simulation", action="store_true",
        help="instead of a policy: accept this installation's own release on this machine's simulated device",
    )  # fmt: skip
    parser.add_argument("-v", "--verbose", action="store_true", help="show backtraces of traps")
    parser.add_argument("-V", "--version", action="version", version=f"{_PROGRAM} {_version()}")
    return parser


def _version() -> str:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("tinywasm")
    return "(not installed)"


def default_policy_path() -> Path:
    """Where the policy is when no option names one."""
    config = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    return Path(config) / _PROGRAM / "policy.toml"


def _policy(path: Path | None, allow_simulation: bool) -> Policy:
    if allow_simulation:
        return simulation_policy()
    chosen = path or default_policy_path()
    try:
        return Policy.from_file(chosen)
    except PolicyFileError as error:
        raise CommandError(f"{chosen}: {error}") from error
    except OSError as error:
        if path is None and isinstance(error, FileNotFoundError):
            raise CommandError(
                f"no policy, so no enclave can be trusted: write {chosen} (wasm-host --print-policy shows "
                "what a host offers), name another file with --policy, or try it out with --allow-simulation"
            ) from error
        raise CommandError(f"cannot read {chosen}: {(error.strerror or str(error)).lower()}") from error


def _introduce(address: str, verified: EnclaveVerified, *, attestation: bool) -> None:
    print(f"connected to {address}, enclave verified", file=sys.stderr)
    if verified.simulated:
        print(SIMULATED, file=sys.stderr)
    if attestation:
        shown = {
            "device": f"{verified.device_public_key.hex()} ({'simulated' if verified.simulated else 'real'})",
            "monitor": verified.monitor_measurement.hex(),
            "enclave": verified.enclave_measurement.hex(),
            "configuration": verified.configuration_digest.hex(),
            "version": ".".join(map(str, verified.version)),
            "isolation": ", ".join(verified.isolation) or "none",
        }
        for name, value in shown.items():
            print(f"{name:>13}: {value}")
