"""Benchmarks of tinywasm's engines and of its peers, side by side; see README.md."""
