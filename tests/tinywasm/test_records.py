"""Records are to all who ask what dataclasses with slots are."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any, ClassVar

import pytest

from tinywasm.records import field, record, replace


@record(frozen=True)
class Point:
    kind: ClassVar = "point"
    x: int
    y: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Same:
    kind: ClassVar = "point"
    x: int
    y: int = 0


@record()
class Shelf:
    """With things on it."""

    label: str
    things: list[int] = field(default_factory=list)
    seen: int = field(default=0, compare=False, repr=False)

    def __post_init__(self) -> None:
        self.label = self.label.upper()


@record()
class Checked:
    size: int

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, abs(value))


def test_it_is_made_compared_and_shown_as_a_dataclass_is() -> None:
    assert (Point(1), Point(1, 2), Point(y=2, x=1)) == (Point(1, 0), Point(1, y=2), Point(1, 2))
    others: list[object] = [Point(2), Same(1), (1, 0)]
    assert Point(1) not in others
    assert len({Point(1), Point(1, 0), Point(2)}) == 2
    assert repr(Point(1)) == repr(Same(1)).replace("Same", "Point")
    assert not hasattr(Point(1), "__dict__") and Point.kind == "point"
    match Point(3, 4):
        case Point(x, y):
            assert (x, y) == (3, 4)


def test_defaults_are_of_each_object_and_what_is_checked_stays_checked() -> None:
    first, second = Shelf("a"), Shelf("a", seen=5)
    first.things.append(1)
    assert (first.label, second.things) == ("A", []) and first != second
    assert Shelf("a", [1], 2) == first and repr(first) == "Shelf(label='A', things=[1])"
    with pytest.raises(TypeError, match="unhashable"):
        hash(first)
    assert Checked(-3).size == 3


@pytest.mark.parametrize("args, named", (((), {}), ((1, 2, 3), {}), ((1,), {"x": 1}), ((1,), {"z": 1})))
def test_wrong_arguments_are_refused(args: tuple[int, ...], named: dict[str, int]) -> None:
    for kind in (Point, Same):
        with pytest.raises(TypeError):
            kind(*args, **named)


def test_a_frozen_one_is_not_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Point(1).x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(Point(1), "x")


def test_it_is_copied_and_asked_about() -> None:
    shelf = Shelf("a", [1])
    for made in (copy.copy(shelf), copy.deepcopy(shelf), pickle.loads(pickle.dumps(shelf))):
        assert made == shelf and type(made) is Shelf
    assert pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2)
    assert replace(Point(1, 2), x=5) == dataclasses.replace(Point(1, 2), x=5) == Point(5, 2)
    assert [each.name for each in dataclasses.fields(Shelf)] == ["label", "things", "seen"]
    assert inspect.signature(Point) == inspect.signature(Same)
