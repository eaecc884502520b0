"""Vector instructions as LLVM IR, by mnemonic: as `numeric` has the scalar ones.

A v128 is `<2 x i64>`; a template takes its operands as the lanes that it works on. `{lane}` is an immediate.
"""

from __future__ import annotations

V128 = "<2 x i64>"
_LANES = {
    "i8x16": ("i8", 16),
    "i16x8": ("i16", 8),
    "i32x4": ("i32", 4),
    "i64x2": ("i64", 2),
    "f32x4": ("float", 4),
    "f64x2": ("double", 2),
}
SHAPES = {name: f"<{count} x {lane}>" for name, (lane, count) in _LANES.items()}
# As LLVM writes them in names of functions.
_SUFFIX = {name: f"v{count}{name.partition('x')[0]}" for name, (_, count) in _LANES.items()}
# The shape with lanes of half the width, and that with twice the width.
_HALF = {"i16x8": "i8x16", "i32x4": "i16x8", "i64x2": "i32x4"}
_DOUBLE = {half: shape for shape, half in _HALF.items()}
_INTEGERS, _FLOATS = ("i8x16", "i16x8", "i32x4", "i64x2"), ("f32x4", "f64x2")

TEMPLATES: dict[str, str] = {}
# What results are, where it is no vector.
SCALARS: dict[str, str] = {}
# By mnemonic: the type as which a result may hold any NaN, and that as which operands may.
COMPUTED: dict[str, str] = {}
LOOSE: dict[str, str] = {}
# The functions that templates call, as LLVM declares them.
DECLARED: set[str] = set()


def _add(name: str, body: str, taken: str, shape: str, made: str | None = None) -> None:
    """An instruction with operands `taken`, of "abc", that are vectors of a shape; the body makes `{z}`.

    `made` is the shape of that, the same where it is left out, and "" for a number.
    """
    lines = []
    for operand in taken:
        if SHAPES[shape] != V128:
            lines.append(f"{{r}}.{operand} = bitcast {V128} {{{operand}}} to {SHAPES[shape]}")
            body = body.replace(f"{{{operand}}}", f"{{r}}.{operand}")
    made = shape if made is None else made
    if made and SHAPES[made] != V128:
        lines += [body.replace("{z}", "{r}.z"), f"{{r}} = bitcast {SHAPES[made]} {{r}}.z to {V128}"]
    else:
        lines.append(body.replace("{z}", "{r}"))
    TEMPLATES[name] = "\n".join(lines)


def _call(function: str, shape: str, operands: str, more: str = "", suffix: str = "") -> str:
    """A call of an intrinsic on vectors of a shape."""
    type = SHAPES[shape]
    full = f"@llvm.{function}.{suffix or _SUFFIX[shape]}"
    DECLARED.add(f"{type} {full}({', '.join([type] * len(operands) + more.split()[:1])})")
    given = ", ".join([f"{type} {{{each}}}" for each in operands] + [more] * bool(more))
    return f"call {type} {full}({given})"


def _splat(shape: str, value: int) -> str:
    return f"splat ({_LANES[shape][0]} {value})"


def _pick(lanes: range) -> str:
    return f"<{len(lanes)} x i32> <{', '.join(f'i32 {each}' for each in lanes)}>"


