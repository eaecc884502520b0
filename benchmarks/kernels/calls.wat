;; Calls over the border: empty and small functions to call from the host, loops that call the host.
(module
  (import "host" "nothing" (func $nothing))
  (import "host" "add" (func $add (param i32 i32) (result i32)))

  (func (export "empty"))

  (func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1)))

  (func (export "call_nothing") (param $n i32)
    (loop $more
      (call $nothing)
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))

  (func (export "call_add") (param $n i32) (result i32)
    (local $sum i32)
    (loop $more
      (local.set $sum (call $add (local.get $sum) (local.get $n)))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum)))
