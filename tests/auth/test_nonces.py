"""Nonces: nobody guesses them, they expire, and take no memory."""

from __future__ import annotations

import pytest

from ws_middleware.auth.nonces import Nonces
from ws_middleware.auth.signing import Signer

KEY = b"k" * 16


@pytest.mark.row(206)
def test_nonce_lives_for_its_time() -> None:
    nonces = Nonces(None, 60.0)
    nonce = nonces.make(1000.0)
    assert nonces.expiry(nonce, 1000.0) == 1060.0
    assert nonces.expiry(nonce, 1059.9) == 1060.0
    assert nonces.expiry(nonce, 1060.0) is None
    assert nonces.is_old(1060.0, 1031.0)
    assert not nonces.is_old(1060.0, 1029.0)


@pytest.mark.row(206)
def test_no_two_are_alike() -> None:
    nonces = Nonces(None, 60.0)
    assert len({nonces.make(0.0) for _ in range(1000)}) == 1000


@pytest.mark.fault(103)
def test_clock_that_is_put_back_does_not_give_another_life() -> None:
    nonces = Nonces(None, 60.0)
    assert nonces.expiry(nonces.make(4000.0), 400.0) is None
    assert nonces.expiry(nonces.make(4000.0), 3990.0) == 4060.0


@pytest.mark.row(227)
@pytest.mark.fault(40)
def test_nonces_of_others_are_not_ours() -> None:
    nonces = Nonces(KEY, 60.0)
    nonce = nonces.make(0.0)
    assert Nonces(None, 60.0).expiry(nonce, 0.0) is None
    assert Nonces(KEY, 60.0).expiry(nonce, 0.0) == 60.0
    for other in ("", "x" * 54, nonce[:-1], nonce + "A", Signer(KEY, "nonce").sign(b"short")):
        assert nonces.expiry(other, 0.0) is None


def test_lifetime_is_positive() -> None:
    with pytest.raises(ValueError, match="lifetime"):
        Nonces(None, 0)
