"""Numeric instructions as LLVM IR, by mnemonic.

A template has a line for each LLVM instruction: `{r}` is the result, `{a}` and `{b}` are the operands, and
`{r}.x` is a value on the way. None of LLVM's flags that promise something of operands (`nsw`, `exact`,
`fast`, ...) stands here: whatever the operands are, the result is the specification's. Divisions and
conversions that trap are checked before: `DIVISIONS` and `TRUNCATIONS` say how.

NaNs: an operator of `COMPUTED` gives any NaN, where ours is to be the canonical one; who looks at the bits
makes it canonical first.
"""

from __future__ import annotations

from tinywasm.engine.llvm import vectors

TYPES = {"i32": "i32", "i64": "i64", "f32": "float", "f64": "double"}

_INTEGERS = {
    **{name: f"{{r}} = {name} {{t}} {{a}}, {{b}}" for name in ("add", "sub", "mul", "and", "or", "xor")},
    **{
        name: f"{{r}}.by = and {{t}} {{b}}, {{last}}\n{{r}} = {shift} {{t}} {{a}}, {{r}}.by"
        for name, shift in (("shl", "shl"), ("shr_s", "ashr"), ("shr_u", "lshr"))
    },
    "rotl": "{r} = call {t} @llvm.fshl.{t}({t} {a}, {t} {a}, {t} {b})",
    "rotr": "{r} = call {t} @llvm.fshr.{t}({t} {a}, {t} {a}, {t} {b})",
    "clz": "{r} = call {t} @llvm.ctlz.{t}({t} {a}, i1 false)",
    "ctz": "{r} = call {t} @llvm.cttz.{t}({t} {a}, i1 false)",
    "popcnt": "{r} = call {t} @llvm.ctpop.{t}({t} {a})",
    "eqz": "{r}.is = icmp eq {t} {a}, 0\n{r} = zext i1 {r}.is to i32",
    **{
        name: f"{{r}}.is = icmp {condition} {{t}} {{a}}, {{b}}\n{{r}} = zext i1 {{r}}.is to i32"
        for name, condition in (
            *(("eq", "eq"), ("ne", "ne"), ("lt_s", "slt"), ("lt_u", "ult"), ("gt_s", "sgt")),
            *(("gt_u", "ugt"), ("le_s", "sle"), ("le_u", "ule"), ("ge_s", "sge"), ("ge_u", "uge")),
        )
    },
    **{
        f"extend{bits}_s": f"{{r}}.low = trunc {{t}} {{a}} to i{bits}\n"
        f"{{r}} = sext i{bits} {{r}}.low to {{t}}"
        for bits in (8, 16, 32)
    },
}
_COMPUTED = ("add", "sub", "mul", "div", "sqrt", "ceil", "floor", "trunc", "nearest", "min", "max")
_FLOATS = {
    **{name: f"{{r}} = f{name} {{t}} {{a}}, {{b}}" for name in ("add", "sub", "mul", "div")},
    **{
        name: f"{{r}} = call {{t}} @llvm.{function}.{{f}}({{t}} {{a}})"
        for name, function in (
            *(("sqrt", "sqrt"), ("ceil", "ceil"), ("floor", "floor"), ("trunc", "trunc")),
            *(("nearest", "roundeven"), ("abs", "fabs")),
        )
    },
    **{
        name: f"{{r}} = call {{t}} @llvm.{function}.{{f}}({{t}} {{a}}, {{t}} {{b}})"
        for name, function in (("min", "minimum"), ("max", "maximum"), ("copysign", "copysign"))
    },
    "neg": "{r} = fneg {t} {a}",
    **{
        name: f"{{r}}.is = fcmp {condition} {{t}} {{a}}, {{b}}\n{{r}} = zext i1 {{r}}.is to i32"
        for name, condition in (
            *(("eq", "oeq"), ("ne", "une"), ("lt", "olt"), ("gt", "ogt"), ("le", "ole"), ("ge", "oge")),
        )
    },
}


def _conversion(operation: str, source: str, to: str) -> str:
    return f"{{r}} = {operation} {TYPES[source]} {{a}} to {TYPES[to]}"