def _integers(shape: str) -> None:
    type, (lane, count) = SHAPES[shape], _LANES[shape]
    bits = int(lane[1:])
    for name in ("add", "sub", *(("mul",) if bits > 8 else ())):
        _add(f"{shape}.{name}", f"{{z}} = {name} {type} {{a}}, {{b}}", "ab", shape)
    for name, condition in (
        *(("eq", "eq"), ("ne", "ne"), ("lt_s", "slt"), ("gt_s", "sgt"), ("le_s", "sle"), ("ge_s", "sge")),
        *(("lt_u", "ult"), ("gt_u", "ugt"), ("le_u", "ule"), ("ge_u", "uge")),
    ):
        body = (
            f"{{r}}.is = icmp {condition} {type} {{a}}, {{b}}\n{{z}} = sext <{count} x i1> {{r}}.is to {type}"
        )
        _add(f"{shape}.{name}", body, "ab", shape)
    _add(f"{shape}.neg", f"{{z}} = sub {type} zeroinitializer, {{a}}", "a", shape)
    _add(f"{shape}.abs", f"{{z}} = {_call('abs', shape, 'a', 'i1 false')}", "a", shape)
    mask = f"<{count} x i1>"
    body = (
        f"{{r}}.is = icmp ne {type} {{a}}, zeroinitializer\n{{r}}.m = bitcast {mask} {{r}}.is to i{count}\n"
    )
    body += f"{{r}}.all = icmp eq i{count} {{r}}.m, -1\n{{r}} = zext i1 {{r}}.all to i32"
    _add(f"{shape}.all_true", body, "a", shape, "")
    body = (
        f"{{r}}.is = icmp slt {type} {{a}}, zeroinitializer\n{{r}}.m = bitcast {mask} {{r}}.is to i{count}\n"
    )
    _add(f"{shape}.bitmask", body + f"{{r}} = zext i{count} {{r}}.m to i32", "a", shape, "")
    SCALARS[f"{shape}.all_true"] = SCALARS[f"{shape}.bitmask"] = "i32"
    change = {8: "trunc i32 {r}.by to i8", 16: "trunc i32 {r}.by to i16", 32: "add i32 {r}.by, 0"}
    by = f"{{r}}.by = and i32 {{b}}, {bits - 1}\n{{r}}.n = {change.get(bits, 'zext i32 {r}.by to i64')}\n"
    by += f"{{r}}.i = insertelement {type} poison, {lane} {{r}}.n, i32 0\n"
    by += f"{{r}}.s = shufflevector {type} {{r}}.i, {type} poison, <{count} x i32> zeroinitializer\n"
    for name, shift in (("shl", "shl"), ("shr_s", "ashr"), ("shr_u", "lshr")):
        _add(f"{shape}.{name}", f"{by}{{z}} = {shift} {type} {{a}}, {{r}}.s", "a", shape)
    _lanes(shape)


def _small_integers(shape: str) -> None:
    """What there is for lanes of 8 and 16 bits, or of up to 32."""
    type, (lane, count) = SHAPES[shape], _LANES[shape]
    for name in ("min_s", "max_s", "min_u", "max_u"):
        _add(f"{shape}.{name}", f"{{z}} = {_call(name[-1] + name[:3], shape, 'ab')}", "ab", shape)
    if shape == "i32x4":
        return
    for name in ("add", "sub"):
        for sign in "su":
            _add(
                f"{shape}.{name}_sat_{sign}",
                f"{{z}} = {_call(f'{sign}{name}.sat', shape, 'ab')}",
                "ab",
                shape,
            )
    wide = f"<{count} x i{2 * int(lane[1:])}>"
    one = f"splat (i{2 * int(lane[1:])} 1)"
    body = f"{{r}}.1 = zext {type} {{a}} to {wide}\n{{r}}.2 = zext {type} {{b}} to {wide}\n"
    body += f"{{r}}.3 = add {wide} {{r}}.1, {{r}}.2\n{{r}}.4 = add {wide} {{r}}.3, {one}\n"
    body += f"{{r}}.5 = lshr {wide} {{r}}.4, {one}\n{{z}} = trunc {wide} {{r}}.5 to {type}"
    _add(f"{shape}.avgr_u", body, "ab", shape)


def _clamped(value: str, type: str, lane: str, least: int, greatest: int) -> str:
    """Lines that make `{r}.clamped` of a value."""
    suffix = f"v{type[1:].split()[0]}{lane}"
    DECLARED.update(f"{type} @llvm.{name}.{suffix}({type}, {type})" for name in ("smax", "smin"))
    return (
        f"{{r}}.most = call {type} @llvm.smin.{suffix}({type} {value}, {type} splat ({lane} {greatest}))\n"
        f"{{r}}.clamped = call {type} @llvm.smax.{suffix}({type} {{r}}.most, {type} splat ({lane} {least}))\n"
    )


