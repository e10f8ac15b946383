"""What an authenticator may tell beside the identity: until when, how, and what to answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ws_middleware.core.headers import Fields

__all__ = ["Admitted", "is_nobody", "on_terms"]


@dataclass(frozen=True, slots=True)
class Admitted:
    """Hold an identity together with the terms of its admission.

    `expires_at`, in seconds since the epoch, is when the connection is closed with 4401;
    `headers` are further fields of the 101; `ambient` says that a browser sends the proof by
    itself, as it does a cookie, so that a request without an Origin is refused.
    """

    identity: Any
    expires_at: float | None = None
    headers: Fields = ()
    ambient: bool = False


def is_nobody(identity: Any) -> bool:
    """Tell whether this stands for nobody: None, or the False of a comparison that failed."""
    return identity is None or identity is False


def on_terms(identity: Any, **terms: Any) -> Admitted:
    """Put terms beside an identity, which may have some already."""
    if isinstance(identity, Admitted):
        return replace(identity, **terms)
    return Admitted(identity, **terms)
