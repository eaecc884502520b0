"""Start functions that call the host: one of WASI's, one that looks at its caller, and an imported one."""

from wasmtime import Caller, Engine, Func, FuncType, Instance, Linker, Module, Store, WasiConfig

engine = Engine()
store = Store(engine)
store.set_wasi(WasiConfig())


def look(caller: Caller) -> None:
    found = caller.get("g")
    print(None if found is None else found.value(caller))


host = Func(store, FuncType([], []), look, access_caller=True)
GLOBAL = '(global (export "g") i32 (i32.const %d))'
imported = Module(
    engine, f'(module (import "" "f" (func $f)) {GLOBAL % 1} (export "h" (func $f)) (start $f))'
)
instance = Instance(store, imported, [host])
print("its export, called from Python:")
instance.exports(store)["h"](store)
print("its export as another's start function:")
Instance(
    store,
    Module(engine, f'(module (import "" "f" (func $f)) {GLOBAL % 2} (start $f))'),
    [instance.exports(store)["h"]],
)
print("own code:")
Instance(
    store,
    Module(engine, f'(module (import "" "f" (func $f)) {GLOBAL % 3} (func $s (call $f)) (start $s))'),
    [host],
)

linker = Linker(engine)
linker.define_wasi()
program = Module(
    engine,
    """(module
      (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "unheard_of" (func $unheard_of (param i32)))
      (import "env" "missing" (func $missing))
      (memory (export "memory") 1)
      (data (i32.const 8) "\\10\\00\\00\\00\\06\\00\\00\\00started\\n")
      (global $written (export "written") (mut i32) (i32.const 0))
      (func $start
        (drop (call $random (i32.const 64) (i32.const 8)))
        (global.set $written (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0))))
      (func (export "unheard_of") (call $unheard_of (i32.const 0)))
      (func (export "missing") (call $missing))
      (start $start))""",
)
linker.define_unknown_imports_as_traps(program)
exports = linker.instantiate(store, program).exports(store)
print(
    exports["written"].value(store),
    exports["memory"].read(store, 0, 4),
    exports["memory"].read(store, 64, 72) != bytes(8),
)
for name in ("unheard_of", "missing"):
    try:
        exports[name](store)
    except Exception:
        print(name, "is a trap")
