"""What an image is made of: archives, kept parts, packages, and what there has to be for it."""

from __future__ import annotations

import gzip
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from riscv import cpio, debian, needs
from riscv.cache import kept, locked
from riscv.cross import Python, compile_extensions
from riscv.errors import RiscvError
from tests.processes import ROOT
from tests.riscv.conftest import Command


class TestArchive:
    def test_what_cpio_reads(self, tmp_path: Path) -> None:
        """Every field, as a program that is not ours understands it."""
        if shutil.which("cpio") is None:
            pytest.skip("there is no cpio here to read archives with")
        tree = tmp_path / "tree"
        (tree / "folder").mkdir(parents=True)
        (tree / "folder" / "program").write_bytes(b"#!/bin/sh\n")
        (tree / "folder" / "program").chmod(0o755)
        (tree / "file").write_bytes(b"five!")
        (tree / "link").symlink_to("folder/program")
        console = cpio.Entry("console", stat.S_IFCHR | 0o600, device=(5, 1))
        secret = cpio.Entry("secret", stat.S_IFREG | 0o600, b"hidden", owner=1000)
        cpio.write(tmp_path / "archive", [*cpio.entries(tree), console, secret])
        archive = gzip.decompress((tmp_path / "archive").read_bytes())
        listed = subprocess.run(["cpio", "-tvn", "--quiet"], input=archive, capture_output=True, check=True)
        lines = [line.split() for line in listed.stdout.decode().splitlines()]
        assert [(line[0], line[2], line[8:]) for line in lines] == [
            ("-rw-r--r--", "0", ["file"]),
            ("drwxr-xr-x", "0", ["folder"]),
            ("-rwxr-xr-x", "0", ["folder/program"]),
            ("lrwxrwxrwx", "0", ["link", "->", "folder/program"]),
            ("crw-------", "0", ["1970", "console"]),
            ("-rw-------", "1000", ["secret"]),
        ]
        out = tmp_path / "out"
        out.mkdir()
        subprocess.run(["cpio", "-idu", "--quiet", "file"], input=archive, cwd=out, check=True)
        assert (out / "file").read_bytes() == b"five!"

    def test_the_same_files_give_the_same_bytes(self, tmp_path: Path) -> None:
        for name in ("one", "other"):
            tree = tmp_path / name
            tree.mkdir()
            for file in ("b", "a") if name == "one" else ("a", "b"):
                (tree / file).write_text(file)
            cpio.write(tmp_path / f"{name}.gz", cpio.entries(tree))
        assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "other.gz").read_bytes()


class TestKept:
    def test_made_once_for_each_input_and_the_older_one_is_removed(self, tmp_path: Path) -> None:
        made: list[int] = []

        def part(value: int) -> Path:
            def make(path: Path) -> None:
                made.append(value)
                path.write_text(str(value))

            return kept(tmp_path, "part", (value,), make)

        assert part(1) == part(1)
        assert part(2).read_text() == "2"
        assert made == [1, 2]
        assert [path.read_text() for path in tmp_path.iterdir()] == ["2"]

    @pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError, RiscvError])
    def test_what_is_interrupted_leaves_nothing(self, tmp_path: Path, failure: type[BaseException]) -> None:
        def make(path: Path) -> None:
            path.mkdir()
            (path / "half").write_text("half")
            raise failure

        with pytest.raises(failure):
            kept(tmp_path, "part", (), make)
        assert not [*tmp_path.iterdir()]

    def test_what_a_killed_run_left_is_not_taken(self, tmp_path: Path) -> None:
        (tmp_path / "part-0123.draft").mkdir()
        (tmp_path / "part-0123.draft" / "half").write_text("half")

        def make(path: Path) -> None:
            path.mkdir()
            (path / "whole").write_text("whole")

        part = kept(tmp_path, "part", (), make)
        assert [path.name for path in part.iterdir()] == ["whole"]
        assert [*tmp_path.iterdir()] == [part]

    def test_a_lock_that_somebody_has(self, tmp_path: Path) -> None:
        def refuse() -> None:
            raise RiscvError("taken")

        lock = tmp_path / "new" / "lock"
        with locked(lock, refuse), pytest.raises(RiscvError, match="taken"), locked(lock, refuse):
            pass
        with locked(lock, refuse):
            pass


