"""Nonces of our own, without any memory of them: a time and random bytes, signed."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

from ws_middleware.auth.signing import Signer

__all__ = ["Nonces"]

_TIME = struct.Struct(">d")


class Nonces:
    """Make nonces and tell until when one may be used; times in seconds since the epoch."""

    def __init__(self, keys: bytes | Sequence[bytes] | None, lifetime: float) -> None:
        if not lifetime > 0:
            raise ValueError(f"lifetime={lifetime!r} is not a positive number")
        self._signer = Signer(keys, "nonce")
        self._lifetime = lifetime

    def make(self, now: float) -> str:
        """Make one that nobody can guess."""
        return self._signer.sign(_TIME.pack(now) + os.urandom(16))

    def expiry(self, nonce: str, now: float) -> float | None:
        """Give when a nonce expires; None when it has, or when it is not one of ours."""
        payload = self._signer.open(nonce)
        if payload is None or len(payload) != _TIME.size + 16:
            return None
        (made,) = _TIME.unpack_from(payload)
        # A clock that was put back must not give old nonces another life.
        return made + self._lifetime if abs(now - made) < self._lifetime else None

    def is_old(self, expiry: float, now: float) -> bool:
        """Tell whether most of a nonce's time is over."""
        return expiry - now < self._lifetime / 2
