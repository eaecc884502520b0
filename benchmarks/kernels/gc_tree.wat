;; n rounds of a binary search tree: 256 pseudo-random keys are inserted, then the tree is walked in
;; order into an array of i31 references. Subtyping is at work: a leaf and a branch are told apart by a cast.
(module
  (rec
    (type $node (sub (struct (field $key i32))))
    (type $branch
      (sub final $node (struct (field $key i32) (field $left (mut (ref $node))) (field $right (mut (ref $node))))))
    (type $keys (array (mut i31ref))))

  (global $nothing (ref $node) (struct.new $node (i32.const -1)))
  (global $filled (mut i32) (i32.const 0))

  (func $insert (param $tree (ref $node)) (param $key i32) (result (ref $node))
    (local $branch (ref $branch))
    (block $leaf (result (ref $node))
      (local.set $branch (br_on_cast_fail $leaf (ref $node) (ref $branch) (local.get $tree)))
      (if (i32.lt_u (local.get $key) (struct.get $branch $key (local.get $branch)))
        (then
          (struct.set $branch $left (local.get $branch)
            (call $insert (struct.get $branch $left (local.get $branch)) (local.get $key))))
        (else
          (struct.set $branch $right (local.get $branch)
            (call $insert (struct.get $branch $right (local.get $branch)) (local.get $key)))))
      (return (local.get $branch)))
    (drop)
    (struct.new $branch (local.get $key) (global.get $nothing) (global.get $nothing)))

  (func $walk (param $tree (ref $node)) (param $keys (ref $keys))
    (local $branch (ref $branch))
    (if (i32.eqz (ref.test (ref $branch) (local.get $tree)))
      (then (return)))
    (local.set $branch (ref.cast (ref $branch) (local.get $tree)))
    (call $walk (struct.get $branch $left (local.get $branch)) (local.get $keys))
    (array.set $keys (local.get $keys) (global.get $filled)
      (ref.i31 (struct.get $branch $key (local.get $branch))))
    (global.set $filled (i32.add (global.get $filled) (i32.const 1)))
    (call $walk (struct.get $branch $right (local.get $branch)) (local.get $keys)))

  (func $round (param $seed i32) (result i32)
    (local $tree (ref $node)) (local $keys (ref $keys)) (local $i i32) (local $checksum i32)
    (local.set $tree (global.get $nothing))
    (loop $more
      (local.set $seed
        (i32.add (i32.mul (local.get $seed) (i32.const 1664525)) (i32.const 1013904223)))
      (local.set $tree (call $insert (local.get $tree) (i32.shr_u (local.get $seed) (i32.const 8))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $i) (i32.const 256))))
    (local.set $keys (array.new $keys (ref.i31 (i32.const 0)) (local.get $i)))
    (global.set $filled (i32.const 0))
    (call $walk (local.get $tree) (local.get $keys))
    (local.set $i (i32.const 0))
    (loop $more
      (local.set $checksum
        (i32.add
          (i32.mul (local.get $checksum) (i32.const 31))
          (i31.get_u (array.get $keys (local.get $keys) (local.get $i)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $i) (array.len (local.get $keys)))))
    (local.get $checksum))

  (func (export "run") (param $n i32) (result i32)
    (local $checksum i32)
    (block $done
      (loop $more
        (br_if $done (i32.eqz (local.get $n)))
        (local.set $checksum
          (i32.xor (i32.mul (local.get $checksum) (i32.const 16777619)) (call $round (local.get $n))))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br $more)))
    (local.get $checksum)))
