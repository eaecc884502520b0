"""Running programs that nobody has looked at: a judge for submissions, with every limit in place.

The programs are WASI commands. They see their input and nothing else: no file, no network, no clock but
what WASI gives, no more memory, time or output than allowed.

Prints:

    doubles its input: 8 bytes of output: b'1212\\n\\n\\x00\\x00'
    runs forever: out of fuel
    eats memory: trap: out of bounds memory access in $main at offset 0xd
    exits with an error: exit status 3
    is no module: rejected: DecodeError: unexpected end of section or function
    is not valid: rejected: ValidationError: unknown local 0
    wants the network: rejected: LinkError: unknown import: `env::connect` has not been defined
"""

from tinywasm import (
    Config,
    Engine,
    ExitTrap,
    Interrupted,
    Linker,
    Module,
    OutOfFuel,
    Store,
    Trap,
    WasiConfig,
    WasmError,
)

MEMORY, INSTRUCTIONS, SECONDS, OUTPUT = 4 << 20, 500_000, 10.0, 1 << 16

_WASI = """
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)"""
SUBMISSIONS: dict[str, str | bytes] = {
    "doubles its input": f"""
(module {_WASI}
  (data (i32.const 0) "\\40\\00\\00\\00\\04\\00\\00\\00\\40\\00\\00\\00\\04\\00\\00\\00")
  (func (export "_start")
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 32)))
    (i32.store16 (i32.const 66) (i32.load16_u (i32.const 64)))
    (i32.store8 (i32.const 68) (i32.const 10)) (i32.store8 (i32.const 69) (i32.const 10))
    (i32.store (i32.const 4) (i32.const 8))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))))""",
    "runs forever": f'(module {_WASI} (func (export "_start") (loop (br 0))))',
    "eats memory": f"""
(module {_WASI}
  (func $main (export "_start")
    (drop (memory.grow (i32.const 1000)))
    (i32.store (i32.const 0x1000000) (i32.const 1))))""",
    "exits with an error": f'(module {_WASI} (func (export "_start") (call $exit (i32.const 3))))',
    "is no module": b"\0asm\1\0",
    "is not valid": f'(module {_WASI} (func (export "_start") (drop (local.get 0))))',
    "wants the network": '(module (import "env" "connect" (func)) (func (export "_start")))',
}

engine = Engine(Config(consume_fuel=True, max_call_depth=1000))


def judge(source: str | bytes, stdin: bytes) -> str:
    """One line about what became of a program."""
    try:
        module = Module(engine, source)
    except WasmError as error:
        return f"rejected: {type(error).__name__}: {error.message}"
    store = Store(engine)
    store.set_limits(memory_size=MEMORY, table_elements=10_000, instances=1, memories=1, tables=4)
    store.set_fuel(INSTRUCTIONS)
    wasi = WasiConfig()
    wasi.stdin_bytes = stdin
    output = wasi.capture_stdout(OUTPUT)
    store.set_wasi(wasi)
    linker = Linker(engine)
    linker.define_wasi()
    store.set_deadline(SECONDS)
    try:
        linker.instantiate(store, module).exports["_start"]()
    except ExitTrap as exit:
        if exit.code:
            return f"exit status {exit.code}"
    except OutOfFuel:
        return "out of fuel"
    except Interrupted:
        return "out of time"
    except Trap as trap:
        where = f" in ${trap.frames[0].func_name} at offset {trap.frames[0].func_offset:#x}"
        return f"trap: {trap.message}{where if trap.frames else ''}"
    except WasmError as error:
        return f"rejected: {type(error).__name__}: {error.message}"
    finally:
        store.set_deadline(None)
    return f"{len(output)} bytes of output: {bytes(output)!r}"


for name, source in SUBMISSIONS.items():
    print(f"{name}: {judge(source, b'12')}")
