"""What construct asks of it."""


def system() -> str:
    """Of which nothing depends but that it is not Windows."""
    return ""
