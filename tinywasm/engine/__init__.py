"""Engines: what runs validated code. `call` and `evaluate` are the whole interface."""

from tinywasm.config import Config, Engine
from tinywasm.engine.lower import lower_constant
from tinywasm.engine.python import call, evaluate

__all__ = ["Config", "Engine", "call", "evaluate", "lower_constant"]