TEMPLATES = {
    **{
        f"{wasm}.{name}": template.replace("{t}", wasm).replace("{last}", "31" if wasm == "i32" else "63")
        for wasm in ("i32", "i64")
        for name, template in _INTEGERS.items()
        if (wasm, name) != ("i32", "extend32_s")
    },
    **{
        f"{wasm}.{name}": template.replace("{t}", TYPES[wasm]).replace("{f}", wasm)
        for wasm in ("f32", "f64")
        for name, template in _FLOATS.items()
    },
    "i32.wrap_i64": _conversion("trunc", "i64", "i32"),
    "i64.extend_i32_s": _conversion("sext", "i32", "i64"),
    "i64.extend_i32_u": _conversion("zext", "i32", "i64"),
    "f32.demote_f64": _conversion("fptrunc", "f64", "f32"),
    "f64.promote_f32": _conversion("fpext", "f32", "f64"),
    **{
        f"{to}.convert_{source}_{sign}": _conversion(f"{sign}itofp", source, to)
        for to in ("f32", "f64")
        for source in ("i32", "i64")
        for sign in "su"
    },
    **{
        f"{to}.reinterpret_{source}": _conversion("bitcast", source, to)
        for to, source in (("i32", "f32"), ("i64", "f64"), ("f32", "i32"), ("f64", "i64"))
    },
    **{
        f"{to}.trunc_sat_{source}_{sign}": f"{{r}} = call {to} @llvm.fpto{sign}i.sat.{to}.{source}"
        f"({TYPES[source]} {{a}})"
        for to in ("i32", "i64")
        for source in ("f32", "f64")
        for sign in "su"
    },
}
# What they make of a condition is a number only where that is wanted.
_NUMBER_OF_CONDITION = "\n{r} = zext i1 {r}.is to i32"
CONDITIONS = {name for name, template in TEMPLATES.items() if template.endswith(_NUMBER_OF_CONDITION)}
# What results are, where it is not the type that the mnemonic begins with.
RESULTS = dict.fromkeys(CONDITIONS, "i32")
TEMPLATES |= {name: TEMPLATES[name].removesuffix(_NUMBER_OF_CONDITION) for name in CONDITIONS}
# By mnemonic: the type as which a result may hold any NaN.
COMPUTED = {f"{wasm}.{name}": TYPES[wasm] for wasm in ("f32", "f64") for name in _COMPUTED}
COMPUTED |= {"f32.demote_f64": "float", "f64.promote_f32": "double"}
# By mnemonic: the type as which operands may hold any NaN. All others keep or look at bits.
LOOSE = {
    name: TYPES[name[:3]]
    for name in TEMPLATES
    if name[0] == "f"
    and ".convert_" not in name
    and not name.endswith((".neg", ".abs", ".copysign", "_i32", "_i64"))
}
LOOSE |= {"f32.demote_f64": "double", "f64.promote_f32": "float"}
LOOSE |= {name: TYPES[name[14:17]] for name in TEMPLATES if ".trunc_sat_" in name}
# Their results are never NaN.
NUMBERS = {name for name in TEMPLATES if name[0] == "f" and ".convert_" in name}

TEMPLATES |= vectors.TEMPLATES
RESULTS |= {name: vectors.SCALARS.get(name, vectors.V128) for name in vectors.TEMPLATES}
COMPUTED |= vectors.COMPUTED
LOOSE |= vectors.LOOSE

# By mnemonic: the type, the LLVM instruction, and whether it is of signed numbers.
DIVISIONS = {
    f"{wasm}.{name}_{sign}": (wasm, f"{sign}{name}", sign == "s")
    for wasm in ("i32", "i64")
    for name in ("div", "rem")
    for sign in "su"
}
# By mnemonic: the operand's type, the LLVM instruction, and between which bounds, given as bits of the
# operand's type, the operand has to be: `oge` or `ogt` the first, and `olt` the second.
_BOUNDS = {
    # -2^31 - 1 is a double but no float; -2^31 and -2^63 are both: what lies next below them is out of range.
    ("i32", "f32", "s"): ("oge", 0xCF000000, 0x4F000000),
    ("i32", "f32", "u"): ("ogt", 0xBF800000, 0x4F800000),
    ("i64", "f32", "s"): ("oge", 0xDF000000, 0x5F000000),
    ("i64", "f32", "u"): ("ogt", 0xBF800000, 0x5F800000),
    ("i32", "f64", "s"): ("ogt", 0xC1E0000000200000, 0x41E0000000000000),
    ("i32", "f64", "u"): ("ogt", 0xBFF0000000000000, 0x41F0000000000000),
    ("i64", "f64", "s"): ("oge", 0xC3E0000000000000, 0x43E0000000000000),
    ("i64", "f64", "u"): ("ogt", 0xBFF0000000000000, 0x43F0000000000000),
}
TRUNCATIONS = {
    f"{to}.trunc_{source}_{sign}": (source, f"fpto{sign}i", *bounds)
    for (to, source, sign), bounds in _BOUNDS.items()
}

# Wide arithmetic: LLVM's instruction on 128 bits, how its operands get there, and whether each is a pair.
WIDE = {
    "i64.add128": ("add", "zext", True),
    "i64.sub128": ("sub", "zext", True),
    "i64.mul_wide_s": ("mul", "sext", False),
    "i64.mul_wide_u": ("mul", "zext", False),
}
