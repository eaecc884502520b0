"""Sabotages of the lowering: each takes away or turns around one thing that it sees to.

What is not here only makes code faster or smaller where it holds, chooses one of several slots, fields or
bases that do as well, is a limit that takes a million of something or more slots than 16 bits number, puts a
barrier behind a word that is never taken back, says of code that it has ended once more or where that only
spares a word, gives a position to what never traps, cuts off bits that do not stay anyhow, is wrong for one
double alone, as the proofs of the patterns see, or for lanes at the end of 64 bits, as a test of its own.
"""

from __future__ import annotations

from typing import NamedTuple


class Sabotage(NamedTuple):
    """In a function of a module, or where that is empty anywhere in it, `new` takes the place of `old`.

    `module` is named from `tinywasm.engine` on. The text is there once.
    """

    module: str
    function: str
    old: str
    new: str

    @property
    def name(self) -> str:
        """Which it is, on the command line."""
        return f"{self.function or self.module}:{SABOTAGES.index(self)}"


# By module and function: what is there, and what takes its place.
_OPERANDS = {
    "emit": [("self.position, self.height", "self.position, self.height + 1"), ("self.position,", "0,")],
    "push": [("if height > self.highest:", "if False:"), ("1 + (place >> 2 & 1)", "1")],
    "reach": [("if height > len(self.places):", "if False:")],
    "pop": [("if place & WIDE:", "if False:")],
    "cut": [("if self.settled > height:", "if False:")],
    "unsettle": [("self.settled = self.height", "pass"), ("if self.own > self.height:", "if False:")],
    "settle": [
        ("| (place & WIDE)", ""),
        ("if place & 3:", "if place & 3 == LOCAL:"),
        ("height -= 1 + (place >> 2 & 1)", "height -= 1"),
    ],
    "settle_top": [("for _ in range(count):", "for _ in range(min(count, 1)):")],
    "settle_locals": [
        ("place == which or", ""),
        ("or (which == NOWHERE and place & 3 == LOCAL)", ""),
        ("height -= 1 + (place >> 2 & 1)", "height -= 1"),
        ("while height > self.settled:", "while height > self.settled + 1:"),
        ("self.settled = self.height", "self.settled = self.height + 1"),
    ],
    "assign": [
        ("self.made == self.size and", ""),
        (" and self.code[self.size - STRIDE + 3] == place", ""),
        ("self.made = -1", "pass"),
        ("if self.height > self.settled:", "if False:"),
    ],
    "withdraw": [
        ("self.made != self.size or", ""),
        ("or self.code[start + 3] != place", ""),
        ("self.size = start", "pass"),
        ("self.position = self.code[start + 1]", "pass"),
        ("del code[start:]", "pass"),
    ],
    "settle_row": [
        ("while height > self.own:", "while height > self.own + 1:"),
        ("self.own = self.settled = self.height", "self.own = self.settled = self.height + 1"),
    ],
    "take": [("places.reverse()", "pass")],
    "take_row": [("self.settle_row()", "pass"), ("self.height - extent", "self.height - 1")],
    "list_row": [
        ("(width == 2) << 2", "0"),
        ("height += width", "height += 1"),
        ("(taken, left)", "(taken,)"),
    ],
    "widths": [("if V128 in types else", "if False else")],
}
_BUILD = {
    "": [
        ("bytes([_local(type)]) * count", "bytes([_local(type)])"),
        ("self.carried = params if shape == LOOP else results", "self.carried = results"),
    ],
    "_local": [("LOCAL | WIDE", "LOCAL")],
    "build": [
        ("-1, (), results,", "-1, (), results[:1],"),
        ("self.begin(self.new_block(), True)", "self.begin(self.new_block(), False)"),
        ("        self.charge()\n", ""),
    ],
    "leb": [("if byte < 128:", "if True:")],
    "long_leb": [
        ("weight <<= 7", "pass"),
        ("value - weight if signed and byte & 64 else value", "value"),
        ("value - weight if signed and byte & 64", "value - weight if byte & 64"),
    ],
    "opcode": [("code - FIRST_PREFIX) * PREFIXED", "code - FIRST_PREFIX) * 0")],
    "memory_argument": [
        ("if flags < 64 and offset < 128:", "if offset < 128:"),
        ("if flags < 64 and offset < 128:", "if flags < 64:"),
        ("                self.memory = self.leb()", "                self.leb()"),
        ("self.memory |= number << 32", "self.memory |= 0"),
    ],
    "begin": [
        ("if head:", "if True:"),
        ("self.dead = False", "pass"),
        ("NOWHERE, self.region, head", "NOWHERE, -1, head"),
        ("self.head = self.size", "pass"),
        ("            self.position = self.following()\n", ""),
    ],
    "charge": [("self.fuel = 0", "pass")],
    "reset": [("self.cut(label.height)", "pass")],
    "in_place": [
        ("return False", "return True"),
        ("here += width", "here += 1"),
        ("self.settle_row()", "pass"),
        ("return here == height", "return True"),
    ],
    "branch": [
        ("self.height, self.settled, self.own = height, settled, own", "pass"),
        ("if self.places[here - 1] != target:", "if self.places[here - 1] & 7 != target & 7:"),
        ("label.targeted = True", "pass"),
        ("height += width", "height += 1"),
    ],
    "branch_in_row": [
        ("self.height = label.height", "pass"),
        ("self.height = height", "pass"),
        ("label.targeted = True", "pass"),
        ("here << NUMBER", "here + 1 << NUMBER"),
        ("label.extent, 0", "label.extent - 1, 0"),
    ],
    "edge": [("or not self.in_place(label)", ""), ("label.targeted = True", "pass")],
    "branch_when": [
        ("form.INVERSE[operation]", "operation"),
        ("self.begin(following, True)", "self.begin(following, False)"),
    ],
    "walk": [
        ("            self.position = pos\n", ""),
        ("if local >= 128:", "if False:"),
        ("if shape != LOCAL_SET:", "if shape == LOCAL_GET:"),
        ("fuel, pos = 0, self.pos", "pos = self.pos"),
        ("                fuel += 1\n", ""),
        ("self.fuel += fuel\n                self.unusual", "self.unusual"),
    ],
    "skip": [
        ("if OPENS[row]:", "if False:"),
        ("self.skipped -= 1", "pass"),
        ("and not self.skipped", ""),
    ],
    "constant": [
        ("value &= 0xFFFFFFFF", "pass"),
        ("self.known[kind]", "self.known[0]"),
        ("| (kind == CONST_V128) << 2", ""),
        ("if value >= 64:", "if False:"),
    ],
    "wide_constant": [
        ("return len(self.objects) - 1", "return 0"),
        ("4 if kind == CONST_F32 else 8", "8"),
        ('self.as_signed(int.from_bytes(raw, "little"))', 'int.from_bytes(raw, "little")'),
    ],
    "unary": [
        ("if a & WIDE:", "if False:"),
        ("if result & WIDE:", "if False:"),
    ],
    "binary": [
        ("if b & WIDE:", "if False:"),
        ("if a & WIDE:", "if False:"),
        ("if self.settled > height:", "if False:"),
        ("if wide:", "if False:"),
    ],
    "general": [
        ("elif wide == VARIES:", "elif False:"),
        ("second = self.memory", "pass"),
        ("wide = a & WIDE", "wide = 0"),
    ],
    "wide_result": [
        ("return WIDE if type is V128 else 0", "return 0"),
        ("composite.fields[second]", "composite.fields[0]"),
    ],
    "unusual": [
        ("        self.fuel += 1\n", ""),
        ("self.branch(self.labels[0])\n            self.dead = True", "self.branch(self.labels[0])"),
        ("self.leb()])\n            self.dead = True", "self.leb()])"),
        ("self.pop()\n        elif shape == RETURNS", "pass\n        elif shape == RETURNS"),
    ],
    "call": [
        ("self.dead = True", "pass"),
        ("2 if type is V128 else 1", "1"),
        ("second = self.leb() if", "second = self.leb() * 0 if"),
    ],
    "call_in_row": [
        ("self.dead = True", "pass"),
        ("self.take_row(taken)", "self.cut(self.height - taken)"),
        ("| len(results) << 32", ""),
        ("self.push_row(results)", "self.push_row(params)"),
    ],
    "layout": [("sum(params), sum(results)", "len(params), len(results)")],
    "block_layout": [
        ("return self.layout(signature)", "return (), (), 0, 0"),
        ("((), (2,), 0, 2) if block is V128 else", ""),
    ],
    "open": [
        ("self.settle_top(len(params))", "pass"),
        ("self.settle_locals(NOWHERE)", "pass"),
        ("self.height - taken", "self.height - len(params)"),
        ("taken if shape == LOOP else left", "left"),
        ("self.own = max(self.own, height)", "pass"),
        ("self.region, params, results,", "-1, params, results,"),
        ("self.begin(label.target, True)", "self.begin(label.target, False)"),
        (
            "label.otherwise, 0)\n            self.begin(self.new_block(), True)",
            "label.otherwise, 0)\n            self.begin(self.new_block(), False)",
        ),
        ("self.begin(self.new_block(), False)", "pass"),
        ("Region(self.region, clauses)", "Region(-1, clauses)"),
        ("self.region = len(self.regions) - 1", "pass"),
    ],
    "clauses": [
        ("label.targeted = True", "pass"),
        ("label.target, label.height", "label.target, self.height"),
        ("label.carried))", "label.carried[:1]))"),
        ("catch.ref", "False"),
    ],
    "alternative": [
        ("if not self.dead:", "if False:"),
        ("self.reset(label, label.params)", "pass"),
        ("self.begin(label.otherwise, True)", "self.begin(label.otherwise, False)"),
        ("label.otherwise = -1", "pass"),
        ("label.targeted = True", "pass"),
    ],
    "close": [
        ("            label.targeted = True\n", "            pass\n"),
        ("and label.shape != LOOP", ""),
        ("self.settle_top(len(label.results))", "pass"),
        ("self.region = label.region", "pass"),
        ("self.reset(label, label.results)", "pass"),
        ("self.begin(label.target, True)", "self.begin(label.target, False)"),
        ("self.begin(label.target, False)", "pass"),
        ("if label.own < label.height:", "if False:"),
    ],
    "close_function": [
        ("if not self.dead:", "if False:"),
        ("if label.targeted:", "if False:"),
        ("self.reset(label, label.results)", "pass"),
    ],
}
_BUILD_RARE = {
    "_branch_table": [("if depth not in edges:", "if True:"), ("b.dead = True", "pass")],
    "_branch_null": [
        ("b.push(place)", "b.push_result(1)"),
        ("b.code[b.size - STRIDE + 2] = b.height", "pass"),
    ],
    "_branch_non_null": [("    b.pop()", "    pass")],
    "_branch_cast": [
        ('if TABLE[row].name == "br_on_cast"', "if True"),
        ("len(b.objects) - 1)", "0)"),
    ],
    "_check": [("b.immediate(row, OBJECT, 0) if", "b.immediate(row, OBJECT, 0) * 0 if")],
    "_leave": [("b.dead = True", "pass")],
    "_many": [
        ("        count = second\n", "        pass\n"),
        ("~_take_row", "_take_row"),
        ("b.height << NUMBER", "b.height + 1 << NUMBER"),
        ("b.dead = instruction.role is Role.LEAVES", "pass"),
    ],
    "_take_row": [
        ("2 if composite.field.storage is V128 else 1", "1"),
        ("if extent < count * width:", "if not extent:"),
    ],
}
_SELECT = {
    "run": [
        ("if self.deep:", "if False:"),
        ("far | zeros << 32", "far"),
        ("self.enter_region(-1)", "pass"),
        ("            far + slots,", "            far + slots - 40,"),
        ("0 if far else zeros", "0"),
    ],
    "emit_data": [("self.data.add(self.size)", "pass"), ("self.barrier = self.size", "pass")],
    "pattern": [
        ("FOUND[at] if dead else NONE", "FOUND[at]"),
        ("+ where", ""),
        ("if self.guarded(GUARD[number], first, i1, i2) else NONE", ""),
    ],
    "guarded": [
        ("i1 == _signed_half(i1)", "True"),
        ("(first >> 16 & 0xFFFF) == (first >> 32 & 0xFFFF) and", ""),
        ("-(1 << 15) <= i1", "True"),
        ("<= i1 < 1 << 15", "<= i1"),
        ("0 <= i1 <=", "i1 <="),
        ("0 <= i1 <= _HALF", "0 <= i1"),
        ("0 <= i2 <=", "i2 <="),
        ("0 <= i2 <= _HALF", "0 <= i2"),
        ("_single(i1) >= 0", "True"),
    ],
    "joint": [
        ("last < self.barrier or", ""),
        ("kind == TEMPORARY)", "True)"),
        ("or (low >> 16 & 0xFFFF) != self.seen(place)", ""),
    ],
    "make": [
        ("(made & _HALF)", "made"),
        ("made += sources[HIGH[number]]", "pass"),
        ("_signed_half(sources[HIGH[number]]) * _UP", "0"),
    ],
    "join": [
        ("last <= self.barrier", "last < 1"),
        ("dead = slot >= self.first - self.base", "dead = True"),
        ("not LOOSE[number] and", "not number and"),
        ("self.size = last - 1", "pass"),
    ],
    "seen": [
        ("return self.first + number - self.base", "return self.first + number"),
        (
            "(number if self.plain_locals else self.locals.slot(number)) - self.base",
            "self.locals.slot(number)",
        ),
        ("(number if self.plain_locals else self.locals.slot(number))", "number"),
    ],
    "slot": [
        ("SCRATCH + 2 * scratch - self.base", "SCRATCH + scratch - self.base"),
        ("SCRATCH + 2 * scratch - self.base", "2 * scratch - self.base"),
        ("if 0 <= slot <= 0xFFFF:", "if True:"),
        ("1 + (place >> 2 & 1)", "1"),
    ],
    "target": [
        ("if 0 <= slot <= 0xFFFF:", "if True:"),
        ("1 + (place >> 2 & 1)", "1"),
    ],
    "put_constant": [("if self.kinds[number] == CONST_V128:", "if False:")],
    "move": [
        ("if not 0 <= source <= 0xFFFF:", "if False:"),
        ("elif place & 4:", "elif False:"),
        ("1 + (place >> 2 & 1)", "1"),
    ],
    "row": [
        ("        if self.deep:\n            self.shift(self.window(self.here))", ""),
        ("slot += 1 + (place >> 2 & 1)", "slot += 1"),
        ("if first < 0:", "if False:"),
    ],
    "behind": [
        ("slot += 1 + (self.operands[index] >> 2 & 1)", "slot += 1"),
        ("(last >> 3) + 1 + (last >> 2 & 1)", "(last >> 3) + 1"),
    ],
    "find_entries": [("self.first + self.code[start + BASE]", "self.first")],
    "shift": [
        ("if not self.ended:", "if True:"),
        ("self.windows.append((self.size, base))", "pass"),
    ],
    "record": [
        ("if self.deep and row != BLOCK:", "if False:"),
        ("self.here = self.first + code[start + 2]", "self.here = self.first"),
        ("self.owed = None", "pass"),
        ("self.position = code[start + 1]", "pass"),
        ("True, code[start + 7]", "False, code[start + 7]"),
    ],
    "move_record": [("if 0 <= slot <= 0xFFFF:", "if True:"), ("1 + (result >> 2 & 1)", "1")],
    "move_row": [
        ("first - result >> 3", "first - result >> 4"),
        ("count * _UP", "(count - 1) * _UP"),
        ("self.seen(result)", "self.seen(first)"),
    ],
    "begin": [
        ("if self.deep:", "if False:"),
        ("self.ended = False", "pass"),
        ("if code[start + 4] != self.region:", "if False:"),
        ("if code[start + 5]:", "if False:"),
        ("self.barrier = self.size", "pass"),
    ],
    "enter_region": [
        ("if region > old:", "if region >= 0:"),
        ("self.regions[old] = self.regions[old][0], self.size", "pass"),
        ("self.region = region\n", "pass\n"),
        ("entered.append(region)", "pass"),
    ],
    "handlers": [
        ("self.window(self.entries[clause.block]) if self.deep else 0", "0"),
        ("range(len(self.regions) - 1, -1, -1)", "range(len(self.regions))"),
        ("self.first + clause.height", "self.first"),
    ],
    "resolve": [("(immediate & ~_HALF) |", "")],
    "jump": [("if self.deep:", "if False:")],
    "test": [
        ("if self.deep and self.window(self.entries[block]) != self.base:", "if False:"),
        ("_WHEN if when else _UNLESS", "_WHEN"),
        ("self.branches.append(self.size - 1)", "pass"),
    ],
    "test_afar": [
        ("_UNLESS if when else _WHEN", "_UNLESS"),
        ("        self.ended = False\n", ""),
        ("        self.shift(base)\n", ""),
    ],
    "branch_table": [
        ("if not self.deep:", "if True:"),
        ("self.shift(base)", "pass"),
        ("                self.ended = False\n", ""),
    ],
    "branch_reference": [
        ("row == BRANCH_NON_NULL, block", "True, block"),
        ("row == BRANCH_CAST, block", "True, block"),
    ],
    "test_plainly": [("if self.deep and self.window(self.entries[block]) != self.base:", "if False:")],
    "leave": [
        ("if count == 1 and not self.lists[first] & 4:", "if count == 1:"),
        ("        if far:", "        if self.locals.far:"),
        ("self.locals.far + self.base", "self.base"),
        ("slots += 1 + (self.lists[index] >> 2 & 1)", "slots += 1"),
    ],
    "instruction": [
        ("_GLOBAL_GET128 if wide else WORDS[row]", "WORDS[row]"),
        ("code[start + 5], 1)\n            self.emit", "code[start + 5], 0)\n            self.emit"),
        ("self.slot(code[start + 6], 2)", "self.slot(code[start + 6], 1)"),
    ],
    "binary": [
        ("SECONDS[word]], first", "SECONDS[word] + RIGHT], first"),
        ("self.joint(second, word, RIGHT)", "self.joint(second, word, 0)"),
        ("self.joint(first, word, 0)", "self.joint(first, word, RIGHT)"),
        ("self.size -= 1", "pass"),
        ("self.slot(other, LATER)", "self.slot(other, 0)"),
        ("self.slot(other, LATER)", "self.slot(other, 1)"),
        ("self.slot(first, 0), self.slot(second, 1)", "self.slot(first, 0), self.slot(second, 0)"),
        ("if row == _WITH_SHUFFLE:", "if False:"),
    ],
    "access": [
        ("memory == 0 and not self.large(0)", "memory == 0"),
        ("memory == 0 and not self.large(0)", "not self.large(0)"),
        ("self.size -= 1", "pass"),
        ("self.slot(value, LATER)", "self.slot(value, 0)"),
        ("min(memory, FAR_MEMORY)", "memory & 0xFFFF"),
        ("            self.emit(_WIDE_MEMORY, 0, 0, 0, memory)", "            pass"),
    ],
    "in_row": [
        ("height += 1 + (place >> 2 & 1)", "height += 1"),
        ("both |= _signed_half(record.second) * _UP", "pass"),
        ("0, self.metered, both", "0, 1, both"),
        ("0, self.metered, both", "0, 0, both"),
        ("if record.result & 3 == LOCAL", "if False"),
    ],
    "cast": [("| ref.nullable << 32", "")],
    "pair": [
        ("opcode >= COUNT or", ""),
        ("or index in self.data", ""),
        ("if not taken or value == made:", "if True:"),
        ("self.high[index + 1] if taken == 4", "made if taken == 4"),
    ],
    "_signed_half": [("(bits & _HALF)", "bits"), (") - _SIGN", ")")],
    "_single": [("if back == number else -1", "")],
}
_PATTERNS = {
    "_constant_operands": [('"c", True', '"b", True')],
    "_operators": [
        ('("c", "b2") if right else', '("b", "c2") if right else'),
        ("b1 0 i1:i2", "b1 0 i2:i1"),
    ],
    "_accesses": [("i1+i2", "i2"), ("0 i2:i1", "0 i2"), ("a1 i2:i1", "0 i2:i1"), ('"b1 b2"', '"b2 b1"')],
    "_branches": [
        ('"branch_if", "branch_unless", "a"', '"branch_if", "branch_if", "a"'),
        ("b1 {second} 0", "{second} b1 0"),
        ("a1 b2 i1", "a1 b2 0"),
        ("a1 0 i1", "b2 0 i1"),
    ],
    "_doubles": [("a1 0 a2", "a2 0 a1"), ("a1 b1 a2 b2", "a2 b2 a1 b1")],
}
_RARE = {
    "_load_lane": [
        ("b.here + SCRATCH + 2 - b.base", "b.here + SCRATCH - b.base"),
        ("record.second & 0xFFFFFFFF", "0"),
        ("b.move(result, record.b)", "pass"),
    ],
    "_store_lane": [("b.slot(record.b, 1)", "b.slot(record.b, 0)")],
    "_lane": [
        ("memory == 0 and not b.large(0)", "memory == 0"),
        ("(record.second >> 32) << 56", "0"),
        ("min(record.immediate & _M64, _LANE_OFFSETS)", "(record.immediate & _M64)"),
        ("min(memory, FAR_MEMORY)", "memory & 0xFFFF"),
        ("        b.emit(_WIDE_MEMORY, 0, 0, 0, memory)", "        pass"),
    ],
    "_two_results": [
        ("b.lists[record.a + each], each", "b.lists[record.a + each], 0"),
        ("slots[2] | slots[3] << 16 if len(slots) == 4 else 0", "0"),
    ],
    "_select": [("b.slot(record.c, 2)", "b.slot(record.c, 1)"), ("if wide else", "if False else")],
    "_global_set": [("if record.a & 4 else", "if False else")],
    "_ref_test": [("b.cast(b.form.objects[record.immediate])", "b.cast(b.form.objects[0])")],
    "_ref_cast": [("b.form.objects[record.immediate]", "b.form.objects[0]")],
    "_as_non_null": [('b.emit(OPCODES["ref_as_non_null"], b.slot(record.a, 0), 0, 0, 0)', "pass")],
    "field": [("2 if each.storage is V128 else 1", "1")],
    "_struct_get": [('== "struct.get_s"', '== ""'), ("if storage is V128 else", "if False else")],
    "_struct_set": [
        ("if isinstance(storage, PackedType):", "if False:"),
        ("if storage is V128 else", "if False else"),
        ("b.slot(record.b, 1)", "b.slot(record.b, 0)"),
    ],
    "_array_get": [('== "array.get_s"', '== ""'), ("b.slot(record.b, 1)", "b.slot(record.b, 0)")],
    "_array_set": [("b.slot(record.c, 2)", "b.slot(record.c, 1)")],
    "_call": [
        ("b.locals.far + b.base", "b.locals.far"),
        ("b.locals.far + b.base", "b.base"),
        ("record.c & 3 == CONSTANT or", ""),
        ("or not 0 <= callee <= 0xFFFF", ""),
        ("or (tail and far)", ""),
        ("b.move(callee, record.c)", "pass"),
        ("    if tail and far:", "    if False:"),
        ("behind - b.here + named, 0, far", "behind - b.here, 0, far"),
        ("slot, callee = 0, behind - b.here", "slot = 0"),
        ("immediate | table << 32", "immediate"),
    ],
}
_FRAME = {
    "": [
        ("SCRATCH = 12", "SCRATCH = 1"),
        ("LATER = 5", "LATER = 0"),
        ("ABOVE = 32", "ABOVE = 12"),
    ],
    "__init__": [
        ("near += fitting * each", "near += fitting"),
        ("far += (count - fitting) * each", "far += count - fitting"),
        ("not far and near == index", "not far"),
        ("not far and near == index", "near == index"),
        ("slot - far if is_far else slot", "slot"),
    ],
    "slot": [("(index - first) * each", "(index - first)")],
}
_BIND = {
    "bind": [("locals += [default_value(type)] * count", "locals += [default_value(type)]")],
    "__init__": [
        ("first_local + len(locals))", "first_local)"),
        ("self.bases = (0, first_local,", "self.bases = (0, 0,"),
    ],
    "run": [("block.first -= 1", "pass")],
    "records": [
        ("positions.append(position)", "pass"),
        ("immediate & _M64, to, a", "immediate, to, a"),
        ("immediate & _M64, a, b", "immediate, a, b"),
        ("memories[second], immediate & _M64, to", "memories[0], immediate & _M64, to"),
        ("memories[second], immediate & _M64, a", "memories[0], immediate & _M64, a"),
    ],
    "in_row": [("places[start + count - 1] >> form.NUMBER == count - 1", "True")],
    "__iter__": [("base + (place", "(place"), ("self.start + self.count", "self.start + self.count - 1")],
    "listed": [("~first + start", "~first"), ("        first += start\n", "")],
    "regions": [
        ("accumulate(widths, initial=0)", "range(len(widths))"),
        ("if region.parent >= 0 else None", "if False else None"),
        ("clause.reference, self.block_of", "False, self.block_of"),
    ],
    "step": [("self.positions.append(self.position)", "pass")],
    "leave": [("block.exit_position = position", "block.exit_position = 0"), ("self.ended = True", "pass")],
    "open": [("self.ended = False", "pass")],
    "begin": [
        ("if when:", "if not when:"),
        ("self.waiting = None", "pass"),
        ("elif not self.ended:", "else:"),
        ("if region >= 0:", "if False:"),
        ("        self.position = position\n", ""),
    ],
    "go_on": [("block.scope = self.block.scope", "pass")],
    "branch": [
        ("if when:", "if not when:"),
        ("self.waiting = block, when", "self.waiting = block, not when"),
    ],
    "count": [
        ("and not self.entered", ""),
        ("if self.metered and fuel:", "if False:"),
        ("if self.profile and self.func and fuel:", "if False:"),
    ],
    "immediates": [("self.form.objects[found[number]]", "self.form.objects[0]")],
    "constants": [
        ("values.append(bits & 0xFFFFFFFFFFFFFFFF)", "values.append(bits)"),
        ("f64_from_bits(bits & 0xFFFFFFFFFFFFFFFF)", "f64_from_bits(bits)"),
        ("if kind == form.CONST_V128 else None", "if kind == form.CONST_V128 else bits"),
    ],
    "_struct_new": [("bulk.storage_mask(field.storage)", "0")],
    "_thrown": [("len(defined.composite.params)", "min(len(defined.composite.params), 1)")],
    "_numeric": [
        ("b.immediates(row, record)[0]", "0"),
        ("elif row.leaves.fixed > 1:", "elif False:"),
    ],
    "_access_lane": [
        ("record.second & 0xFFFFFFFF", "0"),
        ("record.second >> 32", "0"),
    ],
    "_call": [
        ("second & 0xFFFFFFFF", "0"),
        ("TAIL_CALL if tail else CALL", "CALL"),
        ("        place = b.spare\n", "        pass\n"),
        ("block.results = b.listed(first, count, second >> 32, base)", "block.results = []"),
        ("b.go_on(block.next)", "b.open(block.next)"),
    ],
    "_instruction": [("b.position = record[form.POSITION]", "pass")],
    "_move_row": [("b.at(record[form.A])", "b.at(record[form.RESULT])")],
    "_branch_if": [("row == form.BRANCH_IF,", "True,")],
    "_branch_table": [("tuple(blocks[:-1]), blocks[-1]", "tuple(blocks), blocks[0]")],
    "_branch_null": [("row == form.BRANCH_NULL,", "True,")],
    "_branch_cast": [
        ("row == form.BRANCH_CAST,", "True,"),
        ("b.form.objects[target]", "b.form.objects[0]"),
    ],
}
SABOTAGES = [
    Sabotage(module, function, old, new)
    for module, functions in (
        ("ir.operands", _OPERANDS),
        ("ir.build", _BUILD),
        ("ir.rare", _BUILD_RARE),
        ("native.select", _SELECT),
        ("native.patterns", _PATTERNS),
        ("native.rare", _RARE),
        ("native.frame", _FRAME),
        ("python.bind", _BIND),
    )
    for function, pieces in functions.items()
    for old, new in pieces
]
