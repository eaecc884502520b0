"""What the Makefile starts ends with make, and a virtual environment of another folder is not used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, alive, wait_until

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")

WAITS = """#!/bin/sh
case "$*" in *"pip install"*|*riscv.needs*) exit;; esac
echo $$ >"$(dirname "$0")/pid"
exec sleep 1000
"""


@pytest.mark.parametrize(
    "target",
    ["run", "test", "quick", "fuzz", "agree", "sabotage", "soak", "spec", "bench", "riscv", "riscv-test",
     "wasm-rt", "demo-file", "coverage"],
)  # fmt: skip
def test_nothing_goes_on_when_make_is_told_to_end(target: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("python", "pytest"):
        (tmp_path / "bin" / name).write_text(WAITS)
        (tmp_path / "bin" / name).chmod(0o755)
    for stamp in ("confidential", "test", "riscv", "bench"):
        (tmp_path / stamp).touch()
    pid = tmp_path / "bin" / "pid"
    command = ["make", "--no-print-directory", f"VENV={tmp_path}", target]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            wait_until(lambda: pid.exists() and pid.read_text().endswith("\n"), 60, "the command")
        finally:
            process.terminate()
    wait_until(lambda: not alive({int(pid.read_text())}), 20, "its end")


class TestMoved:
    @pytest.fixture
    def checkout(self, tmp_path: Path) -> Path:
        """With an interpreter that makes a virtual environment of nothing, and installs nothing."""
        folder = tmp_path / "it's here"
        folder.mkdir()
        shutil.copy(ROOT / "Makefile", folder)
        for name in ("setup.cfg", "pyproject.toml", "setup.py"):
            (folder / name).touch()
        python = tmp_path / "python"
        python.write_text(
            f"""#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 0
{sys.executable} -m venv --without-pip "$3"
ln -sf "$0" "$3/bin/python"
printf '#!/bin/sh\\necho tested\\n' >"$3/bin/pytest"
chmod +x "$3/bin/pytest"
"""
        )
        python.chmod(0o755)
        return folder

    def quick(self, folder: Path) -> list[str]:
        command = ["make", "--no-print-directory", f"PYTHON={folder.parent}/python", "quick"]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.split(
            "\n"
        )

    def test_one_that_stays(self, checkout: Path) -> None:
        assert self.quick(checkout) == self.quick(checkout) == ["tested", ""]

    @pytest.mark.parametrize("name", ["it's there", "it's here2", "here"])
    def test_one_that_is_moved(self, checkout: Path, name: str) -> None:
        self.quick(checkout)
        (checkout / ".venv" / "old").touch()
        moved = checkout.rename(checkout.with_name(name))
        said = ".venv was made in another folder: it is made anew"
        assert self.quick(moved) == [said, "tested", ""]
        assert not (moved / ".venv" / "old").exists() and (moved / ".venv" / "test").exists()
        assert self.quick(moved) == ["tested", ""]

    def test_one_by_way_of_a_link(self, checkout: Path) -> None:
        self.quick(checkout)
        (checkout / ".venv").rename(checkout.parent / "environment")
        (checkout / ".venv").symlink_to(checkout.parent / "environment")
        link = checkout.with_name("link")
        link.symlink_to(checkout)
        assert self.quick(link) == ["tested", ""]
