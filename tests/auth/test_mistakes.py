"""What is no question to anybody is refused where it is written, not at the first handshake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ws_middleware.auth import AnyOf, Basic, Bearer, Cookie, Digest, FirstMessage


def cookie(check: Any) -> Cookie:
    return Cookie("session", check)


@pytest.mark.parametrize("make", [AnyOf, Basic, Bearer, Digest, FirstMessage, cookie])
@pytest.mark.parametrize("wrong", ["sesame", [("ann", "sesame")], None])
def test_what_cannot_be_asked_is_refused(make: Callable[..., Any], wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"function.*, not (str|list|NoneType)$") as error:
        make(wrong)
    assert "sesame" not in str(error.value)


@pytest.mark.parametrize("make", [AnyOf, Basic, Bearer, Digest, FirstMessage, cookie])
def test_class_is_refused_as_calling_it_refuses_nobody(make: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"Basic is a class: make an object of it, Basic\(\.\.\.\)"):
        make(Basic)
