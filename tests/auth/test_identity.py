"""What an authenticator may tell beside the identity."""

from __future__ import annotations

import dataclasses

import pytest

from ws_middleware.auth.identity import Admitted, on_terms


def test_identity_alone_is_enough() -> None:
    admitted = Admitted("ann")
    assert (admitted.identity, admitted.expires_at) == ("ann", None)
    assert (admitted.headers, admitted.ambient) == ((), False)


def test_terms_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Admitted("ann").identity = "bob"  # type: ignore[misc]


def test_terms_come_beside_an_identity_or_to_others() -> None:
    assert on_terms("alice", ambient=True) == Admitted("alice", ambient=True)
    first = Admitted("alice", expires_at=1.0)
    assert on_terms(first, ambient=True) == Admitted("alice", expires_at=1.0, ambient=True)
