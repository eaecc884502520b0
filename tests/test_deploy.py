"""The examples of deployment: every command, option, path and limit in them is one that there is."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

import wasm_client.cli
import wasm_host.cli
from schannel.simulation import STATE_VARIABLES
from tests.processes import ROOT
from wasm_host.limits import ServerLimits

DEPLOY = ROOT / "examples" / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg")
COMMANDS = set(re.findall(r"^(\S+) =", CONFIG["options.entry_points"]["console_scripts"], re.MULTILINE))
EXTRAS = set(CONFIG["options.extras_require"])
LIMITS = ServerLimits()
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def _host_options(arguments: list[str]) -> Namespace:
    try:
        return wasm_host.cli._parser().parse_args(arguments)
    except SystemExit as error:
        pytest.fail(f"wasm-host does not take {arguments}: {error}")


def _port(address: str) -> str:
    return address.rpartition(":")[2]


@pytest.fixture(scope="module")
def service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string((DEPLOY / "wasm-host.service").read_text().replace("\\\n", " "))
    return unit["Service"]


class TestService:
    def test_command(self, service: configparser.SectionProxy) -> None:
        program, *arguments = shlex.split(service["ExecStart"])
        # Where `make install PREFIX=/usr/local` puts it: a home is not visible to the service.
        assert Path(program).parent == Path("/usr/local/bin") and Path(program).name in COMMANDS
        options = _host_options(arguments)
        assert options.metrics[0] == "127.0.0.1"

    def test_time_to_stop_suffices(self, service: configparser.SectionProxy) -> None:
        assert int(service["TimeoutStopSec"]) > LIMITS.drain + LIMITS.grace
        text = (DEPLOY / "wasm-host.service").read_text()
        assert f"--max-drain ({LIMITS.drain:.0f} s)" in text
        assert f"enclaves have {LIMITS.grace:.0f} s more" in text

    def test_limits_leave_room_for_all_enclaves(self, service: configparser.SectionProxy) -> None:
        options = _host_options(shlex.split(service["ExecStart"])[1:])
        memory = int(service["MemoryMax"][:-1]) * UNITS[service["MemoryMax"][-1]]
        # The host ends the session that has most before the kernel chooses; it needs some memory itself.
        assert options.memory << 20 <= memory - (512 << 20)
        processes = LIMITS.enclaves + LIMITS.pool
        assert int(service["TasksMax"]) > 4 * processes
        assert int(service["LimitNOFILE"]) > 8 * (LIMITS.connections + processes)

    def test_state(self, service: configparser.SectionProxy) -> None:
        name, _, place = service["Environment"].partition("=")
        assert name in STATE_VARIABLES and place == f"%S/{service['StateDirectory']}"

    def test_sandbox_of_enclaves_is_left_possible(self, service: configparser.SectionProxy) -> None:
        assert not {"RestrictNamespaces", "SystemCallFilter", "MemoryDenyWriteExecute"} & service.keys()
        assert {"AF_INET", "AF_INET6", "AF_UNIX"} <= set(service["RestrictAddressFamilies"].split())

    def test_systemd_knows_it(self, tmp_path: Path) -> None:
        if not shutil.which("systemd-analyze"):
            pytest.skip("there is no systemd-analyze to ask")
        unit = tmp_path / "wasm-host.service"
        text = (DEPLOY / "wasm-host.service").read_text()
        unit.write_text(text.replace("/usr/local/bin/wasm-host", sys.executable))
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class TestContainer:
    def test_command(self) -> None:
        (command,), (entry,) = _instructions("CMD"), _instructions("ENTRYPOINT")
        (exposed,) = _instructions("EXPOSE")
        (program,) = json.loads(entry)
        options = _host_options(json.loads(command))
        assert str(options.address[1]) == exposed
        (venv,) = re.findall(r"python -m venv (\S+)", CONTAINERFILE)
        assert Path(program).parent == Path(venv) / "bin" and Path(program).name in COMMANDS
        assert f"COPY --from=build {venv} {venv}\n" in CONTAINERFILE

    def test_what_is_built(self) -> None:
        (source, extras) = re.findall(r"install --no-cache-dir '(\S+)\[(\S+)\]'", CONTAINERFILE)[0]
        assert f"COPY . {source}\n" in CONTAINERFILE and set(extras.split(",")) <= EXTRAS
        images = {line.split()[0] for line in _instructions("FROM")}
        # One image for both stages: what is compiled in one runs in the other.
        (version,) = {re.fullmatch(r"docker\.io/library/python:3\.(\d+)-slim", image)[1] for image in images}  # type: ignore[index]
        assert int(version) >= int(CONFIG["options"]["python_requires"].removeprefix(">=3."))

    def test_state(self) -> None:
        (volume,), (user,) = _instructions("VOLUME"), _instructions("USER")
        (environment,) = _instructions("ENV")
        assert environment.partition("=")[0] in STATE_VARIABLES
        assert environment.partition("=")[2] == volume
        assert f"--home-dir {volume} {user}\n" in CONTAINERFILE

    def test_commands_of_its_comments(self) -> None:
        lines = re.findall(r"^#   (podman .*)$", CONTAINERFILE, re.MULTILINE)
        build, *runs = map(shlex.split, lines)
        image = build[build.index("-t") + 1]
        assert (ROOT / build[build.index("-f") + 1]).is_file()
        for run in runs:
            before, after = run[: run.index(image)], run[run.index(image) + 1 :]
            _host_options(after)
            if "-p" in before:
                assert set(before[before.index("-p") + 1].split(":")) == set(_instructions("EXPOSE"))
                assert before[before.index("-v") + 1].partition(":")[2] == _instructions("VOLUME")[0]


def _instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", CONTAINERFILE, re.MULTILINE)


def test_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("loader.bin", "eyrie-rt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    text = (DEPLOY / "README.md").read_text()
    lines = re.findall(r"^    (python3 .*)$", text, re.MULTILINE)
    for _, program, *arguments in (shlex.split(line, comments=True) for line in lines):
        assert program in ("wasm-demo.pyz", "wasm-demo.ke")
        if arguments[0] == "client":
            wasm_client.cli._parser().parse_args(arguments[1:])
        else:
            _host_options(arguments)
    for name in re.findall(r"`make ([a-z-]+)", text):
        assert f"\n{name}: " in (ROOT / "Makefile").read_text()
    named = set(re.findall(r"`((?:wasm-|tinywasm)[a-z-]*)`", text))
    assert named <= COMMANDS and named
    assert all((DEPLOY / name).is_file() for name in ("wasm-host.service", "Containerfile"))
