"""What the compiled acceptance of function bodies offers to `bodies`."""

from array import array
from collections.abc import Mapping, Sequence

from tinywasm.types import ValType
from tinywasm.validation.bodies import Numbers

NON_NULL: int
DEFINED: int
ADDRESS: int
NO_PARENT: int
ROWS: int
ROW_SIZE: int
ROW_TYPES: int
FIRST_PREFIX: int
PREFIXED_ROWS: int
# The rules and kinds of immediates that it knows, by name, with their numbers.
IMMEDIATES: dict[str, int]
RULES: dict[str, int]
CLOSED: int

class Acceptor:
    """Looks at the bodies of one module; `values` gives the numbers of value types."""

    def __init__(self, context: Numbers, values: Mapping[ValType, int]) -> None: ...
    def accepts(
        self, type: int, locals: Sequence[tuple[int, ValType]], code: bytes, start: int, end: int
    ) -> bool:
        """Whether the body `code[start:end]` is certainly valid. False says nothing."""
    def accepts_entries(
        self, types: array[int], code: bytes, places: array[int], first: int, last: int
    ) -> int:
        """The first function from `first` on and before `last` of which it is not certain, else `last`.

        `types`, `code` and `places` are as `syntax.Functions` has them.
        """
