"""Every well-formed module of the suite survives the encoder and the printer, in whichever form it came."""

from __future__ import annotations

import pytest

from locate import Script
from modules import well_formed
from roundtrip import check_module, check_text, through_text
from tinywasm import binary
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
