"""Properties that hold for whatever input; see README.md."""
