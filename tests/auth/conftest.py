"""Properties of authentication are searched as all others are."""

from __future__ import annotations

from tests.properties import conftest as properties

__all__ = ["properties"]
