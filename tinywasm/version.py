"""The version, as setup.cfg has it; here for who runs from a checkout that is not installed."""

VERSION = "0.1.0"
