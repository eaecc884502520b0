"""Passive objects of the specification's section 4.2: what a running module reads and changes.

Values: i32 and i64 are unsigned ints; f32 and f64 floats whose NaN bits are kept (see
`numerics.floats`); v128 16 bytes; a null reference None; a function reference a `FuncInstance`; an
external reference any Python object; the rest are classes of `heap`.
"""
