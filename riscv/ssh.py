"""How one logs in: keys of both sides, made at the first run, and a configuration that names them."""

from __future__ import annotations

from pathlib import Path

from .cache import made_aside
from .needs import emulator
from .processes import run

HOST = "riscv"
AUTHORIZED_KEYS = "root/.ssh/authorized_keys"
HOST_KEY = "etc/dropbear/dropbear_ed25519_host_key"
"""Where the guest's dropbear looks for both."""


def make_keys(folder: Path, guest: Path, log: Path) -> Path:
    """The folder of the keys, made where it is not there: `key`, `host_key`, and `known_hosts` for that one.

    `guest` is the guest's file system: its dropbear has a format of its own for host keys.

    Raises:
        RiscvError: a command failed.
    """

    def make(path: Path) -> None:
        path.mkdir(mode=0o700)
        run("making a key (ssh-keygen)", _keygen(path / "key"), log)
        host_key, said = path / "host_key", path / "said"
        dropbearkey = [emulator(), "-L", str(guest), str(guest / "usr/bin/dropbearkey")]
        run("making a host key", [*dropbearkey, "-t", "ed25519", "-f", str(host_key)], log, output=said)
        (public,) = (line for line in said.read_text().splitlines() if line.startswith("ssh-ed25519 "))
        (path / "known_hosts").write_text(f"{HOST} {public}\n")
        said.unlink()

    keys = folder / "ssh"
    if not keys.exists():
        made_aside(keys, make)
    return keys


def _keygen(path: Path) -> list[str | Path]:
    return ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tinywasm", "-f", path]


def write_config(keys: Path, port: int) -> Path:
    """The file for `ssh -F` with which `ssh riscv` logs in on a port of the loopback."""
    path = keys / "config"
    path.write_text(
        f"""\
Host {HOST}
    HostName 127.0.0.1
    Port {port}
    User root
    IdentityFile "{keys / "key"}"
    IdentitiesOnly yes
    HostKeyAlias {HOST}
    UserKnownHostsFile "{keys / "known_hosts"}"
    StrictHostKeyChecking yes
    LogLevel ERROR
"""
    )
    return path
