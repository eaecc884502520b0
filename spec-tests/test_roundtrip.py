"""Every well-formed module of the suite survives encoder and printer, and has a right intermediate form."""

from __future__ import annotations

import pytest

from locate import Script
from modules import well_formed
from roundtrip import check_module, check_text, through_text
from tinywasm import binary
from tinywasm.engine.ir.build import build
from tinywasm.engine.ir.check import check
from tinywasm.errors import ValidationError
from tinywasm.types import FuncType
from tinywasm.validation import validate
from tinywasm.wast.suite import config_for, unsupported


def test_round_trip(script: Script) -> None:
    reason = unsupported(script.path)
    if reason:
        pytest.skip(reason)
    features = config_for(script.path).features
    for line, source in well_formed(script):
        try:
            module = source.decode(features)
            data = binary.encode(module)
            check_module(data, features)
            if source.kind == "binary":
                assert binary.decode(data, features) == module
                check_text(data, features)
            else:
                assert through_text(data, features) == data
        except Exception as error:
            error.add_note(f"the module at {script.name}:{line}")
            raise


def test_intermediate_form(script: Script) -> None:
    reason = unsupported(script.path)
    if reason:
        pytest.skip(reason)
    features = config_for(script.path).features
    for line, source in well_formed(script):
        module = source.decode(features)
        try:
            context = validate(module, features)
        except ValidationError:
            continue
        for index, function in enumerate(module.functions, context.imported_funcs):
            signature = context.funcs[index].composite
            assert isinstance(signature, FuncType)
            locals = len(signature.params) + sum(count for count, _ in function.locals)
            try:
                check(build(context, index, function), locals)
            except Exception as error:
                error.add_note(f"function {index} of the module at {script.name}:{line}")
                raise