def _widening(shape: str) -> None:
    """What makes lanes twice as wide, and for narrow ones half as wide."""
    half = _HALF[shape]
    type, (lane, count), narrow = SHAPES[shape], _LANES[shape], SHAPES[half]
    bits = int(lane[1:]) // 2
    part = f"<{count} x {_LANES[half][0]}>"
    for sign, extend in (("s", "sext"), ("u", "zext")):
        for place, first in (("low", 0), ("high", count)):
            lines = ""
            for operand in "ab":
                picked = _pick(range(first, first + count))
                lines += (
                    f"{{r}}.p{operand} = shufflevector {narrow} {{{operand}}}, {narrow} poison, {picked}\n"
                )
                lines += f"{{r}}.e{operand} = {extend} {part} {{r}}.p{operand} to {type}\n"
            one = "\n".join(lines.split("\n")[:2]).replace("{r}.ea", "{z}")
            _add(f"{shape}.extend_{place}_{half}_{sign}", one, "a", half, shape)
            _add(
                f"{shape}.extmul_{place}_{half}_{sign}",
                f"{lines}{{z}} = mul {type} {{r}}.ea, {{r}}.eb",
                "ab",
                half,
                shape,
            )
        if shape != "i64x2":
            body = _pairs(narrow, "{a}", part, count, extend, type)
            _add(
                f"{shape}.extadd_pairwise_{half}_{sign}",
                f"{body}{{z}} = add {type} {{r}}.e0, {{r}}.e1",
                "a",
                half,
                shape,
            )
        if shape == "i64x2":
            continue
        least, greatest = (-(1 << bits - 1), (1 << bits - 1) - 1) if sign == "s" else (0, (1 << bits) - 1)
        both = f"<{2 * count} x {lane}>"
        body = f"{{r}}.both = shufflevector {type} {{a}}, {type} {{b}}, {_pick(range(2 * count))}\n"
        body += _clamped("{r}.both", both, lane, least, greatest)
        _add(
            f"{half}.narrow_{shape}_{sign}",
            f"{body}{{z}} = trunc {both} {{r}}.clamped to {narrow}",
            "ab",
            shape,
            half,
        )


def _pairs(narrow: str, value: str, part: str, count: int, extend: str, type: str) -> str:
    """Lines that make `{r}.e0` of the even lanes and `{r}.e1` of the odd ones."""
    return "".join(
        f"{{r}}.p{odd} = shufflevector {narrow} {value}, {narrow} poison, {_pick(range(odd, 2 * count, 2))}\n"
        f"{{r}}.e{odd} = {extend} {part} {{r}}.p{odd} to {type}\n"
        for odd in (0, 1)
    )


