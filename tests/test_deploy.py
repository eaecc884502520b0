"""The examples of deployment use options that exist, and a service's time limits that fit."""

from __future__ import annotations

import configparser
import json
import re
import shlex

import pytest
from processes import ROOT

from wasm_host import cli
from wasm_host.limits import ServerLimits

DEPLOY = ROOT / "examples" / "deploy"


def _parses(arguments: list[str]) -> None:
    try:
        cli._parser().parse_args(arguments)
    except SystemExit as error:
        pytest.fail(f"wasm-host does not take {arguments}: {error}")


def test_service() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DEPLOY / "wasm-host.service")
    service = unit["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert program.endswith("/wasm-host")
    _parses(arguments)
    limits = ServerLimits()
    assert int(service["TimeoutStopSec"]) > limits.drain + limits.grace


def test_container() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    command = re.search(r"^CMD (.*)$", text, re.MULTILINE)
    assert command
    _parses(json.loads(command[1]))


def test_readme() -> None:
    text = (DEPLOY / "README.md").read_text()
    lines = re.findall(r"wasm-demo\.pyz (--.*?)\s+#", text)
    assert lines
    for line in lines:
        _parses(shlex.split(line))
    for name in re.findall(r"`make ([a-z-]+)", text):
        assert f"\n{name}: " in (ROOT / "Makefile").read_text()
