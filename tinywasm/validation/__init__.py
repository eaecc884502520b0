"""Validation (chapter 3 of the specification)."""
