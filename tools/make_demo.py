"""Builds wasm-demo.pyz: all packages in one file that any Python 3.11 or later runs.

The file holds no compiled code, so it runs on every Linux; what it needs besides Python is pycryptodome and
construct, and for the client prompt_toolkit and rich. The same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "tinywasm": ROOT / "tinywasm",
    "schannel": ROOT / "channel" / "schannel",
    "wasm_rt": ROOT / "enclave" / "wasm_rt",
    "wasm_host": ROOT / "host" / "wasm_host",
    "wasm_client": ROOT / "client" / "wasm_client",
}
_SUFFIXES = (".py", ".typed", ".pyi")
_SHEBANG = b"#!/usr/bin/env python3\n"

# The enclave is measured from files, so the archive is unpacked, once, where only its user writes.
MAIN = '''\
"""Starts the host; with "client" as the first argument, the client."""

import hashlib
import os
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

ENCLAVE = {"Crypto": "pycryptodome", "construct": "construct"}
NEEDED = {"wasm_host": ENCLAVE,
          "wasm_client": {**ENCLAVE, "prompt_toolkit": "prompt_toolkit", "rich": "rich"}}


def unpack(archive):
    name = hashlib.sha256(archive.read_bytes()).hexdigest()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinywasm"
    caches.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = caches / name
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=caches) as draft:
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(Path(draft) / "unpacked")
            try:
                os.rename(Path(draft) / "unpacked", folder)
            except OSError:
                if not folder.is_dir():
                    raise
    if folder.stat().st_uid != os.geteuid():
        sys.exit(f"wasm-demo: {folder} belongs to somebody else")
    return folder


def main():
    if sys.version_info < (3, 11):
        sys.exit("wasm-demo: Python 3.11 or later is needed")
    client = sys.argv[1:2] == ["client"]
    program = "wasm_client" if client else "wasm_host"
    missing = [package for module, package in NEEDED[program].items() if find_spec(module) is None]
    if missing:
        sys.exit(f"wasm-demo: not installed: {', '.join(missing)} (pip install {' '.join(missing)})")
    os.environ["PYTHONPATH"] = str(unpack(Path(sys.argv[0]).resolve()))
    os.execv(sys.executable, [sys.executable, "-m", program, *sys.argv[1 + client:]])


main()
'''


def build(target: Path) -> None:
    """Write the file."""
    with target.open("wb") as file:
        file.write(_SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in sorted(_entries()):
                # Without a time: the same sources give the same bytes.
                entry = zipfile.ZipInfo(name)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, content)
    target.chmod(0o755)


def _entries() -> Iterator[tuple[str, bytes]]:
    yield "__main__.py", MAIN.encode()
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*"):
            if path.suffix in _SUFFIXES and path.is_file():
                yield f"{package}/{path.relative_to(folder).as_posix()}", path.read_bytes()


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the file where the first argument says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", nargs="?", type=Path, default=ROOT / "wasm-demo.pyz")
    target = parser.parse_args(arguments).target
    build(target)
    print(f"{target}: {target.stat().st_size} bytes; it needs Python 3.11 or later and pycryptodome")
    return 0


if __name__ == "__main__":
    sys.exit(main())
