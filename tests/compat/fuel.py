"""A budget of instructions."""

from wasmtime import Config, Engine, Instance, Module, Store, Trap, TrapCode, WasmtimeError

FIB = """
(module
  (func $fib (export "fib") (param $n i32) (result i32)
    (if (result i32) (i32.lt_u (local.get $n) (i32.const 2))
      (then (local.get $n))
      (else
        (i32.add
          (call $fib (i32.sub (local.get $n) (i32.const 1)))
          (call $fib (i32.sub (local.get $n) (i32.const 2))))))))
"""

config = Config()
config.consume_fuel = True
engine = Engine(config)
store = Store(engine)
print("at first", store.get_fuel())
fib = Instance(store, Module(engine, FIB), []).exports(store)["fib"]
try:
    fib(store, 1)
except Trap as trap:
    print("without fuel:", trap.trap_code is TrapCode.OUT_OF_FUEL)

store.set_fuel(10_000)
print(store.get_fuel())
n = 1
while True:
    try:
        before = store.get_fuel()
        result = fib(store, n)
    except Trap as trap:
        print("ran out of fuel:", trap.trap_code.name, n > 10)
        break
    consumed = before - store.get_fuel()
    print(f"fib({n}) = {result}", "took fuel" if consumed > 0 else "took none")
    store.set_fuel(10_000)
    n += 1

try:
    Store().set_fuel(1)
except WasmtimeError:
    print("fuel is not configured")
try:
    Store().get_fuel()
except WasmtimeError:
    print("fuel is not configured")
