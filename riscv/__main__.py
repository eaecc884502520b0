"""`make riscv`: build the image, start the machine, and prompt for calls of a program in it."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wasm_client import connect
from wasm_client.cli import Job, guarded, run
from wasm_client.operations import DEFAULT_MODULE
from wasm_client.trust import read_policy

from . import keystone, keystone_build, needs
from .cache import FOLDER, ROOT, locked
from .errors import RiscvError, told
from .image import Image, build
from .machine import Machine, running
from .parts import Workshop
from .ssh import HOST, write_config

PROGRAM = ROOT / "examples" / "calculator.wat"
_PORT, _SSH_PORT = 3333, 2222
_PATIENCE = 300.0
"""Seconds for a session to begin, which are enough on a machine that is busy."""

_END_TIMEOUT = 1.0
"""Seconds for the machine to end after the session with it, where it has taken that along."""

_FREE_SPACE = 2 << 30
"""Bytes that a build from nothing takes at most; a twentieth of that stays."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="riscv", description=__doc__)
    parser.add_argument(
        "--keystone", type=Path, metavar="FOLDER", help="a build of Keystone, to run enclaves on"
    )
    options = parser.parse_args(arguments)
    try:
        needs.check(application=options.keystone is not None)
        with needs.alone(FOLDER):
            return _run(prepare(options.keystone))
    except RiscvError as error:
        print(f"riscv: {error}", file=sys.stderr)
    except OSError as error:
        print(f"riscv: {told(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        print("riscv: interrupted", file=sys.stderr)
        return 130
    return 1


def _run(image: Image) -> int:
    with running(image, FOLDER, _PORT, _SSH_PORT, say) as machine:
        say(f"Starting a RISC-V machine in QEMU; its console goes to {_shown(machine.console)}")
        machine.wait_until_ready(say)
        status = guarded(lambda: _use(machine, image))
        machine.check_end(patience=_END_TIMEOUT if status else 0)
        return status


def prepare(keystone_folder: Path | None = None) -> Image:
    """The image, built where it is not kept, with a Keystone of the user's where a folder is given.

    Raises:
        RiscvError: a command failed, or a file of Keystone's is missing, or of no use.
        OSError: the disk is full, or not to be written.
    """
    files = None if keystone_folder is None else keystone_build.find(keystone_folder)
    with locked(FOLDER / "build.lock", lambda: say("Another run builds the image: waiting for it")):
        if not any(FOLDER.glob("base-*")) and shutil.disk_usage(FOLDER).free < _FREE_SPACE:
            raise RiscvError(
                f"building the image takes {_FREE_SPACE >> 30} GiB in {FOLDER}: so much is not free"
            )
        shop = Workshop(FOLDER, FOLDER / "build.log", say)
        image = build(shop)
        if files is not None:
            image = keystone.added(shop, image, files, keystone.build_application(shop))
        # Where it is found again, for those who type its name.
        return replace(image, policy=Path(shutil.copyfile(image.policy, FOLDER / "policy.toml")))


def show_ways_in(machine: Machine, image: Image) -> None:
    """Say how one gets there from another terminal."""
    client = Path(sys.executable).with_name("wasm-client")
    config, policy, program = write_config(image.keys, machine.ssh_port), image.policy, PROGRAM
    say("The machine is up, until this prompt ends. From another terminal:")
    say(f"  ssh -F {_shown(config)} {HOST}")
    say(f"  {_shown(client)} -c {machine.address} --policy {_shown(policy)} -p {_shown(program)}")


def _use(machine: Machine, image: Image) -> int:
    policy = read_policy(image.policy)
    # Before anybody is told how to get there: a client that somebody starts does not wait for so long.
    with connect(machine.address, policy, timeout=_PATIENCE):
        say("An enclave in the machine was verified.")
    show_ways_in(machine, image)
    # On Keystone every enclave takes as long as the first one.
    return run(machine.address, policy, Job(programs=[(DEFAULT_MODULE, PROGRAM)]), timeout=_PATIENCE)


def _shown(path: Path) -> str:
    """A path as one types it in this folder."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def say(line: str) -> None:
    """Tell whoever waits."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
