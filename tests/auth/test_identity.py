"""An identity and its terms."""

from __future__ import annotations

from ws_middleware.auth.identity import Admitted, admit


def test_terms_come_beside_an_identity_or_to_others() -> None:
    assert admit("alice", ambient=True) == Admitted("alice", ambient=True)
    first = Admitted("alice", expires_at=1.0)
    assert admit(first, ambient=True) == Admitted("alice", expires_at=1.0, ambient=True)
