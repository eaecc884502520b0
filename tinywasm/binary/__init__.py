"""The binary format (chapter 5): `decode` and `encode`, and where sections lie."""

from tinywasm.binary.decoder import decode
from tinywasm.binary.encoder import encode
from tinywasm.binary.layout import SectionExtent, section_extents, segment_starts

__all__ = ["SectionExtent", "decode", "encode", "section_extents", "segment_starts"]
