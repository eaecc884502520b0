"""What builds the application for Keystone: a build that was interrupted does no harm to the next one."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or importlib.util.find_spec("distutils") is None,
    reason="it is built on Linux, with a Python that has distutils",
)

SCRIPT = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "enclave" / "keystone")!r})
import build, sources
build.PROJECT = FOLDER = Path(sys.argv[1])
build.BUILD = FOLDER / "build"
build.C_LIBRARY = build.BUILD / "libc/installed"
"""
COMPILE = "print(build.compile_object(build.NATIVE, FOLDER / 'one.c', []).read_text(), end='')"

# Its object is what it reads.
COMPILER = """\
#!/bin/sh
[ "$1" = --version ] && echo "$VERSION" && exit
while [ $# -gt 0 ]; do
    case $1 in -c) source=$2;; -o) made=$2;; -MF) rule=$2;; esac
    shift
done
printf half >"$made"
[ -n "$KILLED" ] && kill -9 $PPID && exit
folder=${source%/*}
echo "one.o: $source \\\\\n $folder/one.h" >"$rule"
cat "$source" "$folder/one.h" >"$made"
"""

CONFIGURE = """\
#!/bin/sh
echo configure >>"$STEPS"
mkdir -p Modules
echo 1 >pyconfig.h
cat >Makefile <<END
libpython3.11.a python:
	echo \\$@ >>"$STEPS"; echo \\$@ >\\$@
install:
	echo install >>"$STEPS"; mkdir -p installed/lib
	for name in libc.a crt1.o crti.o crtn.o; do echo 1 >installed/lib/\\$\\$name; done
END
"""


def script(folder: Path, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code with the modules of the build, on a project of its own that lies in `folder`."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT + code, folder],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env={"PATH": f"{folder}/bin:/usr/bin:/bin", "STEPS": f"{folder}/steps", "VERSION": "1", **variables},
    )


def program(folder: Path, name: str, content: str = "#!/bin/sh\n") -> None:
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text(content)
    (folder / "bin" / name).chmod(0o755)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one C file, and a compiler that says when it compiles."""
    folder = tmp_path / "project"
    (folder / "build/source").mkdir(parents=True)
    (folder / "build/source/configure").write_text(CONFIGURE)
    (folder / "build/source/configure").chmod(0o755)
    (folder / "one.c").write_text("C")
    (folder / "one.h").write_text("H")
    program(folder, "gcc", COMPILER)
    program(folder, "ccache", '#!/bin/sh\nexec "$@"\n')
    return folder


def compiled(folder: Path, **variables: str) -> str:
    done = script(folder, COMPILE, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def objects(folder: Path) -> dict[Path, int]:
    """Those that are there, and what tells whether they were written again."""
    return {file.relative_to(folder): file.stat().st_ino for file in folder.glob("build/objects/*.o")}


class TestObjects:
    """What is compiled, and when again."""

    def test_half_an_object_is_not_taken(self, project: Path) -> None:
        (project / "build/objects").mkdir()
        assert script(project, COMPILE, KILLED="yes").returncode == -signal.SIGKILL
        assert compiled(project) == "CH"
        assert compiled(project, KILLED="yes") == "CH", "it is compiled once"

    def test_source_header_and_compiler_are_looked_at(self, project: Path) -> None:
        compiled(project)
        (project / "one.c").write_text("D")
        assert compiled(project) == "DH"
        (project / "one.h").write_text("I")
        assert compiled(project) == "DI"
        before = objects(project)
        assert compiled(project) == "DI"
        assert objects(project) == before
        compiled(project, VERSION="2")
        assert objects(project) != before

    def test_object_without_content_is_compiled_again(self, project: Path) -> None:
        compiled(project)
        for file in objects(project):
            (project / file).write_bytes(b"")
        assert compiled(project) == "CH"

    def test_project_that_was_moved(self, project: Path) -> None:
        compiled(project)
        before = objects(project)
        moved = project.rename(project.parent / "moved")
        assert compiled(moved) == "CH"
        assert objects(moved) == before

    def test_missing_source(self, project: Path) -> None:
        (project / "one.c").unlink()
        done = script(project, COMPILE)
        assert f"No such file or directory: '{project}/one.c'" in done.stderr


class TestStamps:
    """What is made from sources counts as made only while it is there."""

    PYTHON = "build.build_python(build.NATIVE, build.BUILD / 'source')"
    LIBRARY = "build.build_c_library(build.NATIVE, build.BUILD / 'source')"

    def test_python(self, project: Path) -> None:
        assert steps(project, self.PYTHON) == ["configure", "libpython3.11.a", "python"]
        assert steps(project, self.PYTHON) == []
        for name in ("libpython3.11.a", "python"):
            (project / "build/native" / name).unlink()
            assert name in steps(project, self.PYTHON)
            (project / "build/native" / name).write_text("")
            assert name in steps(project, self.PYTHON)
        (project / "build/native/pyconfig.h").unlink()
        assert "configure" in steps(project, self.PYTHON)
        assert "configure" in steps(project, self.PYTHON, VERSION="2")

    def test_c_library(self, project: Path) -> None:
        assert steps(project, self.LIBRARY) == ["configure", "install"]
        assert steps(project, self.LIBRARY) == []
        (project / "build/libc/installed/lib/libc.a").unlink()
        assert steps(project, self.LIBRARY) == ["configure", "install"]

    def test_project_that_was_moved(self, project: Path) -> None:
        """What is for this machine knows where it was built; the rest is good wherever it lies."""
        other = self.PYTHON.replace("NATIVE", "Machine('other', '', {})")
        for code in (self.PYTHON, self.LIBRARY, other):
            steps(project, code)
        moved = project.rename(project.parent / "moved")
        assert steps(moved, self.PYTHON) == ["configure", "libpython3.11.a", "python"]
        assert steps(moved, self.LIBRARY) == []
        assert steps(moved, other) == []


def steps(project: Path, code: str, **variables: str) -> list[str]:
    """What is done anew."""
    (project / "steps").write_text("")
    done = script(project, code, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return (project / "steps").read_text().split()


class TestSources:
    """What is downloaded and unpacked."""

    UNPACK = "sources.pycryptodome(build.BUILD)"

    def test_unpacking_that_was_interrupted(self, project: Path) -> None:
        """Half a folder is left, under another name, and the next build goes on from the archive."""
        code = f"""
