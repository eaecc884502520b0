"""The intermediate form between validation and the engines: see `form`."""
