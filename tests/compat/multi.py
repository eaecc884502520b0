"""Functions of several results, on both sides."""

from wasmtime import Func, FuncType, Instance, Module, Store, ValType

MULTI = """
(module
  (func $f (import "" "f") (param i32 i64) (result i64 i32))
  (func $g (export "g") (param i32 i64) (result i64 i32)
    (call $f (local.get 0) (local.get 1)))
  (func $round_trip_many (export "round_trip_many")
    (param i64 i64 i64 i64 i64) (result i64 i64 i64 i64 i64)
    (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)))
"""


def callback(a: int, b: int) -> list[int]:
    return [b + 1, a + 1]


store = Store()
module = Module(store.engine, MULTI)
callback_type = FuncType([ValType.i32(), ValType.i64()], [ValType.i64(), ValType.i32()])
callback_func = Func(store, callback_type, callback)
instance = Instance(store, module, [callback_func])
g = instance.exports(store)["g"]

print("calling g...")
results = g(store, 1, 3)
print(results, type(results).__name__)
print(instance.exports(store)["round_trip_many"](store, 0, 1, 2, 3, 4))
print(callback_func(store, -5, -6))

wrong = Func(store, callback_type, lambda a, b: (1, 2, 3))
try:
    Instance(store, module, [wrong]).exports(store)["g"](store, 1, 1)
except Exception:
    print("a wrong number of results is refused")
