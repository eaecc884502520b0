"""What the host says of an application on Keystone that uses floating-point registers."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from schannel.keystone_files import ElfHeader
from tests.keystone import APPLICATION, LOADER, RUNTIME, Machine
from tests.processes import ROOT
from tests.wasm_host.fakes import run
from wasm_client import cli as client_cli
from wasm_host import cli as host_cli
from wasm_host.keystone import KeystoneMonitor
from wasm_host.keystone_device import Image

HEAD = ElfHeader.parse(APPLICATION[: ElfHeader.sizeof()])


@pytest.mark.parametrize(
    ("flags", "floats"), [(0x0, False), (0x1, False), (0x2, True), (0x4, True), (0x5, True), (0x6, True)]
)
def test_application_that_passes_floats_in_registers(flags: int, floats: bool) -> None:
    """The flags are those of the RISC-V ELF psABI: compressed instructions 1, the float ABI 6."""
    application = replace(HEAD, flags=flags).build() + APPLICATION[ElfHeader.sizeof() :]

    async def main() -> None:
        machine = Machine([sys.executable, str(ROOT / "tests" / "edge_application.py"), "echo"])
        image = Image(LOADER, RUNTIME, application, 1 << 20)
        monitor = KeystoneMonitor(image, b"{}", 60.0, machine)
        missing = dict((await monitor.ready()).missing)
        await monitor.close()
        machine.assert_clean()
        assert list(missing) == ["floating-point registers of their own"] * floats
        assert all("no result may depend on f32 or f64" in why for why in missing.values())

    run(main())


@pytest.mark.parametrize("floats", [False, True])
def test_both_ends_warn_when_they_measure(
    floats: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    application = replace(HEAD, flags=0x5 * floats).build() + APPLICATION[ElfHeader.sizeof() :]
    options: list[str] = []
    for option, content in (("-l", LOADER), ("-r", RUNTIME), ("-e", application)):
        path = tmp_path / option
        path.write_bytes(content)
        options += [option, str(path)]
    assert client_cli.main(["measure", *options]) == 0
    client = capsys.readouterr().err
    assert host_cli.main(["measure", "--device", "keystone", *options]) == 0
    host = capsys.readouterr().err
    warning = "enclaves run without floating-point registers of their own: Keystone's monitor does not switch"
    assert client.count(warning) == client.count("\n") == floats
    assert host == client.replace("wasm-client:", "wasm-host:")
