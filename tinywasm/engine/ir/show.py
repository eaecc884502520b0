"""The intermediate form as text, a line for each record."""

from __future__ import annotations

from collections.abc import Iterator

from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form, operands, results
from tinywasm.instructions import TABLE

_BRANCHES = range(form.JUMP, form.BRANCH_TABLE)


def place(code: Form, number: int) -> str:
    """`t4` for a temporary, `l0` for a local, the value of a constant."""
    kind, index = number & form.KIND, number >> form.NUMBER
    if kind != form.CONSTANT:
        return f"{'tl'[kind]}{index}"
    kind, value = code.kinds[index], code.constants[index]
    if kind == form.CONST_NULL:
        return "null"
    text = code.objects[value].hex() if kind == form.CONST_V128 else f"{value:#x}"
    return f"{form.CONSTANT_KINDS[kind]}:{text}"


def lines(code: Form) -> Iterator[str]:
    """One line a record: `position: result = what operands, immediates`."""
    for record in code.records():
        row = record.row
        if row == form.BLOCK:
            region = "" if record.a < 0 else f" in region {record.a}"
            fuel = f" fuel {record.second}" if record.b else ""
            yield f"block {record.immediate}:{fuel}{region}"
            continue
        words = [form.NAMES[row], *(place(code, each) for each in operands(code, record))]
        if row in _BRANCHES:
            words.append(f"-> block {record.immediate}")
        elif row == form.MOVE_ROW:
            words.append(str(record.immediate))
        elif row == form.BRANCH_TABLE:
            first = record.immediate
            targets = code.lists[first : first + record.second]
            words.append("-> blocks " + " ".join(map(str, targets)))
        elif row < len(TABLE):
            words += [str(each) for each in (record.immediate, record.second)[: len(TABLE[row].immediates)]]
        made = ", ".join(place(code, each) for each in results(code, record))
        yield f"  {record.position:#x}: {made}{' = ' if made else ''}{' '.join(words)}"
