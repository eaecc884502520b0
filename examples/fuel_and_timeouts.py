"""Three ways to end a program that does not end by itself.

Prints:

    with fuel: all fuel consumed after 1000000 instructions
    42 took 1 instructions
    with a deadline: interrupted, and so is the next call
    with an epoch: interrupted in 2 stores
    from another thread: interrupted
"""

import threading

import tinywasm
from tinywasm import Config, Engine, Interrupted, Module, OutOfFuel, Store

TEXT = """
(module
  (func (export "forever") (loop (br 0)))
  (func (export "answer") (result i32) (i32.const 42)))
"""


def instance_in(store: Store) -> tinywasm.Exports:
    return tinywasm.Instance(store, Module(store.engine, TEXT), []).exports


# Fuel counts instructions, so a program stops at the same place on every machine and every run.
store = Store(Engine(Config(consume_fuel=True)))
exports = instance_in(store)
store.set_fuel(1_000_000)
try:
    exports.forever()
except OutOfFuel as trap:
    print("with fuel:", trap.message, "after", 1_000_000 - store.get_fuel(), "instructions")
store.set_fuel(100)
print(exports.answer(), "took", 100 - store.get_fuel(), "instructions")

# A deadline counts seconds, of all calls from now on. It costs the running code next to nothing.
store = Store()
exports = instance_in(store)
store.set_deadline(0.05)
try:
    exports.forever()
except Interrupted as trap:
    try:
        exports.answer()
    except Interrupted:
        print(f"with a deadline: {trap.message}, and so is the next call")
store.set_deadline(None)
assert exports.answer() == 42

# An epoch is for servers: one clock ends the late calls of all stores of an engine.
engine = Engine(Config(epoch_interruption=True))
ended = []


def serve() -> None:
    store = Store(engine)
    store.set_epoch_deadline(2)
    try:
        instance_in(store).forever()
    except Interrupted:
        ended.append(store)


threads = [threading.Thread(target=serve) for _ in range(2)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    engine.increment_epoch()
    threads[0].join(0.05)
print("with an epoch: interrupted in", len(ended), "stores")

# And anybody may end a call by hand.
store = Store()
threading.Timer(0.05, store.interrupt).start()
try:
    instance_in(store).forever()
except Interrupted as trap:
    print("from another thread:", trap.message)
