"""Where the sections of a binary module lie (section 5.5.2)."""

from __future__ import annotations

from collections.abc import Iterator

from tinywasm.binary.decoder import read_data, read_elem
from tinywasm.binary.names import read_name
from tinywasm.binary.sections import MAGIC, VERSION, Section
from tinywasm.codec import read_count
from tinywasm.errors import DecodeError
from tinywasm.records import record


@record(frozen=True)
class SectionExtent:
    """A section's bytes: its header from `start`, its content from `content` to `end`.

    `name` is a custom section's, None for the others.
    """

    id: Section
    name: str | None
    start: int
    content: int
    end: int


def section_extents(data: bytes) -> Iterator[SectionExtent]:
    """The sections of a module that `decode` accepts, in their order.

    Of another module, the sections that can be told apart; then `DecodeError` is raised.
    """
    pos = len(MAGIC + VERSION)
    while pos < len(data):
        try:
            section = Section(data[pos])
        except ValueError:
            raise DecodeError("malformed section id", pos) from None
        size, content = read_count(data, pos + 1)
        name = read_name(data, content)[0] if section is Section.CUSTOM else None
        yield SectionExtent(section, name, pos, content, content + size)
        pos = content + size


def segment_starts(data: bytes, section: SectionExtent) -> Iterator[int]:
    """Where the element or data segments of such a section begin.

    The last position is the end of the last one. Raises `DecodeError` where the section is malformed.
    """
    read = read_elem if section.id is Section.ELEMENT else read_data
    count, pos = read_count(data, section.content)
    yield pos
    for _ in range(count):
        _, pos = read(data, pos)
        yield pos
