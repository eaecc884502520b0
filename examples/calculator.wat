(module $calculator
  (func $add (export "add") (param $left i32) (param $right i32) (result i32)
    local.get $left
    local.get $right
    i32.add)
  (func $sub (export "sub") (param $left i32) (param $right i32) (result i32)
    local.get $left
    local.get $right
    i32.sub)
  (func $mul (export "mul") (param $left i32) (param $right i32) (result i32)
    local.get $left
    local.get $right
    i32.mul)
  ;; The quotient is truncated toward zero; a divisor of zero traps.
  (func $div (export "div") (param $left i32) (param $right i32) (result i32)
    local.get $left
    local.get $right
    i32.div_s))
