"""The implementations of the codec and of the lanes that tests run on: each that may be used here.

With `WS_MIDDLEWARE_PURE=1` that is Python alone. In CI a missing C codec is a failure.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest
from _pytest.mark import ParameterSet

from ws_middleware.core import lanes, pure

__all__ = ["ACCELERATED", "COMPILED", "IMPLEMENTATIONS", "LANES", "find_implementations"]

ACCELERATED = ("decode_messages", "decode_frames", "encode_frame", "mask", "mask_in_place")
COMPILED = "ws_middleware.core._speedups"


def find_implementations(reference: ModuleType) -> list[ParameterSet]:
    """List the module that is the reference, and C in its place where that was built."""
    found = [pytest.param(reference, id="python")]
    if os.environ.get("WS_MIDDLEWARE_PURE", "0") in ("", "0"):
        try:
            found.append(pytest.param(importlib.import_module(COMPILED), id="c"))
        except ImportError:
            if os.environ.get("CI") == "true":
                raise
            found.append(pytest.param(None, id="c", marks=pytest.mark.skip("C was not built")))
    return found


IMPLEMENTATIONS = find_implementations(pure)
LANES = find_implementations(lanes)
