"""Arguments and results, and what the types say about them."""

from wasmtime import Instance, Module, Store, Val, ValType

GCD = """
(module
  (func $gcd (param i32 i32) (result i32)
    (local i32)
    (block
      (block
        (br_if 0 (local.get 0))
        (local.set 2 (local.get 1))
        (br 1))
      (loop
        (local.set 2 (local.get 0))
        (local.set 0 (i32.rem_u (local.get 1) (local.get 0)))
        (local.set 1 (local.get 2))
        (br_if 0 (local.get 0))))
    (local.get 2))
  (func (export "neg") (param i64 f32 f64) (result i64 f32 f64)
    (i64.sub (i64.const 0) (local.get 0)) (f32.neg (local.get 1)) (f64.neg (local.get 2)))
  (export "gcd" (func $gcd)))
"""

store = Store()
module = Module(store.engine, GCD)
exports = Instance(store, module, []).exports(store)
gcd = exports["gcd"]
print("gcd(6, 27) =", gcd(store, 6, 27))
print(gcd(store, Val.i32(1071), Val.i32(462)), gcd(store, -4, 0), gcd(store, True, 0))
print(exports["neg"](store, 1 << 40, 1.5, -2.25))
print(len(exports), list(exports), exports.by_index[1].type(store).params[0])

ty = gcd.type(store)
print(list(map(str, ty.params)), ty.results[0] == ValType.i32(), ty.results[0] == ValType.i64())
for arguments in ((1,), (1, 2, 3), ("1", 2)):
    try:
        gcd(store, *arguments)
    except Exception:
        print("refused", arguments)
