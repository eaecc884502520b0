"""What `dataclasses` asks of it: the signature in the docstring of a class that has none."""


def signature(callable: object) -> str:
    """Nobody reads it here."""
    return ""
