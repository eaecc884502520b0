"""Validation (chapter 3 of the specification)."""

from tinywasm.validation.context import Context
from tinywasm.validation.extern_types import check_own_type
from tinywasm.validation.validator import validate

__all__ = ["Context", "check_own_type", "validate"]
