"""Validation (chapter 3 of the specification)."""

from tinywasm.validation.context import Context
from tinywasm.validation.externs import check_own_type
from tinywasm.validation.module import validate

__all__ = ["Context", "check_own_type", "validate"]
