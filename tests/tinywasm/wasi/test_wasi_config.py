"""`WasiConfig`: where streams, strings and files come from; and `MemoryTree` from the outside."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tinywasm.wasi.wasi_calls import ALL_RIGHTS, TinywasmCalls
from tinywasm.wasi import MemoryTree, WasiConfig
from tinywasm.wasi.abi import Errno, FileType

ROOT = Path(__file__).resolve().parents[3]


class TestStreams:
    def test_files(self, tmp_path: Path) -> None:
        (tmp_path / "in").write_bytes(b"input")
        (tmp_path / "out").write_bytes(b"what was there before")
        config = WasiConfig()
        config.stdin_file = tmp_path / "in"
        config.stdout_file = str(tmp_path / "out")
        config.stderr_file = tmp_path / "err"
        guest = TinywasmCalls(config)
        with guest.wasi:
            assert guest.read(0, 10) == (Errno.SUCCESS, b"input")
            assert guest.seek(0, 1) == (Errno.SUCCESS, 1)
            assert guest.write(1, b"out")[0] == guest.write(2, b"err")[0] == Errno.SUCCESS
            assert guest.fdstat(1)[1][0] == FileType.REGULAR_FILE
        assert (tmp_path / "out").read_bytes() == b"out"
        assert (tmp_path / "err").read_bytes() == b"err"

    def test_files_that_cannot_be_opened(self, tmp_path: Path) -> None:
        config = WasiConfig()
        with pytest.raises(FileNotFoundError):
            config.stdin_file = tmp_path / "missing"
        with pytest.raises(IsADirectoryError):
            config.stdout_file = tmp_path
        with pytest.raises(NotADirectoryError):
            config.preopen_dir(__file__, "/")
        with pytest.raises(FileNotFoundError):
            config.preopen_dir(tmp_path / "missing", "/")

    def test_functions(self) -> None:
        config = WasiConfig()
        written: list[bytes] = []
        config.stdout_custom = written.append
        config.stderr_custom = lambda data: min(len(data), 2) if data != b"full" else -errno.ENOSPC
        guest = TinywasmCalls(config)
        assert guest.write(1, b"ab", b"c") == (Errno.SUCCESS, 3)
        assert written == [b"abc"]
        assert guest.write(2, b"abc") == (Errno.SUCCESS, 2)
        assert guest.write(2, b"full")[0] == Errno.NOSPC

    def test_what_a_function_raises_comes_out(self) -> None:
        def fail(data: bytes) -> None:
            raise KeyError("of the embedder")

        config = WasiConfig()
        config.stdout_custom = fail
        with pytest.raises(KeyError):
            TinywasmCalls(config).write(1, b"x")

    def test_by_default_there_is_nothing(self) -> None:
        guest = TinywasmCalls(WasiConfig())
        assert guest.read(0, 1) == (Errno.SUCCESS, b"")
        assert guest.write(1, b"x") == guest.write(2, b"y") == (Errno.SUCCESS, 1)
        assert guest.fdstat(3)[0] == Errno.BADF
        guest.raw("args_sizes_get", 0, 4)
        assert guest.u64(0) == 0

    def test_inherited(self) -> None:
        """In a process of its own: its streams are the guest's, in the order of writing."""
        program = """
import sys
from tinywasm import Engine, Module
from tinywasm.wasi import WasiConfig, run_command
config = WasiConfig()
config.inherit_stdin(), config.inherit_stdout(), config.inherit_stderr()
config.inherit_argv(), config.inherit_env()
assert config.argv == sys.argv and ("MARK", "x") in config.env
print("before")
print("after", run_command(Module.from_file(Engine(), sys.argv[1]), config))
"""
        streams = ROOT / "tests" / "wasi_programs" / "streams.wasm"
        done = subprocess.run(
            [sys.executable, "-c", program, str(streams)],
            input=b"one\ntwo\n",
            capture_output=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(ROOT), "MARK": "x"},
            check=True,
        )
        assert done.stdout == b"before\nONE\nTWO\nafter 2\n"
        assert done.stderr == b"2 lines\n"


