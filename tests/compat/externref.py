"""Python objects that pass through Wasm."""

from wasmtime import (
    Config,
    Engine,
    Func,
    FuncType,
    Global,
    GlobalType,
    Instance,
    Module,
    Store,
    Val,
    ValType,
)

EXTERNREF = """
(module
  (import "" "show" (func $show (param externref) (result externref)))
  (table (export "table") 10 externref)
  (global (export "global") (mut externref) (ref.null extern))
  (func (export "func") (param externref) (result externref) (local.get 0))
  (func (export "show") (param externref) (result externref) (call $show (local.get 0)))
  (func (export "is_null") (param externref) (result i32) (ref.is_null (local.get 0))))
"""


class Thing:
    def __init__(self, name: str) -> None:
        self.name = name


def show(value: object) -> object:
    print("host got", getattr(value, "name", value))
    return [value]


config = Config()
config.wasm_reference_types = True
engine = Engine(config)
store = Store(engine)
shown = Func(store, FuncType([ValType.externref()], [ValType.externref()]), show)
exports = Instance(store, Module(engine, EXTERNREF), [shown]).exports(store)

thing = Thing("a thing")
table = exports["table"]
table.set(store, 3, thing)
print(table.get(store, 3) is thing, table.size(store), table.get(store, 10))
glob = exports["global"]
glob.set_value(store, "hello")
print(glob.value(store))
print(exports["func"](store, "a string"), exports["func"](store, 5), exports["func"](store, [1, 2]))
print(exports["func"](store, thing) is thing, exports["func"](store, None))
print(exports["show"](store, thing)[0] is thing, exports["show"](store, 1.5))
print(exports["is_null"](store, None), exports["is_null"](store, 0))
print(exports["is_null"](store, Val.externref(None)), exports["is_null"](store, Val.externref("x")))
print(table.grow(store, 2, thing), table.get(store, 11).name)

value = Val.i32(7)
print(
    value.type,
    value.value,
    value.as_i32(),
    value.as_i64(),
    value == 7,
    value == Val.i32(7),
    value == Val.i64(7),
)
own = Global(store, GlobalType(ValType.f32(), False), 1.5)
print(own.value(store), own.type(store).content, own.type(store).mutable)
try:
    own.set_value(store, 2.5)
except Exception:
    print("immutable")
