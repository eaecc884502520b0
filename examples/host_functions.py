"""Python functions that a module imports: one by its name, one that looks at who calls it.

Prints:

    log: 3 primes below 7
    log: 25 primes below 100
    [2, 3, 5, 7, 11, 13, 17, 19]
    the host refused: 1000000 is too many
"""

import tinywasm
from tinywasm import Caller, Func, FuncType, Store, ValType

PRIMES = """
(module
  (import "host" "found" (func $found (param i32)))
  (import "host" "log" (func $log (param $address i32) (param $count i32) (param $limit i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "primes below")

  (func $is_prime (param $n i32) (result i32) (local $d i32)
    (local.set $d (i32.const 2))
    (loop $next
      (if (i32.gt_u (i32.mul (local.get $d) (local.get $d)) (local.get $n)) (then (return (i32.const 1))))
      (if (i32.eqz (i32.rem_u (local.get $n) (local.get $d))) (then (return (i32.const 0))))
      (local.set $d (i32.add (local.get $d) (i32.const 1)))
      (br $next))
    (unreachable))

  (func (export "primes") (param $limit i32) (local $n i32) (local $count i32)
    (local.set $n (i32.const 2))
    (loop $next
      (if (call $is_prime (local.get $n))
        (then
          (call $found (local.get $n))
          (local.set $count (i32.add (local.get $count) (i32.const 1)))))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $n) (local.get $limit))))
    (call $log (i32.const 64) (local.get $count) (local.get $limit))))
"""


class TooMany(Exception):
    pass


store = Store()
primes: list[int] = []


def log(caller: Caller, address: int, count: int, limit: int) -> None:
    """`caller` is the instance that calls, so the text can be read from its memory."""
    text = caller["memory"].read(caller, address, address + 12).decode()
    print(f"log: {count} {text} {limit}")


def found(number: int) -> None:
    """Its type comes from the module. What it raises comes out of the call as it is."""
    if len(primes) >= 1000:
        raise TooMany("1000000 is too many")
    primes.append(number)


i32 = ValType.i32()
host = {"found": found, "log": Func(store, FuncType([i32, i32, i32], []), log, access_caller=True)}
instance = tinywasm.instantiate(PRIMES, {"host": host}, store=store)

instance.exports.primes(7)
primes.clear()
instance.exports.primes(100)
print(primes[:8])
try:
    instance.exports.primes(1_000_000)
except TooMany as error:
    print("the host refused:", error)
