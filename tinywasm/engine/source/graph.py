"""The flow graph of a form, from one of its blocks on: order, dominators, loops."""

from __future__ import annotations

from collections.abc import Sequence

from tinywasm import records
from tinywasm.engine.ir import form
from tinywasm.engine.ir.form import Form, Record
from tinywasm.instructions import TABLE, Role
from tinywasm.interruption import look

# Python allows 20 nested loops.
MOST_LOOPS = 18
_BRANCHES = range(form.BRANCH_IF, form.BRANCH_TABLE)
LEAVES = {row.ordinal for row in TABLE if row.role is Role.LEAVES}


@records.record(eq=False)
class Node:
    """A basic block: its records up to the exit, and that, None where it goes on with the next block.

    `successors` are numbers of blocks, for a conditional branch first where it goes if it is taken. `fuel`
    is what is charged here, `position` where the block begins. `region` is its handler region, or -1.
    """

    number: int
    position: int
    region: int
    fuel: int
    records: list[Record]
    exit: Record | None
    successors: list[int]


def everything(node: Node) -> Sequence[Record]:
    """The records of a block, the exit among them."""
    return node.records if node.exit is None else (*node.records, node.exit)


def nodes(code: Form) -> dict[int, Node]:
    """All basic blocks by their numbers, in the order of the code."""
    found: dict[int, Node] = {}
    node: Node | None = None
    for record in code.records():
        row = record.row
        if row == form.BLOCK:
            look()
            if node is not None:
                node.successors.append(record.immediate)
            node = Node(record.immediate, record.position, record.a, record.second, [], None, [])
            found[node.number] = node
        elif node is not None:
            if row in _BRANCHES:
                node.exit = record
                node.successors.append(record.immediate)
            elif row == form.JUMP or row == form.RETURN or row == form.BRANCH_TABLE or row in LEAVES:
                node.exit = record
                if row == form.JUMP:
                    node.successors.append(record.immediate)
                elif row == form.BRANCH_TABLE:
                    first = record.immediate
                    node.successors += code.lists[first : first + record.second]
                node = None
            else:
                node.records.append(record)
    return found


@records.record(eq=False)
class Graph:
    """What can be reached from `entry`.

    `index` is each block's place in a reverse postorder, `heads` are targets of edges back. A block that is
    not written where the only way to it begins has a label: `labels` are by the block behind which they
    stand, `after` by the head of the loop that they stand behind, both in order, and `labelled` are all.
    `around` has for each block the heads of the loops that it is in, outermost first.
    """

    entry: int
    nodes: dict[int, Node]
    index: dict[int, int]
    heads: set[int]
    labels: dict[int, list[int]]
    after: dict[int, list[int]]
    labelled: set[int]
    around: dict[int, list[int]]


class TooDeep(Exception):
    """The code nests deeper than Python does."""


def flat_graph(found: dict[int, Node], entry: int) -> Graph:
    """The graph where each block has a label, and none a place."""
    order = _reverse_postorder(found, entry)
    index = {number: place for place, number in enumerate(order)}
    made = Graph(entry, found, index, set(), {}, {}, set(order), {})
    for number in order:
        made.heads |= {
            target for target in found[number].successors if made.index[target] <= made.index[number]
        }
    return made


def graph(found: dict[int, Node], entry: int) -> Graph:
    """Raises `TooDeep`."""
    order = _reverse_postorder(found, entry)
    index = {number: place for place, number in enumerate(order)}
    ways: dict[int, list[int]] = {number: [] for number in order}
    for number in order:
        before = -1
        for target in found[number].successors:
            # Neighbours in a table are one way.
            if target != before:
                ways[target].append(number)
            before = target
    direct = _dominators(order, index, ways)
    around = _loops(order, index, ways)
    made = Graph(entry, found, index, set(), {}, {}, set(), around)
    for number in order:
        made.labels[number], made.after[number] = [], []
    made.heads = {head for heads in around.values() for head in heads}
    for number in order[1:]:
        left = [head for head in around[direct[number]] if head not in around[number]]
        if left:
            made.after[left[0]].append(number)
        elif sum(index[source] < index[number] for source in ways[number]) > 1:
            made.labels[direct[number]].append(number)
        else:
            continue
        made.labelled.add(number)
    return made


def from_head(found: dict[int, Node], whole: Graph, head: int) -> dict[int, Node]:
    """Blocks for a function that begins at the head of a loop.

    If that loop is in others, one would be entered in its middle as well as at its head, and Python has no
    such loops. So there is a copy of the code for each, which ends where the next one farther out is taken up
    again. What lies beyond that is in the next copy already.
    """
    heads = whole.around[head][::-1]
    outside = [{number for number, around in whole.around.items() if each not in around} for each in heads]
    stride = max(found) + 1

    def copied(target: int, level: int) -> int:
        beyond = next((place for place, numbers in enumerate(outside) if target not in numbers), len(heads))
        if beyond < len(heads) and target == heads[beyond]:
            return target + max(beyond, level) * stride
        return target + max(beyond - 1, level) * stride

    made: dict[int, Node] = {}
    stack = [head]
    while stack:
        number = stack.pop()
        if number not in made:
            level, original = divmod(number, stride)
            node = found[original]
            successors = [copied(target, level) for target in node.successors]
            made[number] = records.replace(node, number=number, successors=successors)
            stack += successors
    return made


def _loops(order: list[int], index: dict[int, int], ways: dict[int, list[int]]) -> dict[int, list[int]]:
    """For each block the heads of the loops that it is in, outermost first. Raises `TooDeep`."""
    around: dict[int, list[int]] = {number: [] for number in order}
    for head in order:
        stack = [source for source in ways[head] if index[source] >= index[head]]
        if not stack:
            continue
        body = {head}
        while stack:
            number = stack.pop()
            if number not in body:
                body.add(number)
                stack += ways[number]
        look()
        for number in body:
            around[number].append(head)
            if len(around[number]) > MOST_LOOPS:
                raise TooDeep
    return around


def _reverse_postorder(found: dict[int, Node], entry: int) -> list[int]:
    seen, post = {entry}, []
    stack = [(entry, iter(found[entry].successors))]
    while stack:
        number, rest = stack[-1]
        for target in rest:
            if target not in seen:
                seen.add(target)
                stack.append((target, iter(found[target].successors)))
                break
        else:
            post.append(number)
            stack.pop()
    return post[::-1]


def _dominators(order: list[int], index: dict[int, int], ways: dict[int, list[int]]) -> dict[int, int]:
    """The direct dominator of each block, of the first itself.

    Structured code has no loop with two entries, so those before a block in a reverse postorder say all. Of
    each block another one above is known to skip to, so that a way up takes few steps (Myers, 1983).
    """
    direct = {order[0]: order[0]}
    skip = {order[0]: order[0]}
    depth = {order[0]: 0}

    def common(one: int, other: int) -> int:
        if depth[one] < depth[other]:
            one, other = other, one
        while depth[one] > depth[other]:
            one = skip[one] if depth[skip[one]] >= depth[other] else direct[one]
        while one != other:
            if skip[one] != skip[other]:
                one, other = skip[one], skip[other]
            else:
                one, other = direct[one], direct[other]
        return one

    for number in order[1:]:
        above = -1
        for source in ways[number]:
            if index[source] < index[number]:
                above = source if above < 0 else common(above, source)
        direct[number] = above
        depth[number] = depth[above] + 1
        far = skip[above]
        same = depth[above] - depth[far] == depth[far] - depth[skip[far]]
        skip[number] = skip[far] if same else above
    return direct
