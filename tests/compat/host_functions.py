"""Host functions that look at their caller, raise, and are called back."""

from wasmtime import Caller, Engine, Func, FuncType, Linker, Memory, Module, Store, Trap, ValType

TEXT = """
(module
  (import "host" "print" (func $print (param i32 i32)))
  (import "host" "add" (func $add (param f64 i32) (result f64)))
  (import "host" "fail" (func $fail (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 100) "greetings from a data segment")
  (func (export "greet") (call $print (i32.const 100) (i32.const 29)))
  (func (export "sum") (param f64) (result f64) (call $add (local.get 0) (i32.const -3)))
  (func (export "fail") (param i32) (call $fail (local.get 0))))
"""

engine = Engine()
store = Store(engine, {"name": "data of the store"})
linker = Linker(engine)
kept = []


def show(caller: Caller, address: int, length: int) -> None:
    memory = caller["memory"]
    print(isinstance(memory, Memory), caller.get("nothing"), caller.get("greet") is not None)
    print(bytes(memory.read(caller, address, address + length)).decode())
    memory.write(caller, b"G", address)
    try:
        caller["nothing"]
    except KeyError:
        print("no such export")
    kept.append(caller)


class Mine(Exception):
    pass


def fail(code: int) -> None:
    raise Trap("a trap of the host's") if code == 2 else Mine(f"code {code}")


linker.define_func("host", "print", FuncType([ValType.i32(), ValType.i32()], []), show, access_caller=True)
linker.define_func("host", "fail", FuncType([ValType.i32()], []), fail)
linker.define_func(
    "host", "add", FuncType([ValType.f64(), ValType.i32()], [ValType.f64()]), lambda a, b: a + float(b)
)
exports = linker.instantiate(store, Module(engine, TEXT)).exports(store)
exports["greet"](store)
exports["greet"](store)
print(exports["sum"](store, 10.5))
print(kept[0].get("memory"))
try:
    exports["memory"].size(kept[0])
except ValueError:
    print("the caller is gone")
try:
    exports["fail"](store, 1)
except Mine as error:
    print("Mine:", error)
try:
    exports["fail"](store, 2)
except Trap as trap:
    print("Trap:", trap.message, trap.trap_code)
print(store.data()["name"])

twice = Func(store, FuncType([ValType.i32()], [ValType.i32()]), lambda n: 2 * n)
print(twice(store, -21), [str(param) for param in twice.type(store).params])
