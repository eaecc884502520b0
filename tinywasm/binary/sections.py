"""What decoder and encoder share of the module's frame (sections 5.5.1, 5.5.2 and 5.5.17)."""

from __future__ import annotations

import enum

MAGIC = b"\0asm"
VERSION = b"\1\0\0\0"


class Section(enum.IntEnum):
    """Section ids."""

    CUSTOM = 0
    TYPE = 1
    IMPORT = 2
    FUNCTION = 3
    TABLE = 4
    MEMORY = 5
    GLOBAL = 6
    EXPORT = 7
    START = 8
    ELEMENT = 9
    CODE = 10
    DATA = 11
    DATA_COUNT = 12
    TAG = 13


ORDER = (
    Section.TYPE,
    Section.IMPORT,
    Section.FUNCTION,
    Section.TABLE,
    Section.MEMORY,
    Section.TAG,
    Section.GLOBAL,
    Section.EXPORT,
    Section.START,
    Section.ELEMENT,
    Section.DATA_COUNT,
    Section.CODE,
    Section.DATA,
)

# The first byte of a type definition (sections 5.3.7 and 5.3.8).
FUNC, STRUCT, ARRAY = 0x60, 0x5F, 0x5E
REC, SUB, SUB_FINAL = 0x4E, 0x50, 0x4F

# The bits of the limits' flags (section 5.3.9, and the custom-page-sizes proposal).
HAS_MAX, ADDRESS_64, HAS_PAGE_SIZE = 0x01, 0x04, 0x08

# The bits of an element segment's kind (section 5.5.12). EXPLICIT is a table index in an active segment,
# and makes another one declarative.
NOT_ACTIVE, EXPLICIT, EXPRESSIONS = 0x01, 0x02, 0x04

TABLE_WITH_INIT = b"\x40\x00"
