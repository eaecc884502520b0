"""Builds wasm-demo.pyz: all packages in one file that any Python 3.11 or later runs.

The file holds no compiled code, so it runs on every Linux; what it needs besides Python is pycryptodome and
construct, and for the client prompt_toolkit and rich. wasm-demo.ke is the same for a RISC-V machine with
Keystone, with the files that enclaves are made of there. The same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from riscv.errors import RiscvError, told  # noqa: E402
from riscv.keystone_build import APPLICATION, BUILD_APPLICATION, find_runtime  # noqa: E402

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
ENCLAVE_FILES = {"-l": "loader.bin", "-r": "eyrie-rt", "-e": "wasm-rt"}


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


def arguments(folder, client, given):
    """Those given, with what this file has of an enclave on Keystone, for the host and for client measure."""
    files = {option: folder / "keystone" / name for option, name in ENCLAVE_FILES.items()}
    packed = [word for option, path in files.items() if path.exists() for word in (option, str(path))]
    if not packed:
        return given
    if not client:
        return ["--device", "keystone", *packed, *given]
    return [*given[:1], *packed, *given[1:]] if given[:1] == ["measure"] else given


def main():
    if sys.version_info < (3, 11):
        sys.exit("wasm-demo: Python 3.11 or later is needed")
    client = sys.argv[1:2] == ["client"]
    program = "wasm_client" if client else "wasm_host"
    missing = [package for module, package in NEEDED[program].items() if find_spec(module) is None]
    if missing:
        sys.exit(f"wasm-demo: not installed: {', '.join(missing)} (pip install {' '.join(missing)})")
    folder = unpack(Path(sys.argv[0]).resolve())
    os.environ["PYTHONPATH"] = str(folder)
    given = arguments(folder, client, sys.argv[1 + client:])
    os.execv(sys.executable, [sys.executable, "-m", program, *given])


main()
'''


def build(target: Path, enclave: Mapping[str, Path] | None = None) -> None:
    """Write the file, with the files of `enclave` under these names."""
    with target.open("wb") as file:
        file.write(_SHEBANG)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in sorted(_entries(enclave or {})):
                # Without a time: the same sources give the same bytes.
                entry = zipfile.ZipInfo(name)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, content)
    target.chmod(0o755)


def _entries(enclave: Mapping[str, Path]) -> Iterator[tuple[str, bytes]]:
    yield "__main__.py", MAIN.encode()
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*"):
            if path.suffix in _SUFFIXES and path.is_file():
                yield f"{package}/{path.relative_to(folder).as_posix()}", path.read_bytes()
    for name, path in enclave.items():
        yield f"keystone/{name}", path.read_bytes()


def enclave_files(keystone: Path | None) -> dict[str, Path]:
    """What enclaves on Keystone are made of: the application, built here, and what a build of Keystone has.

    Raises:
        RiscvError: that build lacks a file.
        SystemExit: the application does not build.
    """
    files = dict(zip(("eyrie-rt", "loader.bin"), find_runtime(keystone), strict=True)) if keystone else {}
    if subprocess.run([sys.executable, *map(str, BUILD_APPLICATION)]).returncode:
        raise SystemExit(1)
    return {**files, "wasm-rt": APPLICATION}


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the file where the first argument says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", nargs="?", type=Path)
    parser.add_argument("--device", choices=("simulated", "keystone"), default="simulated")
    parser.add_argument(
        "--keystone", type=Path, metavar="FOLDER", help="a build of Keystone, to pack its files"
    )
    options = parser.parse_args(arguments)
    try:
        enclave = enclave_files(options.keystone) if options.device == "keystone" else {}
        target = options.target or ROOT / ("wasm-demo.ke" if enclave else "wasm-demo.pyz")
        build(target, enclave)
    except RiscvError as error:
        print(f"make_demo: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"make_demo: {told(error)}", file=sys.stderr)
        return 1
    print(
        f"{target}: {target.stat().st_size} bytes; it needs Python 3.11 or later, pycryptodome and construct"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
