"""The tests, by package, and what several of them need."""
