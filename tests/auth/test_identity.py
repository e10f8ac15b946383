"""What an authenticator may tell beside the identity."""

from __future__ import annotations

import dataclasses

import pytest

from ws_middleware.auth import Admitted


def test_identity_alone_is_enough() -> None:
    admitted = Admitted("ann")
    assert (admitted.identity, admitted.expires_at) == ("ann", None)
    assert (admitted.headers, admitted.ambient) == ((), False)


def test_terms_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Admitted("ann").identity = "bob"  # type: ignore[misc]
