"""The user's view of commands, files, kept programs and receipts, over real processes."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schannel.ed25519_sha3 import ED25519
from schannel.messages import ErrorCode
from tests.processes import CALCULATOR, Host, environment, host
from wasm_client import ArgumentError, AsyncSession, RequestFailed, connect, connect_async
from wasm_client.keys import generate_key, load_key

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="enclaves are Linux processes"),
]

# Copies standard input to standard output and then to the file "copy", 1,024 bytes at a time.
CAT = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 32) "copy")
  (func (export "_start") (local $file i32)
    (drop (call $open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 4) (i32.const 1)
      (i64.const 64) (i64.const 64) (i32.const 0) (i32.const 12)))
    (local.set $file (i32.load (i32.const 12)))
    (loop $more
      (i32.store (i32.const 0) (i32.const 64))
      (i32.store (i32.const 4) (i32.const 1024))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (if (i32.load (i32.const 8))
        (then
          (i32.store (i32.const 4) (i32.load (i32.const 8)))
          (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
          (drop (call $write (local.get $file) (i32.const 0) (i32.const 1) (i32.const 8)))
          (br $more))))
    (call $exit (i32.const 7))))"""
STRINGS = """(module
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 1024))
  (func (export "malloc") (param i32) (result i32)
    (global.get $free) (global.set $free (i32.add (global.get $free) (local.get 0))))
  (func (export "count") (param i32 i32) (result i32) (local $n i32)
    (loop $more
      (if (local.get 1)
        (then
          (if (i32.eq (i32.load8_u (local.get 0)) (i32.const 97))
            (then (local.set $n (i32.add (local.get $n) (i32.const 1)))))
          (local.set 0 (i32.add (local.get 0) (i32.const 1)))
          (local.set 1 (i32.sub (local.get 1) (i32.const 1)))
          (br $more))))
    local.get $n)
  (func (export "vector") (param v128 f64 i64) (result i64 f64 v128)
    local.get 2 local.get 1 local.get 0))"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(tmp_path_factory.mktemp("state")) as started:
        yield started


@pytest.fixture
def folder(running: Host, tmp_path: Path) -> Path:
    for name, text in (("cat.wat", CAT), ("strings.wat", STRINGS)):
        (tmp_path / name).write_text(text)
    return tmp_path


def client(
    running: Host, folder: Path, *options: str | Path, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    state = {**environment(running.state), "XDG_STATE_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "wasm_client", *map(str, options)],
        input=stdin,
        capture_output=True,
        timeout=120,
        env=state,
        cwd=folder,
    )


def session_options(running: Host) -> tuple[str, ...]:
    return ("-c", running.address, "--allow-simulation")


def test_run_a_command_with_files(running: Host, folder: Path) -> None:
    data = bytes(range(256)) * 1000
    (folder / "given").write_bytes(data[::-1])
    done = client(
        running, folder, *session_options(running), "-p", "cat.wat", "--put", "given", "--get", "copy",
        "--get", "given=back", "--run", "--", "-n", "--run", stdin=data,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (7, data), done.stderr
    assert (folder / "copy").read_bytes() == data
    assert (folder / "back").read_bytes() == data[::-1]


def test_standard_input_from_a_file_and_from_a_pipe(running: Host, folder: Path) -> None:
    data = bytes(range(253)) * 20_000
    (folder / "data").write_bytes(b"head" + data)
    options = (*session_options(running), "-p", "cat.wat", "--run")
    with (folder / "data").open("rb", buffering=0) as file:
        file.seek(4)
        done = subprocess.run(
            [sys.executable, "-m", "wasm_client", *options],
            stdin=file,
            capture_output=True,
            timeout=120,
            env=environment(running.state),
            cwd=folder,
        )
    assert (done.returncode, done.stdout) == (7, data), "from where the file stands"
    done = client(running, folder, *options, stdin=data)
    assert (done.returncode, done.stdout) == (7, data)
    assert client(running, folder, *options).stdout == b""


def test_large_files_go_in_pieces(running: Host, tmp_path: Path) -> None:
    data = bytes(range(251)) * 100_000
    seen: list[tuple[int, int]] = []
    with connect(running.address, running.policy) as session:
        size = session.put("a/large", data, progress=lambda done, total: seen.append((done, total)))
        assert size == len(data) and seen[-1] == (size, size) and len(seen) > 10
        assert session.get("a/large") == data
        with (tmp_path / "out").open("wb") as file:
            session.get("a/large", file)
        assert (tmp_path / "out").read_bytes() == data
        assert session.put("empty", b"") == 0 and session.get("empty") == b""
        with pytest.raises(RequestFailed) as refusal:
            session.get("nothing")
        assert refusal.value.code is ErrorCode.NOT_FOUND


def test_every_type_and_buffers_at_the_prompt(running: Host, folder: Path) -> None:
    lines = (
        b"vector 0x0102 -0x1.8p1 -1\nvector 1 nan 0x8000000000000000\ncount &banana\ncount &@text\n"
        b":write 0 text\n:read 0 5\n:exports\n:info\n:receipt out.receipt\n:nonsense\nq\n"
    )
    (folder / "text").write_bytes(b"aaa" * 100)
    done = client(running, folder, *session_options(running), "-p", "strings.wat", stdin=lines)
    out = done.stdout.decode().splitlines()
    assert out[4:8] == [
        "output> -1 -3.0 0x00000000000000000000000000000102",
        "output> -9223372036854775808 nan 0x00000000000000000000000000000001",
        "output> 3",
        "output> 300",
    ]
    assert out[8:10] == ["output> 4 bytes written", "output> 7465787400 text."]
    assert any(line.startswith("memory: memory i32 ") for line in out)
    assert "count: (func (param i32 i32) (result i32))" in out
    assert out[-1].startswith("error> unknown command :nonsense") and done.returncode == 1
    assert (folder / "out.receipt").exists()


def test_request_that_cannot_be_made_leaves_the_session(running: Host) -> None:
    with connect(running.address, running.policy) as session:
        session.deploy(CALCULATOR.read_bytes())
        for request in (
            lambda: session.read_memory(0, 1 << 32),
            lambda: session.call("add", 1, 1, fuel=-1),
            lambda: session.put("\udcff", b""),
            lambda: session.restore("x" * 70_000),
        ):
            with pytest.raises(ArgumentError, match="does not fit its layout"):
                request()
        assert session.call("add", 1, 1) == 2


def test_errors_of_a_program_name_its_file_and_say_that_it_trapped(running: Host, folder: Path) -> None:
    (folder / "wrong.wat").write_text("(module (func (result i32)))")
    (folder / "trap.wat").write_text('(module (func (export "_start") unreachable))')
    done = client(running, folder, *session_options(running), "-p", "a=cat.wat", "-p", "wrong.wat")
    assert done.stderr.decode().splitlines()[-1].startswith("wasm-client: wrong.wat: type mismatch")
    done = client(running, folder, *session_options(running), "-p", "trap.wat", "--run")
    assert done.stderr.decode().splitlines()[-1] == "wasm-client: trap: unreachable"
    assert done.returncode == 1


def test_a_command_that_traps_has_written_what_it_wrote(running: Host, folder: Path) -> None:
    (folder / "writes.wat").write_text("""(module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 0) "\\08\\00\\00\\00\\06\\00\\00\\00before")
      (func (export "_start")
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
        unreachable))""")
    options = (*session_options(running), "-p", "writes.wat", "--run")
    done = client(running, folder, *options)
    assert (done.stdout, done.returncode) == (b"before", 1)
    assert done.stderr.decode().splitlines()[-1] == "wasm-client: trap: unreachable"
    told = json.loads(client(running, folder, *options, "--json").stdout)
    assert (told["error"]["code"], told["stdout"], told["stderr"]) == ("trap", "before", "")
    with connect(running.address, running.policy) as session:
        session.deploy((folder / "writes.wat").read_bytes())
        with pytest.raises(RequestFailed) as caught:
            session.run()
        receipt = session.receipt()
    assert (caught.value.stdout, caught.value.stderr) == (b"before", b"")
    receipt.verify(running.policy)


def test_argument_of_another_type_leaves_the_session(running: Host) -> None:
    text: Any = "(module)"
    strided = memoryview(b"(.m.o.d.u.l.e.)")[::2]
    with connect(running.address, running.policy) as session:
        session.deploy(CALCULATOR.read_bytes())
        for request in (
            lambda: session.deploy(text),
            lambda: session.deploy(b"(module)", 5),  # type: ignore[arg-type]
            lambda: session.seal(text, "label"),
            lambda: session.run(stdin=text),
            lambda: session.write_memory(0, text),
            lambda: session.put("name", text),
            lambda: session.put("name", io.StringIO("text")),  # type: ignore[arg-type]
            lambda: session.get("name", text),
        ):
            with pytest.raises(ArgumentError, match=r"not (str|int)"):
                request()
        session.deploy(strided, "strided")
        session.put("numbers", memoryview(array("I", [1, 2])))
        assert session.get("numbers") == array("I", [1, 2]).tobytes()
        assert session.call("add", 1, 1) == 2


def test_json(running: Host, folder: Path) -> None:
    lines = b"count &aab\nvector\n:info\n"
    done = client(running, folder, *session_options(running), "-p", "strings.wat", "--json", stdin=lines)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers[0] == {"function": "count", "results": [{"type": "i32", "value": "2"}]}
    assert "takes 3 arguments" in answers[1]["error"]["message"]
    assert answers[2]["modules"] == ["main"]


def test_kept_programs(running: Host, folder: Path) -> None:
    options = session_options(running)
    refused = client(running, folder, *options, "-p", CALCULATOR, "--keep", stdin=b"q\n")
    assert b"make one with wasm-client keygen" in refused.stderr
    made = client(running, folder, "keygen")
    key = load_key(folder / "wasm-client" / "client.key")
    assert made.stdout.decode().strip() == key.public.hex()
    before = set(running.state.glob("sealed/*"))
    for program in (CALCULATOR, CALCULATOR):
        kept = client(running, folder, *options, "-p", program, "--keep", stdin=b"add 1 1\n")
        assert kept.stdout.splitlines()[-1] == b"output> 2", kept.stderr
    used = client(running, folder, *options, "-s", stdin=b"mul 6 7\n")
    assert used.stdout.splitlines()[-1] == b"output> 42", used.stderr
    (stored,) = set(running.state.glob("sealed/*")) - before
    good = stored.read_bytes()
    assert b"module" not in good and key.public not in good
    for changed in (good[:-1], good[:-1] + bytes([good[-1] ^ 1])):
        stored.write_bytes(changed)
        failed = client(running, folder, *options, "-s", stdin=b"q\n")
        assert b"altered or exchanged" in failed.stderr and failed.returncode == 1
    stored.write_bytes(good)
    client(running, folder, *options, "-p", CALCULATOR, "--keep", stdin=b"q\n")
    stored.write_bytes(good)
    failed = client(running, folder, *options, "-s", stdin=b"q\n")
    assert b"rolled back" in failed.stderr and failed.returncode == 1


def test_forgotten_programs(running: Host, folder: Path) -> None:
    options = session_options(running)
    keyless = client(running, folder, *options, "-p", CALCULATOR, stdin=b":forget main\n")
    assert b"make one with wasm-client keygen" in keyless.stdout
    keyless = client(running, folder, "forget", *options, "main")
    assert b"make one with wasm-client keygen" in keyless.stderr and keyless.returncode == 1
    client(running, folder, "keygen")
    programs = ("-p", f"one={CALCULATOR}", "-p", f"two={CALCULATOR}", "--keep")
    before = set(running.state.glob("sealed/*"))
    client(running, folder, *options, *programs, stdin=b"q\n")
    stored = {path: path.read_bytes() for path in set((running.state / "sealed").iterdir()) - before}
    assert len(stored) == 2
    asked = client(running, folder, *options, "-s", "one", stdin=b":forget one\n:forget nothing\n")
    assert asked.stdout.splitlines()[-2:] == [
        b"one is kept no more",
        b"error> no program is kept as 'nothing'",
    ]
    assert b"add (param i32 i32) (result i32)" in asked.stdout, "the only program is the one that is meant"
    done = client(running, folder, "forget", *options, "two")
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert not any(path.exists() for path in stored)
    gone = client(running, folder, *options, "-s")
    assert b"this enclave keeps no program for this client" in gone.stderr
    for path, content in stored.items():
        path.write_bytes(content)
    back = client(running, folder, *options, "-s", "one")
    assert b"rolled back" in back.stderr, "what the host puts back is not taken for what was forgotten"
    again = client(running, folder, *options, *programs, stdin=b"one/add 1 1\nq\n")
    assert b"output> 2" in again.stdout, again.stderr
    assert client(running, folder, *options, "-s", stdin=b"two/add 1 1\n").stdout.endswith(b"output> 2\n")


def test_quota_of_kept_programs(tmp_path: Path) -> None:
    key = generate_key(tmp_path / "key")
    program = CALCULATOR.read_bytes()
    with (
        host(tmp_path / "state", "--max-kept-per-client", "1") as running,
        connect(running.address, running.policy, key=key) as session,
    ):
        session.seal(program, "small")
        with pytest.raises(RequestFailed, match="keeps no more for this client: forget what is not"):
            session.seal(bytes(2 << 20), "large")
        session.forget("small")
        session.seal(program, "large")


def test_receipts_are_verified_and_replayed(running: Host, folder: Path) -> None:
    lines = b"add 1 2\n:receipt one\ndiv 1 0\n:receipt two\nadd 3 4\nadd 5 6\n:receipt four\n"
    client(running, folder, *session_options(running), "-p", CALCULATOR, stdin=lines)
    trust = ("--allow-simulation",)
    checked = client(running, folder, "verify-receipt", "two", "one", "--json", *trust)
    answers = [json.loads(line) for line in checked.stdout.splitlines()]
    assert [answer["call"] for answer in answers] == [1, 2], checked.stderr
    assert answers[0]["results"] == ["3"] and answers[1]["error"] == "integer divide by zero"
    program = ("--replay", "-p", CALCULATOR)
    replayed = client(running, folder, "verify-receipt", "one", "two", *trust, *program)
    assert replayed.returncode == 0, replayed.stderr
    gap = client(running, folder, "verify-receipt", "one", "two", "four", *trust)
    assert b"no receipts of the calls 3" in gap.stderr
    gap = client(running, folder, "verify-receipt", "one", "two", "four", *trust, *program)
    assert b"had done before what is not here" in gap.stderr and gap.returncode == 1
    other = client(running, folder, "verify-receipt", "one", *trust, "--replay", "-p", "strings.wat")
    assert other.returncode == 1
    with (folder / "huge").open("wb") as file:
        file.truncate(10 << 30)
    huge = client(running, folder, "verify-receipt", "one", *trust, "--replay", "-p", "huge")
    assert huge.stderr == b"wasm-client: cannot read huge: larger than 1,073,741,824 bytes\n"
    top = json.loads((folder / "one").read_text())
    for field, item in (
        ("request", [2, "00" * 20]),
        ("reply", top["request"]),
        ("receipt", top["receipt"][:-2] + f"{int(top['receipt'][-2:], 16) ^ 1:02x}"),
    ):
        (folder / "changed").write_text(json.dumps({**top, field: item}))
        assert client(running, folder, "verify-receipt", "changed", *trust).returncode == 1
    (folder / "strict.toml").write_text("")
    refused = client(running, folder, "verify-receipt", "one", "--policy", "strict.toml")
    assert b"policy rule: devices" in refused.stderr


def test_evidence_is_shown_saved_and_verified(running: Host, folder: Path) -> None:
    shown = client(running, folder, "attest", *session_options(running), "--json", "--save", "evidence")
    fields = json.loads(shown.stdout)
    assert fields["device_kind"] == "simulated"
    assert client(running, folder, "measure").stdout.decode().count(fields["enclave"]) == 1
    again = client(running, folder, "verify", "evidence", "--allow-simulation", "--json")
    assert json.loads(again.stdout) == fields
    text = (folder / "evidence").read_text()
    (folder / "evidence").write_text(text.replace('"data": "', '"data": "ff', 1))
    assert client(running, folder, "verify", "evidence", "--allow-simulation").returncode == 1


def test_rights_are_enforced_and_measured(tmp_path: Path) -> None:
    deployer, caller = (generate_key(tmp_path / name) for name in ("deployer", "caller"))
    settings = tmp_path / "enclave.toml"
    settings.write_text(f'deployers = ["{deployer.public.hex()}"]\ncallers = ["{caller.public.hex()}"]\n')
    program = CALCULATOR.read_bytes()
    with host(tmp_path / "state", "--configuration", str(settings)) as running:
        with connect(running.address, running.policy, key=deployer) as session:
            configured = session.verified.configuration_digest
            assert session.seal(program, "main").counter == 1
        with connect(running.address, running.policy, key=caller) as session:
            with pytest.raises(RequestFailed, match="may not deploy"):
                session.deploy(program)
            session.restore("main", owner=deployer.public)
            assert session.call("add", 1, 2) == 3
        for stranger in (None, ED25519.key_from_seed(b"\x07" * 32)):
            with connect(running.address, running.policy, key=stranger) as session:
                with pytest.raises(RequestFailed, match="may not deploy"):
                    session.deploy(program)
                with pytest.raises(RequestFailed, match="may not use"):
                    session.restore("main", owner=deployer.public)
    with host(tmp_path / "state") as running, connect(running.address, running.policy) as session:
        assert session.verified.configuration_digest != configured


async def _stream_files(session: AsyncSession, folder: Path) -> None:
    data = bytes(range(251)) * 50_000
    (folder / "given").write_bytes(data)
    seen: list[tuple[int, int]] = []
    size = await session.put("a", folder / "given", progress=lambda *done: seen.append(done))
    assert size == len(data) and seen[-1] == (size, size) and len(seen) > 5
    with (folder / "given").open("rb") as file:
        file.seek(len(data) - 5)
        assert await session.put("tail", file) == 5
    assert await session.get("a", folder / "back") == b""
    assert (folder / "back").read_bytes() == data
    with (folder / "open").open("wb") as file:
        await session.get("tail", file)
    assert (folder / "open").read_bytes() == data[-5:]
    with pytest.raises(FileNotFoundError):
        await session.put("b", folder / "nowhere")


def test_asynchronous_session(running: Host, tmp_path: Path) -> None:
    async def main() -> None:
        async with await connect_async(running.address, running.policy) as session:
            await session.deploy(CALCULATOR.read_bytes())
            results = await asyncio.gather(*(session.call("add", n, n) for n in range(20)))
            assert results == [2 * n for n in range(20)]
            assert [function.name for function in await session.functions()] == ["add", "sub", "mul", "div"]
            assert await session.put("file", b"content") == 7
            assert await session.get("file") == b"content"
            await _stream_files(session, tmp_path)
            receipt = await session.receipt()
            assert receipt.verify(running.policy)[0].function == "add"
            await session.deploy(STRINGS.encode(), "strings")
            with pytest.raises(RequestFailed, match="for clients that have a key"):
                await session.forget("main")
            address = await session.buffer("banana", "strings")
            assert await session.call("count", address, 6, module="strings") == 3

    asyncio.run(asyncio.wait_for(main(), 60))
