"""The whole thing on one machine: a host on a free port, a client, a prompt; nothing stays behind.

``python -m wasm_client.demo [PROGRAM]``
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from schannel.command_line import DEFAULT_ADDRESS
from schannel.extra import start
from schannel.process import die_with_parent

from .errors import ClientError

_EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "calculator.wat"
_ANY_PORT = "127.0.0.1:0"
_ADDRESS_IN_USE = 3
_STOP_TIMEOUT = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; returns its exit status."""
    parser = argparse.ArgumentParser(prog="wasm-client-demo", description=__doc__)
    parser.add_argument("program", nargs="?", type=Path, default=_EXAMPLE, help="a .wasm or .wat file")
    options = parser.parse_args(arguments)
    return start(parser.prog, lambda: _demonstrate(options.program))


def _demonstrate(program: Path) -> int:
    # Imported here, where a missing package is told in a line.
    from schannel.simulation import simulation_policy

    from .cli import Job, guarded, run
    from .operations import DEFAULT_MODULE

    def run_with_host() -> int:
        with running_host() as address:
            return run(address, simulation_policy(), Job(programs=[(DEFAULT_MODULE, program)]))

    return guarded(run_with_host)


@contextmanager
def running_host() -> Iterator[str]:
    """A wasm-host of our own and its address; it is stopped at the end.

    Raises:
        ClientError: it does not start; what it said is on standard error.
    """
    process, address = _start(DEFAULT_ADDRESS)
    if address is None and process.wait() == _ADDRESS_IN_USE:
        print(f"{DEFAULT_ADDRESS} is taken: another port is used", file=sys.stderr)
        process, address = _start(_ANY_PORT)
    try:
        if address is None:
            raise ClientError("wasm-host did not start")
        yield address
    finally:
        _stop(process)


def _start(address: str) -> tuple[subprocess.Popen[str], str | None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "wasm_host", "--address", address],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C at the prompt is for the prompt; and should we be killed, so is the host.
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    return process, line.split()[-1] if line else None


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_TIMEOUT)
        return
    process.kill()
    process.wait()


if __name__ == "__main__":
    sys.exit(main())
