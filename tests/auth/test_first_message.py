"""The question is put off until the first message."""

from __future__ import annotations

import pytest

from tests.auth.asking import make_request
from ws_middleware.auth.first_message import FirstMessage


def test_question_is_put_off() -> None:
    later = FirstMessage(print, timeout=3.0)
    assert later(make_request()) is later
    assert later.timeout == 3.0
    assert later.check is print


@pytest.mark.parametrize("timeout", [0, -1])
def test_timeout_is_positive(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        FirstMessage(print, timeout=timeout)
