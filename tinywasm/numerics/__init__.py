"""Numeric instructions as pure functions (section 4.3 of the specification).

A function is named as its instruction, with `_` for `.`. Its parameters are the operands in the order
of the stack (the last one is on top), then the lane immediates. It returns the result, or a tuple
where an instruction has several. How values are represented is told in `ints` (i32, i64), `floats`
(f32, f64) and `vectors` (v128).
"""
