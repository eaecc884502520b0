"""Objects that stand for something in this process."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex


class Unique:
    """Cannot be copied or pickled: what it stands for would not come along."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled: it belongs to this process")
