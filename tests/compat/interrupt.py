"""An endless loop ended from another thread."""

import threading
import time

from wasmtime import Config, Engine, Instance, Module, Store, Trap, TrapCode

config = Config()
config.epoch_interruption = True
engine = Engine(config)
store = Store(engine)
module = Module(engine, '(module (func (export "run") (loop (br 0))) (func (export "quick")))')
store.set_epoch_deadline(1)
exports = Instance(store, module, []).exports(store)
run, quick = exports["run"], exports["quick"]
quick(store)


def later() -> None:
    time.sleep(0.2)
    engine.increment_epoch()


thread = threading.Thread(target=later)
thread.start()
try:
    run(store)
except Trap as trap:
    print("trapped:", trap.trap_code == TrapCode.INTERRUPT, trap.trap_code.name)
thread.join()

try:
    quick(store)
except Trap as trap:
    print("the deadline is over:", trap.trap_code.name)
store.set_epoch_deadline(2)
quick(store)
engine.increment_epoch()
quick(store)
engine.increment_epoch()
try:
    quick(store)
except Trap as trap:
    print("two epochs later:", trap.trap_code.name)
try:
    fresh = Store(engine)
    Instance(fresh, module, []).exports(fresh)["quick"](fresh)
except Trap as trap:
    print("a store without a deadline:", trap.trap_code.name)