class TestStrings:
    def test_pairs_or_mapping(self) -> None:
        config = WasiConfig()
        config.env = {"A": "1"}
        assert config.env == [("A", "1")]
        config.env = [("B", "2=3"), ["C", ""]]
        assert config.env == [("B", "2=3"), ("C", "")]
        config.argv = ["a", "b"]
        assert config.argv == ["a", "b"]

    def test_what_cannot_be_passed(self) -> None:
        config = WasiConfig()
        with pytest.raises(ValueError, match="zero"):
            config.argv = ["a\0b"]
        with pytest.raises(ValueError, match="zero"):
            config.env = {"A": "\0"}
        for name in ("", "A=B"):
            with pytest.raises(ValueError, match="name of an environment variable"):
                config.env = {name: "x"}


def test_one_configuration_starts_several_programs(tmp_path: Path) -> None:
    config = WasiConfig()
    config.preopen_dir(tmp_path, "/")
    config.stdin_bytes = b"input"
    for _ in range(2):
        guest = TinywasmCalls(config)
        assert guest.read(0, 9) == (Errno.SUCCESS, b"input")
        assert guest.create("file", b"x") == 4
        guest.wasi.close()


class TestMemoryTree:
    def test_files_go_in_and_come_out(self) -> None:
        tree = MemoryTree({"a/b/file": b"data", "/top": b""})
        tree.make_directory("empty/below")
        config = WasiConfig()
        config.preopen_tree(tree, "/")
        guest = TinywasmCalls(config)
        assert guest.read(guest.open("a/b/file")[1], 9) == (Errno.SUCCESS, b"data")
        assert guest.stat("empty/below")[1].filetype is FileType.DIRECTORY
        guest.create("a/new", b"made by the guest")
        assert tree.read("a/new") == b"made by the guest"
        tree.write("a/new", b"replaced")
        assert tree.files() == {"a/b/file": b"data", "a/new": b"replaced", "top": b""}

    def test_wrong_paths(self) -> None:
        tree = MemoryTree({"a/file": b""})
        for path in ("missing", "a", "a/file/x", ""):
            with pytest.raises(FileNotFoundError):
                tree.read(path)
        for path in ("a", "", "/"):
            with pytest.raises(IsADirectoryError):
                tree.write(path, b"")
        with pytest.raises(NotADirectoryError):
            tree.write("a/file/x", b"")
        with pytest.raises(NotADirectoryError):
            tree.make_directory("a/file")

    def test_its_limit_holds_for_everything(self) -> None:
        with pytest.raises(OSError, match="at most 1000 bytes"):
            MemoryTree({"file": bytes(2000)}, limit=1000)
        tree = MemoryTree({"file": bytes(300)}, limit=1000)
        with pytest.raises(OSError, match="at most 1000 bytes"):
            tree.write("other", bytes(500))
        assert tree.files() == {"file": bytes(300)}
        config = WasiConfig()
        config.preopen_tree(tree, "/")
        guest = TinywasmCalls(config)
        assert guest.symlink("x" * 200, "link") == Errno.NOSPC
        assert guest.mkdir("dir") == Errno.SUCCESS
        assert guest.mkdir("dir/below") == Errno.NOSPC
        assert guest.open("dir/file", 1, rights=ALL_RIGHTS)[0] == Errno.NOSPC
        assert guest.link("file", "dir/same") == Errno.NOSPC
        assert guest.rename("file", "moved-to-a-longer-name") == Errno.NOSPC
        assert guest.rmdir("dir") == Errno.SUCCESS
        assert guest.unlink("file") == Errno.SUCCESS
        assert tree.used == 0

    def test_its_limit_holds_under_many_small_files(self) -> None:
        config = WasiConfig()
        tree = MemoryTree(limit=10_000)
        config.preopen_tree(tree, "/")
        guest = TinywasmCalls(config)
        made = 0
        while guest.mkdir(str(made)) == Errno.SUCCESS:
            made += 1
        assert 0 < made < 100
