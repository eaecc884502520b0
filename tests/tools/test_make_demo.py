"""The one-file server: it starts, its enclaves are what it says, and it tells what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import make_demo
import pytest

from schannel.policy import Policy
from tests.processes import CALCULATOR, read_line, stop
from wasm_client import connect


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("demo") / "wasm-demo.pyz"
    assert make_demo.main([str(target)]) == 0
    return target


def _environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "TINYWASM_STATE_DIR": str(tmp_path / "state"), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def test_the_same_sources_give_the_same_file(pyz: Path, tmp_path: Path) -> None:
    make_demo.build(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == pyz.read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="enclaves are Linux processes")
def test_it_serves(pyz: Path, tmp_path: Path) -> None:
    command, environment = [sys.executable, str(pyz)], _environment(tmp_path)
    printed = subprocess.run(
        [*command, "measure"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env=environment,
        check=True,
    )
    process = subprocess.Popen(
        [*command, "-a", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
    )
    try:
        address = read_line(process).split()[-1]
        with connect(address, Policy.from_toml(printed.stdout)) as session:
            session.deploy(CALCULATOR.read_bytes())
            assert session.call("add", 1, 1) == 2
    finally:
        stop(process)
    assert len(list((tmp_path / "cache" / "tinywasm").iterdir())) == 1, "unpacked once"


def test_it_is_the_client_too(pyz: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(pyz), "client", "-V"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=_environment(tmp_path))
    assert done.stdout.startswith("wasm-client "), done.stderr


def test_it_tells_what_it_needs(pyz: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-S", str(pyz)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=_environment(tmp_path))
    assert done.returncode == 1
    needed = ["pycryptodome", "construct"]
    told = f"wasm-demo: not installed: {', '.join(needed)} (pip install {' '.join(needed)})\n"
    assert done.stderr == told