def _products() -> None:
    type, wide = SHAPES["i16x8"], "<8 x i32>"
    both = "".join(f"{{r}}.w{each} = sext {type} {{{each}}} to {wide}\n" for each in "ab")
    product = f"{both}{{r}}.product = mul {wide} {{r}}.wa, {{r}}.wb\n"
    halves = "".join(
        f"{{r}}.p{odd} = shufflevector {wide} {{r}}.product, {wide} poison, {_pick(range(odd, 8, 2))}\n"
        for odd in (0, 1)
    )
    _add(
        "i32x4.dot_i16x8_s",
        f"{product}{halves}{{z}} = add <4 x i32> {{r}}.p0, {{r}}.p1",
        "ab",
        "i16x8",
        "i32x4",
    )
    body = f"{product}{{r}}.more = add {wide} {{r}}.product, splat (i32 16384)\n"
    body += f"{{r}}.high = ashr {wide} {{r}}.more, splat (i32 15)\n" + _clamped(
        "{r}.high", wide, "i32", -32768, 32767
    )
    for name in ("q15mulr_sat_s", "relaxed_q15mulr_s"):
        _add(f"i16x8.{name}", f"{body}{{z}} = trunc {wide} {{r}}.clamped to {type}", "ab", "i16x8")
    whole = "<16 x i32>"
    dot = "".join(f"{{r}}.w{each} = sext <16 x i8> {{{each}}} to {whole}\n" for each in "ab")
    dot += f"{{r}}.product = mul {whole} {{r}}.wa, {{r}}.wb\n"
    dot += "".join(
        f"{{r}}.p{odd} = shufflevector {whole} {{r}}.product, {whole} poison, {_pick(range(odd, 16, 2))}\n"
        for odd in (0, 1)
    )
    dot += f"{{r}}.sum = add {wide} {{r}}.p0, {{r}}.p1\n" + _clamped("{r}.sum", wide, "i32", -32768, 32767)
    name = "relaxed_dot_i8x16_i7x16"
    _add(f"i16x8.{name}_s", f"{dot}{{z}} = trunc {wide} {{r}}.clamped to {type}", "ab", "i8x16", "i16x8")
    four = "<4 x i32>"
    dot += "".join(
        f"{{r}}.q{odd} = shufflevector {wide} {{r}}.clamped, {wide} poison, {_pick(range(odd, 8, 2))}\n"
        for odd in (0, 1)
    )
    dot += f"{{r}}.t = bitcast {V128} {{c}} to {four}\n{{r}}.u = add {four} {{r}}.q0, {{r}}.q1\n"
    _add(f"i32x4.{name}_add_s", f"{dot}{{z}} = add {four} {{r}}.u, {{r}}.t", "ab", "i8x16", "i32x4")


def _floats(shape: str) -> None:
    type, (_, count) = SHAPES[shape], _LANES[shape]

    def computed(name: str, body: str, taken: str) -> None:
        _add(f"{shape}.{name}", body, taken, shape)
        COMPUTED[f"{shape}.{name}"] = LOOSE[f"{shape}.{name}"] = type

    for name in ("add", "sub", "mul", "div"):
        computed(name, f"{{z}} = f{name} {type} {{a}}, {{b}}", "ab")
    for name, function in (
        *(("sqrt", "sqrt"), ("ceil", "ceil"), ("floor", "floor"), ("trunc", "trunc")),
        ("nearest", "roundeven"),
    ):
        computed(name, f"{{z}} = {_call(function, shape, 'a')}", "a")
    for name, function in (("min", "minimum"), ("max", "maximum")):
        for relaxed in ("", "relaxed_"):
            computed(relaxed + name, f"{{z}} = {_call(function, shape, 'ab')}", "ab")
    product = f"{{r}}.product = fmul {type} {{a}}, {{b}}\n{{z}} = fadd {type} {{r}}.product, {{c}}"
    computed("relaxed_madd", product, "abc")
    turned = f"{{r}}.turned = fneg {type} {{a}}\n" + product.replace("{a}", "{r}.turned")
    computed("relaxed_nmadd", turned, "abc")
    for name, condition in (
        *(("eq", "oeq"), ("ne", "une"), ("lt", "olt"), ("gt", "ogt"), ("le", "ole"), ("ge", "oge")),
    ):
        whole = SHAPES["i32x4" if shape == "f32x4" else "i64x2"]
        body = f"{{r}}.is = fcmp {condition} {type} {{a}}, {{b}}\n"
        body += f"{{z}} = sext <{count} x i1> {{r}}.is to {whole}"
        _add(f"{shape}.{name}", body, "ab", shape, "i32x4" if shape == "f32x4" else "i64x2")
        LOOSE[f"{shape}.{name}"] = type
    # What follows keeps bits.
    _add(f"{shape}.neg", f"{{z}} = fneg {type} {{a}}", "a", shape)
    _add(f"{shape}.abs", f"{{z}} = {_call('fabs', shape, 'a')}", "a", shape)
    for name, first, second in (("pmin", "b", "a"), ("pmax", "a", "b")):
        body = f"{{r}}.is = fcmp olt {type} {{{first}}}, {{{second}}}\n"
        body += f"{{z}} = select <{count} x i1> {{r}}.is, {type} {{b}}, {type} {{a}}"
        _add(f"{shape}.{name}", body, "ab", shape)
    _lanes(shape)


