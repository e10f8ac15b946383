"""What answers a challenge: a password, by Basic or Digest as the server wants it, or a token.

A nonce is used again, with a counted `nc`, for as long as the server takes it (RFC 7616 §3.4).
A space is what a password is good for: one server, or one proxy.
"""

from __future__ import annotations

import abc
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from ws_middleware.auth.answers import ALGORITHMS, basic_credentials, digest_credentials
from ws_middleware.auth.schemes import Challenge
from ws_middleware.core.headers import is_token

__all__ = ["Credentials", "Password", "Token"]

_BASIC = Challenge("basic", {})


class Credentials(abc.ABC):
    """Be what a client shows to servers that ask who it is."""

    @abc.abstractmethod
    def anticipate(self, space: str, method: str, target: str) -> str | None:
        """Give the value to send before anything was asked; None for nothing."""

    @abc.abstractmethod
    def answer(
        self, space: str, method: str, target: str, challenges: Iterable[Challenge], refused: bool
    ) -> str | None:
        """Answer the challenges, `refused` where an answer to others just was; None gives up."""


@dataclass(frozen=True, slots=True)
class Token(Credentials):
    """Show a bearer token (RFC 6750), without being asked; use it over wss alone.

    >>> Token("abc").anticipate("wss://localhost:443", "GET", "/")
    'Bearer abc'
    """

    token: str

    def __post_init__(self) -> None:
        if not is_token(self.token.replace("/", "").rstrip("=")):
            raise ValueError("this is not a bearer token (RFC 6750 §2.1)")

    def __repr__(self) -> str:
        return "Token(...)"

    def anticipate(self, space: str, method: str, target: str) -> str:
        """Give the token."""
        return f"Bearer {self.token}"

    def answer(
        self, space: str, method: str, target: str, challenges: Iterable[Challenge], refused: bool
    ) -> None:
        """Give up: it was not good enough."""


class Password(Credentials):
    """Show a user's password, by the strongest scheme that the server offers.

    Digest with SHA-512-256, SHA-256 or MD5, then Basic. One object remembers, for each server,
    what that wanted; any number of connections and threads may share it.
    """

    def __init__(self, user: str, password: str) -> None:
        self.user = user
        self._password = password
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Challenge, int]] = {}  # by space: with the last count

    def __repr__(self) -> str:
        return f"Password({self.user!r}, ...)"

    def anticipate(self, space: str, method: str, target: str) -> str | None:
        """Answer the challenge that this server had the last time."""
        return self._answer_known(space, method, target) if space in self._known else None

    def answer(
        self, space: str, method: str, target: str, challenges: Iterable[Challenge], refused: bool
    ) -> str | None:
        """Answer the strongest challenge; a second one only where the nonce was too old."""
        challenge = _strongest(challenges)
        if challenge is None or (refused and not _is_stale(challenge)):
            return None
        with self._lock:
            self._known[space] = challenge, 0
        return self._answer_known(space, method, target)

    def _answer_known(self, space: str, method: str, target: str) -> str:
        with self._lock:
            challenge, count = self._known[space]
            self._known[space] = challenge, count + 1
        if challenge.scheme == "basic":
            return basic_credentials(self.user, self._password)
        return digest_credentials(
            challenge,
            self.user,
            self._password,
            uri=target,
            cnonce=os.urandom(12).hex(),
            count=count + 1,
            method=method,
        )


def _strongest(challenges: Iterable[Challenge]) -> Challenge | None:
    ranked = [(rank, one) for one in challenges if (rank := _rank(one)) is not None]
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _rank(challenge: Challenge) -> int | None:
    """Tell how weak a challenge is; None for one that has to be ignored (RFC 7616 §3.7)."""
    asked = challenge.parameters
    if challenge.scheme == "basic":
        return len(ALGORITHMS)
    algorithm = asked.get("algorithm", "MD5").upper().removesuffix("-SESS")
    options = [option.strip().lower() for option in asked.get("qop", "auth").split(",")]
    answerable = {"realm", "nonce"} <= asked.keys() and "auth" in options
    if challenge.scheme != "digest" or algorithm not in ALGORITHMS or not answerable:
        return None
    return list(ALGORITHMS).index(algorithm)


def _is_stale(challenge: Challenge) -> bool:
    return challenge.parameters.get("stale", "").lower() == "true"
