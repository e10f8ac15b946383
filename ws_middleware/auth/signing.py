"""Texts that only we can have written: signed with HMAC, in base64url, without any state.

Whatever is secret is compared here, in a time that does not depend on where it differs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Sequence
from typing import Any

__all__ = ["Signer", "decode_base64url", "encode_base64url", "equals", "fingerprint"]

#: 128 bits, which nobody guesses.
MAC_SIZE = 16
#: Changes with every start: what `fingerprint` gives is of no use elsewhere.
_FINGERPRINT_KEY = os.urandom(32)


def fingerprint(text: str) -> bytes:
    """Hash a secret of any length, so that comparing tells nothing of it, not its length either."""
    data = text.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(data, key=_FINGERPRINT_KEY, digest_size=32).digest()


def equals(one: str, other: str) -> bool:
    """Compare two secrets in constant time (RFC 7617 §4).

    >>> equals("open sesame", "open")
    False
    """
    return hmac.compare_digest(fingerprint(one), fingerprint(other))


def encode_base64url(data: bytes) -> str:
    """Write base64url without padding (RFC 4648 §5).

    >>> encode_base64url(b"user")
    'dXNlcg'
    """
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64url(text: str) -> bytes:
    """Read base64url without padding; `ValueError` for anything else."""
    try:
        data = text.encode("ascii")
        padded = data.translate(_FROM_URL) + b"=" * (-len(data) % 4)
        decoded = base64.b64decode(padded, validate=True)
    except (UnicodeError, binascii.Error):
        raise ValueError("this is not base64url (RFC 4648 §5)") from None
    # One text for one value: no other alphabet, no stray bits at the end.
    if encode_base64url(decoded) != text:
        raise ValueError("this is not base64url (RFC 4648 §5)")
    return decoded


_FROM_URL = bytes.maketrans(b"-_", b"+/")


class Signer:
    """Sign with the first key, accept the signature of any: so keys can be replaced.

    Without a key it takes one of its own, which another process has not, a child neither.
    `purpose` keeps texts apart that are signed with the same key.
    """

    def __init__(self, keys: bytes | Sequence[bytes] | None, purpose: str) -> None:
        self._keys = _check_keys(keys)
        self._own_key = os.urandom(32)
        self._purpose = purpose.encode()

    def sign(self, payload: bytes) -> str:
        """Sign a payload; gives text of letters, digits, "-" and "_"."""
        key, *_ = self._current_keys()
        return encode_base64url(payload + self._mac(key, payload))

    def open(self, text: str) -> bytes | None:
        """Give the payload of a signed text; None when none of the keys signed it."""
        try:
            data = decode_base64url(text)
        except ValueError:
            return None
        payload, mac = data[:-MAC_SIZE], data[-MAC_SIZE:]
        matches = [
            hmac.compare_digest(mac, self._mac(key, payload)) for key in self._current_keys()
        ]
        return payload if any(matches) else None

    def _current_keys(self) -> Sequence[bytes]:
        return self._keys or [self._own_key + os.getpid().to_bytes(8, "big")]

    def _mac(self, key: bytes, payload: bytes) -> bytes:
        return hmac.digest(key, self._purpose + b"\0" + payload, "sha256")[:MAC_SIZE]


def _check_keys(keys: bytes | Sequence[bytes] | None) -> Sequence[bytes]:
    listed: list[Any] = [keys] if isinstance(keys, bytes) else [*(keys or ())]
    for key in listed:
        if not isinstance(key, bytes) or len(key) < 16:
            raise ValueError("a key is at least 16 random bytes: secrets.token_bytes(32)")
    if keys is not None and not listed:
        raise ValueError("the list of keys is empty; None takes a random one")
    return listed
