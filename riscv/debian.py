"""Debian's packages for riscv64, unpacked without running anything of them."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import RiscvError
from .needs import MMDEBSTRAP
from .processes import run

SUITE = "trixie"
"""The first release of Debian that has riscv64."""

_TARGETS = "$(ORIGIN)\t$(LABEL)\t$(COMPONENT)\t$(REPO_URI)\t$(SOURCESENTRY)"


def unpack(packages: Sequence[str], target: Path, wanted: Callable[[str], bool], log: Path) -> None:
    """Fetch packages, with what they depend on, and put those of their files in a folder that are `wanted`.

    Raises:
        RiscvError: apt here knows no mirror of Debian, or fetching failed.
    """
    target.mkdir()
    archive = target / "archive.tar"
    privileged = os.geteuid() == 0
    run(
        f"fetching Debian's packages ({MMDEBSTRAP})",
        [
            *(MMDEBSTRAP, f"--mode={'root' if privileged else 'unshare'}", "--variant=extract"),
            *("--architectures=riscv64", "--format=tar", f"--include={','.join(packages)}"),
            *(f"--aptopt={option}" for option in _apt_options()),
            *(SUITE, "-", _source()),
        ],
        log,
        output=archive,
        # Also what it leaves behind where it is interrupted; a user's folders are closed to the users that it
        # makes itself where it has no privileges.
        environment={"TMPDIR": str(target)} if privileged else {},
    )
    with tarfile.open(archive) as opened:
        for member in opened:
            name = os.path.normpath(member.name)
            if wanted(name):
                _extract(opened, member, target / name)
    archive.unlink()


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        path.symlink_to(member.linkname)
    elif member.isfile() or member.islnk():
        content = archive.extractfile(member)
        assert content is not None
        path.write_bytes(content.read())
        path.chmod(0o755 if member.mode & 0o100 else 0o644)


def _apt_options() -> list[str]:
    """What this machine's apt says of fetching, for one that does not read its files."""
    dumped = subprocess.run(["apt-config", "dump"], capture_output=True, text=True).stdout
    proxies = re.findall(r"^(Acquire::https?::Proxy\S* .*);$", dumped, re.MULTILINE)
    # Without it apt gives up root, and then may not write where its own user cannot.
    return ['APT::Sandbox::User "root"', *proxies]


def _source() -> str:
    """The line of sources.list for our suite, with the mirror and the keys that apt uses here."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", _TARGETS, "Created-By: Packages"],
        capture_output=True,
        text=True,
    ).stdout
    for line in listed.splitlines():
        origin, label, component, uri, entry = line.split("\t")
        if (origin, label, component) == ("Debian", "Debian", "main"):
            keys = _signed_by(Path(entry.rpartition(":")[0]))
            return f"deb {f'[signed-by={keys}] ' if keys else ''}{uri} {SUITE} main"
    raise RiscvError(
        "apt on this machine knows no mirror of Debian: run `apt-get update`, "
        "or add a mirror of Debian to its sources"
    )


def _signed_by(sources: Path) -> str:
    """The keys that a file of sources names, in either format; empty where it leaves them to apt."""
    try:
        text = sources.read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r"^Signed-By:[ \t]*(/\S+)|\bsigned-by=(/[^\]\s]+)", text, re.MULTILINE)
    return found[1] or found[2] if found else ""
