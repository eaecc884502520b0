"""Validation (chapter 3 of the specification)."""

from tinywasm.validation.context import Context
from tinywasm.validation.module import validate

__all__ = ["Context", "validate"]