def _conversions() -> None:
    low, four, two = _pick(range(2)), "<4 x i32>", "<2 x i32>"
    for sign in "su":
        DECLARED.add(f"{four} @llvm.fpto{sign}i.sat.v4i32.v4f32(<4 x float>)")
        DECLARED.add(f"{two} @llvm.fpto{sign}i.sat.v2i32.v2f64(<2 x double>)")
        all = f"{{z}} = call {four} @llvm.fpto{sign}i.sat.v4i32.v4f32(<4 x float> {{a}})"
        some = f"{{r}}.two = call {two} @llvm.fpto{sign}i.sat.v2i32.v2f64(<2 x double> {{a}})\n"
        some += f"{{z}} = shufflevector {two} {{r}}.two, {two} zeroinitializer, {_pick(range(4))}"
        for manner in ("trunc_sat", "relaxed_trunc"):
            _add(f"i32x4.{manner}_f32x4_{sign}", all, "a", "f32x4", "i32x4")
            _add(f"i32x4.{manner}_f64x2_{sign}_zero", some, "a", "f64x2", "i32x4")
            LOOSE[f"i32x4.{manner}_f32x4_{sign}"] = SHAPES["f32x4"]
            LOOSE[f"i32x4.{manner}_f64x2_{sign}_zero"] = SHAPES["f64x2"]
        convert = f"{{z}} = {sign}itofp {four} {{a}} to <4 x float>"
        _add(f"f32x4.convert_i32x4_{sign}", convert, "a", "i32x4", "f32x4")
        half = f"{{r}}.low = shufflevector {four} {{a}}, {four} poison, {low}\n"
        half += f"{{z}} = {sign}itofp {two} {{r}}.low to <2 x double>"
        _add(f"f64x2.convert_low_i32x4_{sign}", half, "a", "i32x4", "f64x2")
    body = "{r}.two = fptrunc <2 x double> {a} to <2 x float>\n{z} = shufflevector <2 x float> {r}.two, "
    _add(
        "f32x4.demote_f64x2_zero",
        f"{body}<2 x float> zeroinitializer, {_pick(range(4))}",
        "a",
        "f64x2",
        "f32x4",
    )
    body = f"{{r}}.two = shufflevector <4 x float> {{a}}, <4 x float> poison, {low}\n"
    _add(
        "f64x2.promote_low_f32x4",
        body + "{z} = fpext <2 x float> {r}.two to <2 x double>",
        "a",
        "f32x4",
        "f64x2",
    )
    for name, made, taken in (
        ("f32x4.demote_f64x2_zero", "f32x4", "f64x2"),
        ("f64x2.promote_low_f32x4", "f64x2", "f32x4"),
    ):
        COMPUTED[name], LOOSE[name] = SHAPES[made], SHAPES[taken]


def _lanes(shape: str) -> None:
    """Lanes in and out, and the same value in all; values of fewer than 32 bits are an i32's."""
    type, (lane, count) = SHAPES[shape], _LANES[shape]
    small = lane in ("i8", "i16")
    value, cut = ("{r}.small", f"{{r}}.small = trunc i32 {{b}} to {lane}\n") if small else ("{b}", "")
    body = f"{cut}{{z}} = insertelement {type} {{a}}, {lane} {value}, i32 {{lane}}"
    _add(f"{shape}.replace_lane", body, "a", shape)
    body = cut.replace("{b}", "{a}") + f"{{r}}.one = insertelement {type} poison, {lane} {value}, i32 0\n"
    body = body.replace("{b}", "{a}")
    _add(
        f"{shape}.splat",
        f"{body}{{z}} = shufflevector {type} {{r}}.one, {type} poison, <{count} x i32> zeroinitializer",
        "",
        shape,
    )
    if not small:
        _add(f"{shape}.extract_lane", f"{{z}} = extractelement {type} {{a}}, i32 {{lane}}", "a", shape, "")
        SCALARS[f"{shape}.extract_lane"] = lane
        return
    for sign, extend in (("s", "sext"), ("u", "zext")):
        body = f"{{r}}.lane = extractelement {type} {{a}}, i32 {{lane}}\n"
        body += f"{{z}} = {extend} {lane} {{r}}.lane to i32"
        _add(f"{shape}.extract_lane_{sign}", body, "a", shape, "")
        SCALARS[f"{shape}.extract_lane_{sign}"] = "i32"


