"""Words of the native loop that are done two in one. Written by tools/count_pairs.py; do not edit."""

LINES = """
branch_if i32_add__k
branch_if__i32_eq i32_add
branch_if__i32_eq__k i32_add
branch_if__i32_gt_s i32_store
branch_if__i32_gt_u i32_add__k
branch_if__i32_lt_u i32_add__k
branch_if__i32_lt_u__k i32_add__k
branch_if__i32_ne i32_add__k
branch_unless i32_add__k
branch_unless i32_load
branch_unless i32_load8_u
branch_unless__f64_le__k f64_sub
const count_i32_ne__k
const f64_div b
const i32_add c
const i32_store8 b
const i32_store8__a b
const i64_store__a b
const select b
f64_add branch_if__f64_le__k a
f64_add branch_unless__f64_le__k a
f64_add f64_add
f64_add f64_mul b
f64_add f64_mul_add b
f64_add f64_store b
f64_add f64_store__s b
f64_div f64_mul_sub_from c
f64_load f64_add c
f64_load f64_load
f64_load f64_load__a
f64_load f64_mul
f64_load f64_mul c
f64_load f64_mul_add c
f64_load__a f64_load__a
f64_load__a f64_sub c
f64_load__a i32_add
f64_load__s f64_mul__k b
f64_mul const
f64_mul f64_add
f64_mul f64_add c
f64_mul f64_load
f64_mul f64_load__a
f64_mul f64_mul
f64_mul f64_mul b
f64_mul f64_mul_sub_from b
f64_mul__k f64_add c
f64_mul_add const
f64_mul_add f64_load__a
f64_mul_add f64_mul b
f64_mul_add f64_sqrt b
f64_mul_add i32_add
f64_mul_sub_from f64_store b
f64_sqrt f64_mul c
f64_store f64_load
f64_store i32_add__k
f64_store__s f64_load__s
f64_sub f64_add c
f64_sub f64_load
f64_sub f64_mul_add b
fuel branch_if__i32_eq
fuel branch_if__i32_le_s
fuel branch_if__i32_lt_u__k
fuel const
fuel count_i32_ne__k
fuel f64_load
fuel f64_mul
fuel f64_sub
fuel i32_add
fuel i32_add__k
fuel i32_and__k
fuel i32_load8_u
fuel i32_load8_u__a
fuel i32_load__u
fuel i32_mul__k
fuel i32_mul__k_add__k
fuel i32_shl__k_add__k
fuel i32_shr_u__k_xor
fuel i32_store
fuel i32_sub
fuel i32_xor
fuel move
fuel move2
fuel return1
global_get i32_sub__k b
i32_add branch_if__i32_eq__k
i32_add branch_if__i32_lt_u__k a
i32_add const
i32_add f64_load b
i32_add i32_add
i32_add i32_add__k
i32_add i32_add__k b
i32_add i32_load b
i32_add i32_load8_u b
i32_add i32_load8_u__a b
i32_add i32_load__a
i32_add i32_store b
i32_add i32_store8 a
i32_add i32_xor
i32_add return1 a
i32_add__k branch_if
i32_add__k branch_if__i32_gt_s b
i32_add__k branch_if__i32_lt_u
i32_add__k branch_if__i32_ne b
i32_add__k branch_unless
i32_add__k call
i32_add__k const
i32_add__k count_i32_ne__k
i32_add__k f64_mul
i32_add__k global_set a
i32_add__k i32_add
i32_add__k i32_add__k
i32_add__k i32_load
i32_add__k i32_load8_u
i32_add__k i32_load8_u__a
i32_add__k i32_load__a
i32_add__k i32_load__u
i32_add__k i32_lt_u__k b
i32_add__k i32_mul__k_add__k
i32_add__k i32_shl__k_add__k
i32_add__k i32_shr_u__k b
i32_add__k i32_shr_u__k_and__k
i32_add__k i32_shr_u__k_xor
i32_add__k i32_store b
i32_add__k i32_store8 b
i32_add__k jump
i32_add__k move
i32_add__k move b
i32_add__k move2
i32_add_add i32_add c
i32_add_add i32_xor__k
i32_and i32_add c
i32_and i32_add_add c
i32_and i32_and_xor imm
i32_and__k branch_if a
i32_and__k branch_unless a
i32_and__k_shl__k i32_load__a b
i32_and_xor i32_add c
i32_div_u__k i32_add c
i32_load branch_if a
i32_load i32_add__k
i32_load i32_load
i32_load i32_store b
i32_load8_u branch_if__i32_eq b
i32_load8_u branch_if__i32_ne b
i32_load8_u branch_unless a
i32_load8_u i32_add__k
i32_load8_u i32_load8_u
i32_load8_u i32_shl__k b
i32_load8_u i32_xor c
i32_load8_u__a br_table a
i32_load8_u__a branch_if a
i32_load8_u__a branch_if__i32_ne b
i32_load8_u__a i32_load8_u__a
i32_load8_u__a i32_or c
i32_load8_u__a i32_shl__k b
i32_load8_u__a i32_shl__k_add b
i32_load8_u__a i32_store b
i32_load8_u__a i32_store8 b
i32_load8_u__a i32_xor c
i32_load__a i32_add c
i32_load__a i32_add_add c
i32_load__a i32_load8_u b
i32_load__a i32_rotl__k b
i32_load__a move2
i32_load__u branch_if__i32_lt_u a
i32_load__u i32_load__u
i32_lt_s__k select imm
i32_lt_u select imm
i32_mul__k i32_add__k
i32_mul__k i32_add__k b
i32_mul__k i32_load8_u__a
i32_mul__k_add__k i32_mul__k_add__k b
i32_mul__k_add__k i32_shr_u__k b
i32_or i32_load8_u__a
i32_or i32_xor b
i32_rem_u__k i32_add__k b
i32_rotl__k i32_rotl__k_xor c
i32_rotl__k_xor i32_and
i32_rotl__k_xor i32_rotl__k_xor c
i32_rotl__k_xor i32_shr_u__k_xor c
i32_rotl__k_xor move
i32_shl__k i32_div_u__k
i32_shl__k i32_or c
i32_shl__k i32_shr_s__k b
i32_shl__k_add i32_load b
i32_shl__k_add__k move
i32_shr_u__k i32_or c
i32_shr_u__k i32_rem_u__k b
i32_shr_u__k move2
i32_shr_u__k_and__k i32_add__k b
i32_shr_u__k_and__k i32_load__a b
i32_shr_u__k_xor i32_add b
i32_shr_u__k_xor i32_add c
i32_shr_u__k_xor i32_xor b
i32_shr_u__k_xor i32_xor c
i32_store i32_add__k
i32_store i32_load
i32_store i32_store
i32_store i32_store__a
i32_store jump
i32_store move
i32_store8 i32_add__k
i32_store8__a i32_add
i32_store__a move2
i32_sub return1 a
i32_sub__k global_set a
i32_xor i32_and b
i32_xor i32_and__k_shl__k b
i32_xor i32_mul__k b
i32_xor__k i32_and c
move branch_if__i32_gt_u
move call
move count_i32_ne
move count_i32_ne__k
move i32_add__k
move i32_add__k b
move i32_rotl__k b
move jump
move2 branch_if__i32_le_s
move2 call
move2 jump
move2 move
move2 move2
select move b
"""
