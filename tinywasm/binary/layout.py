"""Where the sections of a binary module lie (section 5.5.2)."""

from __future__ import annotations

from dataclasses import dataclass

from tinywasm.binary.names import read_name
from tinywasm.binary.sections import MAGIC, VERSION, Section
from tinywasm.code import read_count


@dataclass(frozen=True, slots=True)
class SectionExtent:
    """A section's bytes: its header from `start`, its content from `content` to `end`.

    `name` is a custom section's, None for the others.
    """

    id: Section
    name: str | None
    start: int
    content: int
    end: int


def section_extents(data: bytes) -> list[SectionExtent]:
    """The sections of a module that `decode` accepts, in their order."""
    extents, pos = [], len(MAGIC + VERSION)
    while pos < len(data):
        section = Section(data[pos])
        size, content = read_count(data, pos + 1)
        name = read_name(data, content)[0] if section is Section.CUSTOM else None
        extents.append(SectionExtent(section, name, pos, content, content + size))
        pos = content + size
    return extents
