"""The folder of `Config(cache=)`: what one process compiles, the next one runs; and nobody else's code is."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.engines import needs_llvm
from tests.tinywasm.test_ahead import SMALL, python
from tests.tinywasm.test_cli import ENVIRONMENT
from tinywasm import Config, Engine, Instance, Module, Store, kept_folder, wat2wasm
from tinywasm.engine import backend

pytestmark = needs_llvm


def ran(folder: Path, source: bytes | str, **options: Any) -> str:
    """What the statistics say of what was compiled, after a call."""
    engine = Engine(Config(engine="native", tier="compiled", cache=str(folder), **options))
    store = Store(engine)
    if engine.config.consume_fuel:
        store.set_fuel(10_000)
    assert Instance(store, Module(engine, source), []).exports(store)["fib"](store, 10) == 55
    return backend(store).statistics()[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "new" / "cache"


def test_the_next_process_neither_compiles_nor_needs_llvmlite(folder: Path) -> None:
    source = wat2wasm(SMALL)
    assert not ran(folder, source).endswith("from the cache")
    assert ran(folder, source).endswith("from the cache")
    (file,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    path = folder.parent / "small.wasm"
    path.write_bytes(source)
    program = "from tinywasm.cli import main\nsys.exit(main(sys.argv[1:]))"
    words = "run", "--tier", "compiled", "--cache", str(folder), str(path), "--invoke", "fib", "10"
    assert python(program, *words) == "55\n"


def test_what_differs_is_kept_apart(folder: Path) -> None:
    source = wat2wasm(SMALL)
    other = wat2wasm(SMALL.replace("(i32.const 2)", "(i32.const 2) (drop (i32.const 1))"))
    for different in (
        partial(ran, folder, source),
        partial(ran, folder, source, consume_fuel=True),
        partial(ran, folder, other),
    ):
        assert not different().endswith("from the cache")
        assert different().endswith("from the cache")
    assert len(list(folder.iterdir())) == 3


def test_text_is_not_kept(folder: Path) -> None:
    """Its code has positions of its own."""
    for _ in range(2):
        assert not ran(folder, SMALL).endswith("from the cache")
    assert not folder.exists()


def test_damage_and_other_builds_are_made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = wat2wasm(SMALL)
    ran(folder, source)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    changed = (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in (0, 9, 20, len(whole) - 1))
    for damaged in (b"", b"x", whole[:10], whole[:-1], *changed):
        file.unlink()
        file.write_bytes(damaged)
        file.chmod(0o600)
        assert not ran(folder, source).endswith("from the cache")
        assert ran(folder, source).endswith("from the cache")
    monkeypatch.setattr("tinywasm.engine.native.ahead.maker", lambda: "another")
    assert not ran(folder, source).endswith("from the cache")


def test_a_folder_that_others_may_write_to_is_refused(folder: Path) -> None:
    source = wat2wasm(SMALL)
    ran(folder, source)
    for mode in (0o777, 0o720, 0o702):
        folder.chmod(mode)
        with pytest.raises(ValueError, match=r"others may write to .*: chmod go-w"):
            ran(folder, source)
    folder.chmod(0o755)
    assert ran(folder, source).endswith("from the cache")


def test_a_call_goes_on_where_others_may_write_to_the_folder_by_now(folder: Path) -> None:
    store = Store(Engine(Config(engine="native", tier="compiled", cache=str(folder))))
    instance = Instance(store, Module(store.engine, wat2wasm(SMALL)), [])
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    assert instance.exports(store)["fib"](store, 10) == 55
    assert not list(folder.iterdir())


def test_a_file_that_others_may_write_to_or_that_lies_elsewhere_is_not_taken(folder: Path) -> None:
    source = wat2wasm(SMALL)
    ran(folder, source)
    (file,) = folder.iterdir()
    file.chmod(0o622)
    assert not ran(folder, source).endswith("from the cache")
    elsewhere = file.rename(folder.parent / "elsewhere")
    file.symlink_to(elsewhere)
    assert not ran(folder, source).endswith("from the cache")
    assert not file.is_symlink()


def test_another_user_s_folder_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(ValueError, match="belongs to another user"):
        ran(folder, wat2wasm(SMALL))


def test_what_cannot_be_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"cache: .*file is not a folder that can be used"):
        ran(path, wat2wasm(SMALL))


def test_it_stays_within_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(tmp_path)
    first, second, third, fourth, large = (f"{digit * 64}.code" for digit in "4a15c")
    monkeypatch.setattr(kept_folder, "LARGEST", 100)
    tmp_path.chmod(0o700)
    for age, name in enumerate((first, second, third)):
        kept_folder.keep(folder, name, bytes(40))
        os.utime(tmp_path / name, (age, age))
    assert {path.name for path in tmp_path.iterdir()} == {second, third}
    used = kept_folder.find(folder, second)
    assert used is not None
    used.close()
    kept_folder.keep(folder, fourth, bytes(40))
    kept_folder.keep(folder, large, bytes(101))
    assert {path.name for path in tmp_path.iterdir()} == {second, fourth}


def test_what_else_lies_in_the_folder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_folder, "LARGEST", 100)
    tmp_path.chmod(0o700)
    others = {"thesis.tex", "main.code", "b" * 64, "g" * 64 + ".code", ".profile"}
    for name in others:
        (tmp_path / name).write_bytes(bytes(1000))
    ours = [f"{digit * 64}.python" for digit in "ab"]
    for name in ours:
        kept_folder.keep(str(tmp_path), name, bytes(60))
    assert {path.name for path in tmp_path.iterdir()} == {*others, ours[1]}


def test_a_folder_that_is_full_keeps_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    assert not ran(folder, wat2wasm(SMALL)).endswith("from the cache")
    assert not list(folder.iterdir())


def test_the_environment_names_the_folder(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.wasm"
    path.write_bytes(wat2wasm(SMALL))
    words = sys.executable, "-m", "tinywasm", "run", "--tier", "compiled", str(path), "--invoke", "fib", "10"
    environment = {**ENVIRONMENT, "TINYWASM_CACHE": str(folder)}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=60)
    assert (done.stdout, done.stderr) == ("55\n", "")
    assert len(list(folder.iterdir())) == 1