def _bits() -> None:
    for name in ("and", "or", "xor"):
        _add(f"v128.{name}", f"{{z}} = {name} {V128} {{a}}, {{b}}", "ab", "i64x2")
    ones = _splat("i64x2", -1)
    _add("v128.not", f"{{z}} = xor {V128} {{a}}, {ones}", "a", "i64x2")
    _add(
        "v128.andnot",
        f"{{r}}.not = xor {V128} {{b}}, {ones}\n{{z}} = and {V128} {{a}}, {{r}}.not",
        "ab",
        "i64x2",
    )
    body = f"{{r}}.1 = and {V128} {{a}}, {{c}}\n{{r}}.not = xor {V128} {{c}}, {ones}\n"
    body += f"{{r}}.2 = and {V128} {{b}}, {{r}}.not\n{{z}} = or {V128} {{r}}.1, {{r}}.2"
    for name in ("v128.bitselect", *(f"{shape}.relaxed_laneselect" for shape in _INTEGERS)):
        _add(name, body, "abc", "i64x2")
    body = f"{{r}}.all = bitcast {V128} {{a}} to i128\n{{r}}.is = icmp ne i128 {{r}}.all, 0\n"
    body += "{z} = zext i1 {r}.is to i32"
    _add("v128.any_true", body, "a", "i64x2", "")
    SCALARS["v128.any_true"] = "i32"
    _add("i8x16.popcnt", f"{{z}} = {_call('ctpop', 'i8x16', 'a')}", "a", "i8x16")
    # The processor's instruction takes 0 where the index has its highest bit.
    type = SHAPES["i8x16"]
    DECLARED.add(f"{type} @llvm.x86.ssse3.pshuf.b.128({type}, {type})")
    DECLARED.add(f"{type} @llvm.uadd.sat.v16i8({type}, {type})")
    body = f"{{r}}.at = call {type} @llvm.uadd.sat.v16i8({type} {{b}}, {type} {_splat('i8x16', 0x70)})\n"
    body += f"{{z}} = call {type} @llvm.x86.ssse3.pshuf.b.128({type} {{a}}, {type} {{r}}.at)"
    for name in ("swizzle", "relaxed_swizzle"):
        _add(f"i8x16.{name}", body, "ab", "i8x16")


for _shape in _INTEGERS:
    _integers(_shape)
for _shape in ("i8x16", "i16x8", "i32x4"):
    _small_integers(_shape)
for _shape in _HALF:
    _widening(_shape)
for _shape in _FLOATS:
    _floats(_shape)
_products()
_conversions()
_bits()
for _name in ("lt_u", "gt_u", "le_u", "ge_u"):
    del TEMPLATES[f"i64x2.{_name}"]

# Loads that extend: of so many lanes, from what to what.
EXTENDING = {
    f"v128.load{bits}x{count}_{sign}": (f"<{count} x i{bits}>", extend, f"<{count} x i{2 * bits}>")
    for bits, count in ((8, 8), (16, 4), (32, 2))
    for sign, extend in (("s", "sext"), ("u", "zext"))
}
# Accesses of one lane, by the shape of the vector.
LANE_SHAPES = {
    str(bits): SHAPES[shape] for bits, shape in ((8, "i8x16"), (16, "i16x8"), (32, "i32x4"), (64, "i64x2"))
}
