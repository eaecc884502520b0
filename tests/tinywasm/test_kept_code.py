"""Native code in serialized modules: taken where it fits, made anew where it does not, believed never.

It is the interpreter's: the tier "compiled" makes machine code of the body.
"""

from __future__ import annotations

import struct
from functools import partial
from importlib.util import source_hash
from types import SimpleNamespace
from typing import Any

import pytest

from tinywasm import (
    Config,
    Engine,
    Func,
    FuncType,
    Instance,
    Module,
    StackExhausted,
    Store,
    Trap,
    ValType,
    WasmError,
)
from tinywasm.engine import native_available
from tinywasm.raw import Profile

pytestmark = pytest.mark.skipif(not native_available, reason="the native engine is not built")

TEXT = """
    (module
      (import "h" "twice" (func $twice (param i32) (result i32)))
      (memory 1)
      (data (i32.const 8) "\\2a")
      (tag $tag (param i32))
      (func (export "sum") (param i32) (result i32) (local i32)
        (loop $again
          (local.set 1 (i32.add (local.get 1) (local.get 0)))
          (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 1))
      (func (export "read") (param i32) (result i32) (i32.load8_u (local.get 0)))
      (func (export "caught") (param i32) (result i32)
        (block $here (result i32)
          (try_table (catch $tag $here) (throw $tag (call $twice (local.get 0))))
          (unreachable)))
      (func (export "vector") (result i64)
        (i64x2.extract_lane 1
          (i8x16.shuffle 0 1 2 3 4 5 6 7 24 25 26 27 28 29 30 31
            (v128.const i64x2 1 2) (v128.const i64x2 3 4))))
      (func (export "reference") (param externref) (result externref) (local.get 0)))"""


def loaded(artifact: bytes, config: Config | None = None) -> tuple[Store, Any]:
    engine = Engine(config or Config(engine="native", tier="interpreter"))
    store = Store(engine)
    if config is not None and config.consume_fuel:
        store.set_fuel(1000)
    return store, instantiated(store, Module.deserialize(engine, artifact))


def instantiated(store: Store, module: Module) -> Any:
    """The exports of an instance, as callables."""
    twice = Func(store, FuncType([ValType.i32()], [ValType.i32()]), lambda number: 2 * number)
    exports = Instance(store, module, [twice]).exports(store)
    return SimpleNamespace(**{name: partial(exports[name], store) for name in exports})


def serialized() -> bytes:
    return Module(Engine(Config(engine="native", tier="interpreter")), TEXT).serialize()


