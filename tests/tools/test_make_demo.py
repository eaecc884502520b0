"""The one-file server: it starts, its enclaves are what it says, and it tells what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import make_demo
import pytest

from schannel.measurement import measure
from schannel.policy import Policy
from tests.keystone import APPLICATION, DEVICE_KEY, LOADER, MONITOR, RUNTIME
from tests.processes import CALCULATOR, ROOT, read_line, stop
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
def test_a_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make_demo.main([str(tmp_path)]) == 1
    assert capsys.readouterr() == ("", f"make_demo: {tmp_path}: is a directory\n")


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


@pytest.fixture
def keystone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build of Keystone, and an application that is built in no time."""
    build, application = tmp_path / "build.py", tmp_path / "wasm-rt"
    build.write_text(f"open({str(application)!r}, 'wb').write({APPLICATION!r})")
    monkeypatch.setattr(make_demo, "BUILD_APPLICATION", (build, "riscv64"))
    monkeypatch.setattr(make_demo, "APPLICATION", application)
    folder = tmp_path / "keystone"
    folder.mkdir()
    (folder / "eyrie-rt").write_bytes(RUNTIME)
    (folder / "loader.bin").write_bytes(LOADER)
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="the double's applications are Linux processes")
class TestKeystone:
    @pytest.fixture
    def ke(self, keystone: Path, tmp_path: Path) -> Path:
        target = tmp_path / "wasm-demo.ke"
        assert make_demo.main(["--device", "keystone", "--keystone", str(keystone), str(target)]) == 0
        return target

    def test_it_serves(self, ke: Path, tmp_path: Path) -> None:
        """A session with an enclave that is made of the files in it."""
        policy = Policy(
            enclave_measurements=frozenset({measure(LOADER, RUNTIME, APPLICATION)}),
            monitor_measurements=frozenset({MONITOR.monitor_hash}),
            real_devices=frozenset({DEVICE_KEY.public}),
        )
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "demo_double.py"), str(ke), "-a", "127.0.0.1:0"],
            stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=_environment(tmp_path),
        )  # fmt: skip
        try:
            address = read_line(process).split()[-1]
            with connect(address, policy) as session:
                session.deploy(CALCULATOR.read_bytes())
                assert session.call("add", 1, 1) == 2
        finally:
            stop(process)

    def test_it_measures_its_files(self, ke: Path, tmp_path: Path) -> None:
        measured = measure(LOADER, RUNTIME, APPLICATION).hex()
        assert measured in self._run(ke, tmp_path, "measure").stdout
        assert measured in self._run(ke, tmp_path, "client", "measure").stdout
        other = tmp_path / "other"
        other.write_bytes(LOADER + b"other")
        done = self._run(ke, tmp_path, "client", "measure", "-l", str(other))
        assert measure(other.read_bytes(), RUNTIME, APPLICATION).hex() in done.stdout

    def test_where_there_is_no_keystone(self, ke: Path, tmp_path: Path) -> None:
        done = self._run(ke, tmp_path, "-a", "127.0.0.1:0")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("wasm-host: there is no /dev/keystone_enclave")

    def test_without_a_build_the_files_are_given_when_it_starts(self, keystone: Path, tmp_path: Path) -> None:
        target = tmp_path / "alone.ke"
        assert make_demo.main(["--device", "keystone", str(target)]) == 0
        done = self._run(target, tmp_path, "measure")
        assert "not given: -l, -r" in done.stderr
        files = ["-l", str(keystone / "loader.bin"), "-r", str(keystone / "eyrie-rt")]
        done = self._run(target, tmp_path, *files, "measure")
        assert measure(LOADER, RUNTIME, APPLICATION).hex() in done.stdout, done.stderr

    def test_it_is_the_client_too(self, ke: Path, tmp_path: Path) -> None:
        assert self._run(ke, tmp_path, "client", "-V").stdout.startswith("wasm-client ")

    def test_a_build_that_lacks_a_file(
        self, keystone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (keystone / "loader.bin").unlink()
        arguments = ["--device", "keystone", "--keystone", str(keystone), str(tmp_path / "none.ke")]
        assert make_demo.main(arguments) == 1
        assert capsys.readouterr().err.startswith(f"make_demo: {keystone} lacks eyrie-rt with loader.bin")
        assert not (tmp_path / "wasm-rt").exists() and not (tmp_path / "none.ke").exists()

    @pytest.mark.parametrize(
        ("given", "passed"),
        [
            ([], ""),
            (["DEVICE=keystone"], "--device keystone"),
            (["DEVICE=keystone", "KEYSTONE_BUILD_DIR=/a 'b"], "--device keystone --keystone /a 'b"),
            (["KEYSTONE_BUILD_DIR=/a folder"], ""),
        ],
        ids=["plain", "without a build", "with one", "a build for nothing"],
    )
    def test_what_make_passes(self, tmp_path: Path, given: list[str], passed: str) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "python").write_text('#!/bin/sh\nshift; echo "$*"\n')
        (tmp_path / "bin" / "python").chmod(0o755)
        for built in ("confidential", "riscv"):
            (tmp_path / built).touch()
        command = ["make", "--no-print-directory", f"VENV={tmp_path}", "demo-file", *given]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{passed}\n", "")

    def _run(self, file: Path, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(file), *arguments],
            capture_output=True, text=True, timeout=120, env=_environment(tmp_path),
        )  # fmt: skip
