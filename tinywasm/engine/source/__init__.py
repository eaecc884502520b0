"""The source tier of the python engine: hot functions become Python functions."""
