"""A module that calls a Python function."""

from wasmtime import Func, FuncType, Instance, Module, Store, wat2wasm

store = Store()
wasm = wat2wasm("""
    (module
      (func $hello (import "" "hello"))
      (func (export "run") (call $hello)))
""")
print(bytes(wasm[:4]), len(wasm))
module = Module(store.engine, wasm)


def say_hello() -> None:
    print("Hello from Python!")


hello = Func(store, FuncType([], []), say_hello)
instance = Instance(store, module, [hello])
run = instance.exports(store)["run"]
print(run(store))
print([(item.module, item.name) for item in module.imports], [item.name for item in module.exports])
