"""Several ways to prove who one is, of which any will do."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ws_middleware.auth.identity import is_nobody
from ws_middleware.auth.steps import in_steps
from ws_middleware.errors import Unauthorized
from ws_middleware.options import check_asked

if TYPE_CHECKING:
    from ws_middleware.request import Request

__all__ = ["AnyOf"]

#: Schemes from the strongest on; others come between these and the last.
_STRONGEST_FIRST = ("digest", "basic")
_LAST = ("bearer",)


class AnyOf:
    """Ask authenticators in their order; the first that admits a request decides.

    One that answers `Unauthorized` passes the request on; any other refusal is final. If
    nobody admits it, the 401 has all challenges, the strongest first. Put `FirstMessage` last.

    >>> from ws_middleware.auth import Basic, Digest
    >>> AnyOf(Digest({"alice": "secret"}), Basic({"alice": "secret"})).blocking
    False
    """

    def __init__(self, *authenticators: Callable[[Request], Any]) -> None:
        if not authenticators:
            raise ValueError("AnyOf needs at least one authenticator")
        for one in authenticators:
            check_asked(one, "an authenticator is a function of the request")
        self._authenticators = authenticators
        #: Whether any of them may take long.
        self.blocking: bool = any(getattr(one, "blocking", True) for one in authenticators)

    def challenges(self, request: Request) -> Sequence[str]:
        """Give the challenges of all that have some."""
        asked = (getattr(one, "challenges", _nothing) for one in self._authenticators)
        return _sort(challenge for challenges in asked for challenge in challenges(request))

    @in_steps
    def __call__(self, request: Request) -> Generator[Any, Any, Any]:
        """Give the first identity that is found; `Unauthorized` where none is."""
        challenges: list[str] = []
        reasons: list[str] = []
        for authenticator in self._authenticators:
            try:
                identity = yield authenticator(request)
            except Unauthorized as refusal:
                challenges += refusal.challenges
                reasons.append(refusal.reason)
            else:
                if not is_nobody(identity):
                    return identity
        if not challenges:
            return None
        raise Unauthorized(_sort(challenges), "; ".join(dict.fromkeys(reasons)))


def _nothing(request: Request) -> Sequence[str]:
    return ()


def _sort(challenges: Iterable[str]) -> list[str]:
    return sorted(challenges, key=_rank)


def _rank(challenge: str) -> int:
    scheme = challenge.partition(" ")[0].lower()
    if scheme in _LAST:
        return len(_STRONGEST_FIRST) + 1
    return (*_STRONGEST_FIRST, scheme).index(scheme)