class Lowered:
    """Counts the functions that are made anew."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from tinywasm.engine.native import backend

        self.indices: list[int] = []
        lower = backend.lower

        def counted(context: Any, index: int, *args: Any, **kwargs: Any) -> Any:
            self.indices.append(index)
            return lower(context, index, *args, **kwargs)

        monkeypatch.setattr(backend, "lower", counted)


@pytest.fixture
def lowered(monkeypatch: pytest.MonkeyPatch) -> Lowered:
    return Lowered(monkeypatch)


def test_kept_code_is_taken(lowered: Lowered) -> None:
    _, exports = loaded(serialized())
    assert exports.sum(4) == 10
    assert exports.read(8) == 42
    assert exports.caught(21) == 42
    assert exports.vector() == 4
    assert not lowered.indices


def test_code_that_takes_slots_for_references_is_made_anew(lowered: Lowered) -> None:
    _, exports = loaded(serialized())
    assert exports.reference("me") == "me"
    assert lowered.indices == [5]


def test_code_that_cleans_up_after_an_exception_is_taken(lowered: Lowered) -> None:
    text = """
        (module
          (tag $tag (param i32))
          (func $throws (param i32) (throw $tag (local.get 0)))
          (func $cleans (param i32) (local exnref)
            (block $here (result exnref)
              (try_table (catch_all_ref $here) (call $throws (local.get 0)))
              (return))
            (local.set 1)
            (global.set 0 (i32.const 1))
            (throw_ref (local.get 1)))
          (global (export "cleaned") (mut i32) (i32.const 0))
          (func (export "caught") (param i32) (result i32)
            (block $here (result i32)
              (try_table (catch $tag $here) (call $cleans (local.get 0)))
              (unreachable))))"""
    engine = Engine(Config(engine="native", tier="interpreter"))
    store = Store(engine)
    module = Module.deserialize(engine, Module(engine, text).serialize())
    exports = Instance(store, module, []).exports(store)
    assert exports["caught"](store, 42) == 42
    assert exports["cleaned"].value(store) == 1
    assert not lowered.indices


@pytest.mark.parametrize(("clauses", "made_anew"), [(10, []), (3_000, [1])], ids=["few", "many"])
def test_code_in_which_too_much_may_be_caught_is_made_anew(
    clauses: int, made_anew: list[int], lowered: Lowered
) -> None:
    """Any of the calls may throw to any of the clauses: following all that is for a bounded time only."""
    text = f"""
        (module
          (tag $tag)
          (func $nothing)
          (func (export "run")
            (block $here
              (try_table {"(catch $tag $here) " * clauses} {"(call $nothing) " * 3_000}))))"""
    engine = Engine(Config(engine="native", tier="interpreter"))
    store = Store(engine)
    module = Module.deserialize(engine, Module(engine, text).serialize())
    Instance(store, module, []).exports(store)["run"](store)
    assert lowered.indices == made_anew


def test_code_with_fuel_is_made_anew(lowered: Lowered) -> None:
    store, exports = loaded(serialized(), Config(engine="native", tier="interpreter", consume_fuel=True))
    assert exports.sum(4) == 10
    assert lowered.indices == [1]
    assert store.get_fuel() < 1000


def test_profiled_code_is_made_anew(lowered: Lowered) -> None:
    engine = Engine(Config(engine="native", tier="interpreter"))
    store = Store(engine)
    store.profile = Profile()
    module = Module.deserialize(engine, serialized())
    assert instantiated(store, module).sum(4) == 10
    assert lowered.indices == [1]


def test_traps_of_kept_code_name_the_same_places() -> None:
    frames = []
    for artifact in (serialized(), edited(maker="another")):
        with pytest.raises(Trap) as caught:
            loaded(artifact)[1].read(-1)
        frames.append(caught.value.frames)
    assert frames[0] == frames[1]


def test_a_module_that_was_deserialized_can_be_serialized(lowered: Lowered) -> None:
    engine = Engine(Config(engine="native", tier="interpreter"))
    again = Module.deserialize(engine, serialized()).serialize()
    assert again == serialized()


def test_the_python_engine_neither_keeps_code_nor_minds_it() -> None:
    python = Config(engine="python")
    assert loaded(serialized(), python)[1].sum(4) == 10
    artifact = Module(Engine(python), TEXT).serialize()
    assert len(artifact) < len(serialized()) // 2
    assert loaded(artifact)[1].sum(4) == 10


# Forged files


def rejoined(artifact: bytes, code: dict[int, bytes]) -> bytes:
    """A serialized module with changes in its code, and the digest that belongs to it."""
    lines = artifact.split(b"\n", 5)
    body = bytearray(lines[5])
    for place, content in code.items():
        body[place : place + len(content)] = content
    whole = lines[4] + b"\n" + body
    return b"\n".join([*lines[:3], source_hash(whole).hex().encode(), whole])


def edited(
    *, engine: str = "", maker: str = "", size: str = "", code: dict[int, bytes] | None = None
) -> bytes:
    """The serialized module with changes, and the digest that belongs to it."""
    lines = serialized().split(b"\n", 5)
    old_engine, old_maker, old_size = lines[4].decode().split()
    about = f"{engine or old_engine} {maker or old_maker} {size or old_size}"
    return rejoined(b"\n".join([*lines[:4], about.encode(), lines[5]]), code or {})


def test_code_of_another_maker_or_engine_is_made_anew(lowered: Lowered) -> None:
    for artifact in (edited(maker="another"), edited(engine="another")):
        assert loaded(artifact)[1].sum(4) == 10
    assert lowered.indices == [1, 1]


@pytest.mark.parametrize("size", ["-1", "x", "999999999", "1 1"])
def test_a_forged_length_is_refused(size: str) -> None:
    with pytest.raises(WasmError, match="not a serialized module"):
        loaded(edited(size=size))


@pytest.mark.parametrize("size", ["0", "7", "8", "100"])
def test_a_length_that_cuts_the_code_off_is_refused_as_another_module(size: str) -> None:
    with pytest.raises(WasmError):
        loaded(edited(size=size))


@pytest.mark.parametrize("offset", [1 << 64, 1 << 63, 1 << 40, 1000, 8])
def test_a_forged_place_of_code_is_not_believed(offset: int, lowered: Lowered) -> None:
    _, exports = loaded(edited(code={0: struct.pack("<Q", offset - 1)}))
    assert exports.sum(4) == 10
    assert lowered.indices == [1]


@pytest.mark.parametrize("places", [(0, 0, 0, 0), (1, 0, 2, 3), (0, 1, 0, 2)])
def test_no_two_functions_are_given_the_same_code(places: tuple[int, ...], lowered: Lowered) -> None:
    offsets = struct.unpack_from("<4Q", serialized().split(b"\n", 5)[5])
    forged = struct.pack("<4Q", *(offsets[place] for place in places))
    _, exports = loaded(edited(code={0: forged}))
    assert (exports.sum(4), exports.read(8), exports.caught(21), exports.vector()) == (10, 42, 42, 4)
    assert lowered.indices == [1, 2, 3, 4]


def test_code_that_reaches_into_the_next_is_made_anew(lowered: Lowered) -> None:
    first, second = struct.unpack_from("<2Q", serialized().split(b"\n", 5)[5])
    _, exports = loaded(edited(code={8: struct.pack("<Q", second - 1)}))
    assert exports.sum(4) == 10
    assert lowered.indices == [1]
    _, exports = loaded(edited(code={8: struct.pack("<Q", first + 1)}))
    assert exports.sum(4) == 10
    assert lowered.indices == [1, 1]


# But for the frame's, which may be larger than it has to: the stack holds it, or does not.
@pytest.mark.parametrize("field", [0, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("number", [0xFFFF_FFFF, 0x7FFF_FFFF, 1 << 20])
def test_forged_sizes_are_not_believed(field: int, number: int, lowered: Lowered) -> None:
    """The head of the first function's code stands behind the places of five."""
    _, exports = loaded(edited(code={5 * 8 + 4 * field: struct.pack("<I", number)}))
    assert exports.sum(4) == 10
    assert lowered.indices == [1]