class TestNeeds:
    def test_what_is_missing_is_named_with_the_command(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(RiscvError) as raised:
            needs.check()
        said = str(raised.value)
        assert said.startswith("packages are missing: sudo apt-get install ")
        for package in (
            "qemu-system-misc",
            "qemu-user",
            "mmdebstrap",
            "gcc-riscv64-linux-gnu",
            "openssh-client",
        ):
            assert package in said.split()

    @pytest.mark.parametrize("application", [True, False])
    def test_the_application_needs_a_compiler_without_an_operating_system(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, application: bool
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        missing = needs.missing_packages(application=application)
        assert ("gcc-riscv64-unknown-elf" in missing) is application
        assert len(set(missing)) == len(missing)

    def test_a_package_that_has_another_name_in_this_release(
        self, command: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = command("apt-cache", 'test "$2" = qemu-system-riscv && echo qemu-system-riscv').parent
        monkeypatch.setenv("PATH", str(known))
        missing = needs.missing_packages()
        assert "qemu-system-riscv" in missing and "qemu-system-misc" not in missing

    @pytest.mark.parametrize(("user", "needed"), [(0, False), (1000, True)], ids=["root", "user"])
    def test_namespaces_are_for_users(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, user: int, needed: bool
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("os.geteuid", lambda: user)
        assert ("uidmap" in needs.missing_packages()) is needed

    def test_nothing_is_asked_for_that_is_there(self, command: Command) -> None:
        for name in (needs.QEMU, needs.EMULATORS[1], needs.MMDEBSTRAP, needs.COMPILER):
            command(name, "true")
        assert not {"mmdebstrap", "gcc-riscv64-linux-gnu", "qemu-user", "qemu-user-static"} & {
            *needs.missing_packages()
        }

    @pytest.mark.parametrize("target", ["riscv", "riscv-test"])
    @pytest.mark.parametrize("missing", [True, False], ids=["missing", "there"])
    def test_make_asks_first_and_says_nothing_of_its_own(
        self, tmp_path: Path, target: str, missing: bool
    ) -> None:
        (tmp_path / "bin").mkdir()
        for name in ("python", "pytest"):
            asks = '[ "$2" = riscv.needs ] && exit 1' if missing else ":"
            (tmp_path / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$1" "$2"; {asks}\n:\n')
            (tmp_path / "bin" / name).chmod(0o755)
        if not missing:
            for built in ("confidential", "test", "riscv"):
                (tmp_path / built).touch()
        command = ["make", "--no-print-directory", f"VENV={tmp_path}", target]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        asked, *others = done.stdout.splitlines()
        assert asked == "python -m riscv.needs"
        if missing:
            assert (done.returncode != 0, others) == (True, [])
        else:
            assert (done.returncode, done.stderr) == (0, "")
            assert [line.split()[0] for line in others] == ["pytest" if target == "riscv-test" else "python"]

    def test_make_hands_over_the_folder_of_a_keystone(self, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "python").write_text('#!/bin/sh\necho "$3" "$4"\n')
        (tmp_path / "bin" / "python").chmod(0o755)
        for built in ("confidential", "riscv"):
            (tmp_path / built).touch()
        command = [
            "make",
            "--no-print-directory",
            f"VENV={tmp_path}",
            "riscv",
            "KEYSTONE_BUILD_DIR=/one's folder",
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert (done.stdout.split("\n")[-2], done.stderr) == ("--keystone /one's folder", "")


DEB822 = """\
Types: deb
URIs: http://mirror.invalid/debian
Suites: bookworm
Components: main
Signed-By: /keys/debian.gpg
"""
ONE_LINE = "deb [arch=amd64 signed-by=/keys/debian.gpg] http://mirror.invalid/debian bookworm main\n"


class TestDebian:
    @pytest.mark.parametrize(
        ("text", "keys"),
        [(DEB822, "[signed-by=/keys/debian.gpg] "), (ONE_LINE, "[signed-by=/keys/debian.gpg] "), ("", "")],
        ids=["deb822", "one line", "keys of apt"],
    )
    def test_mirror_and_keys_are_those_of_apt(
        self, command: Command, tmp_path: Path, text: str, keys: str
    ) -> None:
        sources = tmp_path / "sources"
        sources.write_text(text)
        command("apt-get", f"printf '{self._targets(sources)}'")
        command("apt-config", """echo 'Acquire::http::Proxy "http://proxy.invalid:1/";'""")
        arguments = self._unpacked(command, tmp_path)
        assert arguments[-1] == f"deb {keys}http://mirror.invalid/debian/ {debian.SUITE} main"
        assert '--aptopt=Acquire::http::Proxy "http://proxy.invalid:1/"' in arguments
        assert "--include=one,two" in arguments

    def _targets(self, sources: Path) -> str:
        rows = [
            ("Other", "Other", "main", "http://other.invalid/", f"{sources}:1"),
            ("Debian", "Debian-Security", "main", "http://security.invalid/", f"{sources}:1"),
            ("Debian", "Debian", "main", "http://mirror.invalid/debian/", f"{sources}:1"),
        ]
        return "".join("\\t".join(row) + "\\n" for row in rows)

    def _unpacked(self, command: Command, tmp_path: Path) -> list[str]:
        """Fetch with a command that notes its arguments, and gives an archive with two files and a link."""
        tree, archive, said = tmp_path / "tree", tmp_path / "archive.tar", tmp_path / "arguments"
        (tree / "usr/bin").mkdir(parents=True)
        (tree / "usr/bin/program").write_text("program")
        (tree / "usr/bin/program").chmod(0o755)
        (tree / "usr/bin/link").symlink_to("program")
        (tree / "usr/share").mkdir()
        (tree / "usr/share/page").write_text("page")
        with tarfile.open(archive, "w") as opened:
            opened.add(tree, ".")
        command("mmdebstrap", f"printf '%s\\n' \"$@\" >{said}; cat {archive}")
        target = tmp_path / "target"
        debian.unpack(("one", "two"), target, lambda name: not name.startswith("usr/share"), tmp_path / "log")
        assert sorted(path.name for path in target.rglob("*")) == ["bin", "link", "program", "usr"]
        assert (target / "usr/bin/link").read_text() == "program"
        assert (target / "usr/bin/program").stat().st_mode & 0o100
        return said.read_text().splitlines()

    def test_a_machine_without_a_mirror_of_debian(self, command: Command, tmp_path: Path) -> None:
        command("apt-get", "true")
        with pytest.raises(RiscvError, match="no mirror of Debian: run `apt-get update`"):
            debian.unpack(("one",), tmp_path / "target", bool, tmp_path / "log")

    def test_a_download_that_fails(self, command: Command, tmp_path: Path) -> None:
        sources = tmp_path / "sources"
        sources.touch()
        command("apt-get", f"printf '{self._targets(sources)}'")
        command("mmdebstrap", "echo 'E: Could not resolve mirror.invalid' >&2; exit 1")
        with pytest.raises(RiscvError) as raised:
            debian.unpack(("one",), tmp_path / "target", bool, tmp_path / "log")
        log = tmp_path / "log"
        assert str(raised.value) == (
            "fetching Debian's packages (mmdebstrap) failed: E: Could not resolve mirror.invalid "
            f"({log} has all of it)"
        )


SETUP = """\
from setuptools import Extension, setup
setup(name="x", ext_modules=[Extension("x.inner", ["x.c"], define_macros=[("NUMBER", "{number}")])])
"""
SOURCE = "#include <Python.h>\nint number(void) { return NUMBER + (int)PY_MAJOR_VERSION; }\n"


@pytest.mark.skipif(shutil.which(needs.COMPILER) is None, reason="there is no compiler for riscv64 here")
class TestCross:
    @pytest.fixture
    def python(self, tmp_path: Path) -> Python:
        headers = tmp_path / "include" / "python3.13"
        headers.mkdir(parents=True)
        (headers / "patchlevel.h").write_text(
            '#define PY_VERSION      "3.13.5"\n#define PY_MAJOR_VERSION 3\n'
        )
        (headers / "Python.h").write_text('#include "patchlevel.h"\n')
        return Python.of(tmp_path / "include")

    def _compiled(self, tmp_path: Path, python: Python, number: str) -> Path:
        source = tmp_path / "source"
        source.mkdir()
        (source / "setup.py").write_text(SETUP.format(number=number))
        (source / "x.c").write_text(SOURCE)
        compile_extensions(source, tmp_path / "made", python, tmp_path / "log")
        return tmp_path / "made"

    def test_an_extension_for_the_guest(self, tmp_path: Path, python: Python) -> None:
        made = self._compiled(tmp_path, python, "1")
        (library,) = (path for path in made.rglob("*") if path.is_file())
        assert library == made / "x" / "inner.cpython-313-riscv64-linux-gnu.so"
        # The machine of an ELF file: EM_RISCV.
        assert library.read_bytes()[18:20] == (243).to_bytes(2, "little")

    def test_what_does_not_compile(self, tmp_path: Path, python: Python) -> None:
        with pytest.raises(RiscvError, match="compiling for riscv64 failed: "):
            self._compiled(tmp_path, python, "mistaken")
        assert "mistaken" in (tmp_path / "log").read_text()
