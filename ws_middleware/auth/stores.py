"""Passwords to check against: mappings of users, live, in plain text or hashed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any

from werkzeug.security import check_password_hash

from ws_middleware.auth.answers import digest_secret, hash_text, normalize
from ws_middleware.auth.signing import equals

__all__ = ["DigestPasswords", "HashedNames", "HashedPasswords", "Passwords"]

#: A password of usual length, for users that there are not.
_NOBODYS = "correct horse battery"


class Passwords:
    """Check passwords against a mapping from users to passwords.

    >>> Passwords({"alice": "secret"})("alice", "secret")
    True
    """

    blocking = False

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._passwords = passwords

    def __call__(self, user: str, password: str) -> bool:
        """Tell whether this is the user's password."""
        stored = self._passwords.get(user)
        # Someone unknown costs a comparison, too.
        expected = _NOBODYS if stored is None else stored
        return equals(password, normalize(expected)) and stored is not None


class HashedPasswords:
    """Check passwords against a mapping from users to hashes of `werkzeug.security`."""

    blocking = True

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = hashes

    def __call__(self, user: str, password: str) -> bool:
        """Tell whether this is the user's password."""
        stored = self._hashes.get(user)
        # Someone unknown costs what somebody else's hash costs.
        any_hash = stored or next(iter(self._hashes.values()), "")
        return check_password_hash(any_hash, password) and stored is not None


class DigestPasswords:
    """Compute the secrets of Digest from a mapping from users to passwords."""

    blocking = False

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._passwords = passwords

    def __call__(self, user: str, realm: str, algorithm: str) -> str | None:
        """Give the secret of a user; None for someone unknown."""
        stored = self._passwords.get(user)
        secret = digest_secret(algorithm, user, realm, _NOBODYS if stored is None else stored)
        return None if stored is None else secret

    def users(self) -> Set[str]:
        """List the users."""
        return self._passwords.keys()


class HashedNames:
    """Find the user behind a userhash (RFC 7616 §3.4.4) among those that a store has."""

    def __init__(self, store: Any, realm: str) -> None:
        if not hasattr(store, "users"):
            raise ValueError("userhash needs secrets that have users(), such as a mapping")
        self._users: Callable[[], Set[str]] = store.users
        self._realm = realm
        self._known: dict[str, frozenset[str]] = {}
        self._names: dict[str, dict[str, str]] = {}

    def __call__(self, hashed: str, algorithm: str) -> str | None:
        """Give the user, None where nobody has this hash."""
        user = self._names.get(algorithm, {}).get(hashed)
        if user is None and self._known.get(algorithm) != self._users():
            self._note_users(algorithm)
            user = self._names[algorithm].get(hashed)
        return user

    def _note_users(self, algorithm: str) -> None:
        self._known[algorithm] = users = frozenset(self._users())
        self._names[algorithm] = {hash_text(algorithm, user, self._realm): user for user in users}
