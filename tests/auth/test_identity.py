"""What an authenticator may tell beside the identity."""

from __future__ import annotations

import dataclasses

import pytest

from ws_middleware.auth.identity import Admitted, is_nobody, on_terms


def test_identity_alone_is_enough() -> None:
    admitted = Admitted("ann")
    assert (admitted.identity, admitted.expires_at) == ("ann", None)
    assert (admitted.headers, admitted.ambient) == ((), False)


@pytest.mark.parametrize(
    ("identity", "nobody"), [(None, True), (False, True), (0, False), ("", False), (True, False)]
)
def test_none_and_false_stand_for_nobody(identity: object, nobody: bool) -> None:
    assert is_nobody(identity) is nobody


def test_terms_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Admitted("ann").identity = "bob"  # type: ignore[misc]


def test_terms_come_beside_an_identity_or_to_others() -> None:
    assert on_terms("alice", ambient=True) == Admitted("alice", ambient=True)
    first = Admitted("alice", expires_at=1.0)
    assert on_terms(first, ambient=True) == Admitted("alice", expires_at=1.0, ambient=True)
