;; n rounds on a linked list of 1000 structures: build it, reverse it in place, add it up. Each round
;; leaves the last one's list to the collector.
(module
  (rec (type $node (struct (field $value i32) (field $next (mut (ref null $node))))))

  (func $build (param $count i32) (param $seed i32) (result (ref null $node))
    (local $list (ref null $node))
    (block $done
      (loop $more
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $list
          (struct.new $node (i32.mul (local.get $count) (local.get $seed)) (local.get $list)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $more)))
    (local.get $list))

  (func $reverse (param $list (ref null $node)) (result (ref null $node))
    (local $reversed (ref null $node)) (local $next (ref null $node))
    (block $done
      (loop $more
        (br_if $done (ref.is_null (local.get $list)))
        (local.set $next (struct.get $node $next (local.get $list)))
        (struct.set $node $next (local.get $list) (local.get $reversed))
        (local.set $reversed (local.get $list))
        (local.set $list (local.get $next))
        (br $more)))
    (local.get $reversed))

  (func $sum (param $list (ref null $node)) (result i32)
    (local $sum i32)
    (block $done
      (loop $more
        (br_if $done (ref.is_null (local.get $list)))
        ;; Every element counts by its position, so that a list in the wrong order has another sum.
        (local.set $sum
          (i32.add (i32.mul (local.get $sum) (i32.const 31)) (struct.get $node $value (local.get $list))))
        (local.set $list (struct.get $node $next (local.get $list)))
        (br $more)))
    (local.get $sum))

  (func (export "run") (param $n i32) (result i32)
    (local $checksum i32)
    (block $done
      (loop $more
        (br_if $done (i32.eqz (local.get $n)))
        (local.set $checksum
          (i32.xor
            (i32.mul (local.get $checksum) (i32.const 16777619))
            (call $sum (call $reverse (call $build (i32.const 1000) (local.get $n))))))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br $more)))
    (local.get $checksum)))