def test_a_frame_that_no_stack_holds_is_no_more_than_that() -> None:
    _, exports = loaded(edited(code={5 * 8 + 4: struct.pack("<I", 0xFFFF_FFFF)}))
    with pytest.raises(StackExhausted):
        exports.sum(4)


def test_forged_words_are_verified(lowered: Lowered) -> None:
    head = 5 * 8 + 8 * 4
    _, exports = loaded(edited(code={head: struct.pack("<HHHHQ", 0xFFFF, 0, 0, 0, 0)}))
    assert exports.sum(4) == 10
    assert lowered.indices == [1]


def test_other_words_give_other_values_at_most(lowered: Lowered) -> None:
    from tinywasm.engine.native.opcodes import OPCODES

    head = 5 * 8 + 8 * 4
    _, exports = loaded(edited(code={head: struct.pack("<HHHHQ", OPCODES["return1"], 0, 0, 0, 0)}))
    assert exports.sum(4) == 4
    assert not lowered.indices


def test_what_lies_on_the_stack_is_not_shown(lowered: Lowered) -> None:
    from tinywasm.engine.native.opcodes import OPCODES

    head = 5 * 8 + 8 * 4
    _, exports = loaded(edited(code={head: struct.pack("<HHHHQ", OPCODES["return1"], 9, 0, 0, 0)}))
    assert exports.sum(4) == 10
    assert lowered.indices == [1]


def test_a_tail_call_gives_no_results_that_its_callee_has_not_written(lowered: Lowered) -> None:
    """They would be what a call of another instance left on the stack."""
    engine = Engine(Config(engine="native", tier="interpreter"))
    count = 12
    forged = Module(
        engine,
        f"""(module (func $nothing)
          (func $results (result {"i64 " * count}) {"(i64.const 1) " * count})
          (func (export "f") (result {"i64 " * count}) (return_call $results)))""",
    ).serialize()
    (third,) = struct.unpack_from("<Q", forged.split(b"\n", 5)[5], 16)
    module = Module.deserialize(engine, rejoined(forged, {third + 8 * 4 + 8: struct.pack("<Q", 0)}))
    victim = Module(
        engine,
        """(module (memory 1) (data (i32.const 0) "SECRETPW")
          (func (export "f") (local i64 i64 i64 i64 i64 i64) (local.set 4 (i64.load (i32.const 0)))))""",
    )
    store = Store(engine)
    first, second = (Instance(store, each, []).exports(store)["f"] for each in (victim, module))
    first(store)
    lowered.indices.clear()
    assert second(store) == [1] * count
    assert lowered.indices == [2]
