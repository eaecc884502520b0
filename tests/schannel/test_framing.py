"""Framing: any split, lying lengths, and what the package must not import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schannel
from schannel.errors import FramingError, LocalError, ProtocolError, RemoteError, Truncated
from schannel.framing import MAX_RECORD, Refusal, Refused, StreamParser, encode_record, encode_refusal

SOURCES = sorted(Path(schannel.__path__[0]).glob("*.py"))


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.lists(st.integers(1, 50)))
def test_any_split_gives_the_same_records(records: list[bytes], sizes: list[int]) -> None:
    stream = b"prologue" + b"".join(map(encode_record, records))
    parser, taken, seen = StreamParser(), None, []
    while stream:
        size = sizes.pop() if sizes else len(stream)
        parser.receive_data(stream[:size])
        stream = stream[size:]
        taken = taken or parser.take(8)
        while taken and (record := parser.next_record()) is not None:
            seen.append(record)
    parser.receive_eof()
    assert taken == b"prologue"
    assert seen == records


def test_lengths() -> None:
    parser = StreamParser()
    parser.receive_data(b"\xff\xff" + bytes(MAX_RECORD - 1))
    assert parser.next_record() is None
    parser.receive_data(b"\x01")
    record = parser.next_record()
    assert record is not None
    assert len(record) == MAX_RECORD
    parser.receive_data(b"\0\0")
    with pytest.raises(FramingError):
        parser.next_record()
    for body in (b"", bytes(MAX_RECORD + 1)):
        with pytest.raises(LocalError):
            encode_record(body)


@pytest.mark.parametrize("refusal", Refusal)
def test_refusal(refusal: Refusal) -> None:
    parser = StreamParser(refusable=True)
    sent = encode_refusal(refusal)
    parser.receive_data(sent[:-1])
    assert parser.next_record() is None, "the reason is still on its way"
    parser.receive_data(sent[-1:])
    with pytest.raises(Refused) as caught:
        parser.next_record()
    assert caught.value.refusal is refusal
    assert str(caught.value) == f"the host {refusal.shown}"


def test_end_inside_a_record() -> None:
    parser = StreamParser()
    parser.receive_data(b"\0\x05ab")
    assert parser.next_record() is None
    with pytest.raises(Truncated):
        parser.receive_eof()


def test_the_base_error_is_abstract() -> None:
    with pytest.raises(TypeError):
        ProtocolError("x")
    assert issubclass(RemoteError, ProtocolError)


def test_a_relay_loads_no_cryptography() -> None:
    program = (
        "import sys, schannel, schannel.framing, schannel.errors\n"
        "loaded = {m.split('.')[0] for m in sys.modules}\n"
        "bad = loaded & {'Crypto', 'cryptography', 'hashlib', 'hmac', 'socket'}\n"
        "sys.exit(', '.join(sorted(bad)) or 0)"
    )
    path = str(Path(schannel.__path__[0]).parent)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("library", "owner"),
    [
        ("construct", "structs.py"),
        ("Crypto", "provider_pycryptodome.py"),
        ("cryptography", "provider_cryptography.py"),
        ("socket", "transport.py"),
        ("hmac", "primitives.py"),
    ],
)
def test_each_library_has_one_door(library: str, owner: str) -> None:
    users = {source.name for source in SOURCES if library in _imports(source)}
    assert users == {owner}


def _imports(source: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names