import subprocess, tarfile
name = sources.PYCRYPTODOME.replace("==", "-")
sources._run = lambda command, folder: ""
(FOLDER / name / "src").mkdir(parents=True)
(FOLDER / name / "src/AES.c").write_text("C")
with tarfile.open(build.BUILD / f"{{name}}.tar.gz", "w:gz") as archive:
    archive.add(FOLDER / name, name)
whole = tarfile.TarFile.extractall
def interrupted(self, path, **options):
    Path(path, name, "src").mkdir(parents=True)
    raise KeyboardInterrupt
tarfile.TarFile.extractall = interrupted
try:
    {self.UNPACK}
except KeyboardInterrupt:
    tarfile.TarFile.extractall = whole
print(({self.UNPACK} / "AES.c").read_text())
"""
        done = script(project, code)
        assert (done.returncode, done.stdout, done.stderr) == (0, "C\n", "")

    @pytest.mark.parametrize("index", ["", "other content"])
    def test_archive_that_is_not_to_be_had(self, project: Path, index: str) -> None:
        """Nothing there, or not what was pinned: one line, and nothing is unpacked."""
        (project / "index").mkdir()
        if index:
            (project / "index/pycryptodome-4.4.0.tar.gz").write_text(index)
        done = script(project, self.UNPACK, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(project / "index"))
        assert done.returncode == 1
        assert done.stderr.startswith("pycryptodome==4.4.0 is not to be had from PyPI: ERROR: ")
        assert ("DO NOT MATCH THE HASHES" in done.stderr) == bool(index)
        assert done.stderr.count("\n") == 1
        assert not list((project / "build").glob("pycryptodome*"))

    def test_debian_that_is_not_to_be_had(self, project: Path) -> None:
        program(project, "apt-get", "#!/bin/sh\necho W: slow >&2; echo E: no route to host >&2; exit 100\n")
        done = script(project, "sources.debian('musl', build.BUILD)")
        assert (done.returncode, done.stderr) == (
            1,
            "Debian's source package musl is not to be had from the sources that apt has here: "
            "E: no route to host\n",
        )


class TestFolder:
    """What is said where the build's folder is not as it was left."""

    MAIN = """
sys.argv[1:] = ["native"]
build.needs.missing_packages = list
build.build_all = lambda machines: DO(*machines)
build.main()
"""

    def error(self, project: Path, code: str) -> str:
        done = script(project, f"DO = lambda machine: {code}" + self.MAIN)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        assert f"{project}/build has to be a folder that can be written to" in done.stderr
        assert "`rm -r build/keystone`" in done.stderr
        return done.stderr

    def test_file_in_its_place(self, project: Path) -> None:
        (project / "build").rename(project / "elsewhere")
        (project / "build").write_text("")
        assert self.error(project, "None").startswith(f"File exists: {project}/build. ")

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
    def test_no_room(self, project: Path) -> None:
        error = self.error(project, "Path('/dev/full').write_text('one')")
        assert error.startswith("No space left on device: ")

    def test_missing_source(self, project: Path) -> None:
        (project / "one.c").unlink()
        error = self.error(project, "build.compile_object(machine, FOLDER / 'one.c', [])")
        assert error.startswith(f"No such file or directory: {project}/one.c. ")

    def test_missing_program(self, project: Path) -> None:
        error = self.error(project, "build.run([FOLDER / 'native/python'])")
        assert error.startswith(f"No such file or directory: {project}/native/python. ")

    def test_folder_that_another_is_in(self, project: Path) -> None:
        """A link stands for a mount point, which cannot be removed either."""
        (project / "elsewhere").mkdir()
        (project / "build/libc").symlink_to(project / "elsewhere")
        error = self.error(project, "build.build_c_library(machine, build.BUILD / 'source')")
        assert error.startswith("Cannot call rmtree on a symbolic link: ")

    def test_what_a_killed_build_left_is_removed(self, project: Path) -> None:
        left = project / "build/objects/tmpone"
        left.mkdir(parents=True)
        script(project, "sources.debian = lambda *_: sys.exit()\nbuild.build_all([])")
        assert not left.exists()


def test_missing_packages_are_named(tmp_path: Path) -> None:
    script = ROOT / "enclave" / "keystone" / "build.py"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script, "riscv64"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": str(tmp_path)},
    )
    command = "sudo apt-get install dpkg-dev gcc make gcc-riscv64-unknown-elf"
    assert done.returncode == 1
    assert done.stderr == f"packages are missing: {command.replace('install', 'install apt')}\n"
    assert f"    {command}\n" in (ROOT / "docs" / "keystone.md").read_text()
