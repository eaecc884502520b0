"""Long runs of host and enclaves under load; see `__main__`."""
