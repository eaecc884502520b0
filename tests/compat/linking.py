"""Two modules and a host function linked by name."""

from wasmtime import (
    Engine,
    Func,
    FuncType,
    Global,
    GlobalType,
    Limits,
    Linker,
    Module,
    Store,
    Table,
    TableType,
    ValType,
    WasmtimeError,
)

FIRST = """
(module
  (import "second" "double" (func $double (param i32) (result i32)))
  (import "second" "memory" (memory 1))
  (import "env" "log" (func $log (param i32)))
  (import "env" "base" (global $base (mut i32)))
  (func (export "run") (result i32)
    (call $log (i32.load (i32.const 16)))
    (global.set $base (i32.add (global.get $base) (i32.const 1)))
    (call $double (global.get $base))))
"""
SECOND = """
(module
  (memory (export "memory") 1)
  (data (i32.const 16) "\\2a\\00\\00\\00")
  (func (export "double") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2))))
"""

engine = Engine()
linker = Linker(engine)
store = Store(engine)
first, second = Module(engine, FIRST), Module(engine, SECOND)

base = Global(store, GlobalType(ValType.i32(), True), 20)
linker.define(store, "env", "base", base)
linker.define_func("env", "log", FuncType([ValType.i32()], []), lambda value: print("log:", value))
linker.define_instance(store, "second", linker.instantiate(store, second))
instance = linker.instantiate(store, first)
run = instance.exports(store)["run"]
print(run(store), run(store), base.value(store))
base.set_value(store, -8)
print(run(store), base.type(store).mutable, base.type(store).content)

try:
    linker.define(store, "env", "base", base)
except WasmtimeError:
    print("defined twice")
linker.allow_shadowing = True
linker.define_func("env", "log", FuncType([ValType.i32()], []), lambda value: print("other log:", value))
linker.instantiate(store, first).exports(store)["run"](store)

try:
    Linker(engine).instantiate(store, first)
except WasmtimeError:
    print("not defined")
try:
    linker.get(store, "env", "nothing")
except WasmtimeError:
    print("nothing there")
double = linker.get(store, "second", "double")
print(type(double) is Func, double(store, 21))

linker.define_module(store, "module", second)
print(linker.get(store, "module", "double")(store, 4), linker.get_default(store, "module")(store))

table = Table(store, TableType(ValType.funcref(), Limits(2, 4)), None)
print(table.size(store), table.grow(store, 1, double), table.get(store, 2)(store, 8), table.size(store))
table.set(store, 0, double)
print(table.get(store, 0)(store, 1), table.get(store, 9), table.type(store).limits.max)
for action in (lambda: table.grow(store, 5, None), lambda: table.set(store, 9, None)):
    try:
        action()
    except WasmtimeError:
        print("refused")
