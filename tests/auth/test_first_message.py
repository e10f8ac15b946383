"""A question that is put off until the first message."""

from __future__ import annotations

import pytest

from ws_middleware.auth import FirstMessage


def test_question_is_put_off() -> None:
    first = FirstMessage(len, timeout=3)
    assert first(object()) is first
    assert (first.check, first.timeout, first.blocking) == (len, 3, False)


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_timeout_is_positive(timeout: float) -> None:
    with pytest.raises(ValueError, match="is not a positive number"):
        FirstMessage(len, timeout)
