"""Tickets: what a browser without credentials of its own shows to open one WebSocket.

A page asks for one over HTTP, where its session counts, and passes it on at once. It is signed,
lives for seconds, can be used once, and only for its path and by pages of its origin.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ws_middleware.auth.reading import paths_of, take_from_query, take_from_subprotocols
from ws_middleware.auth.schemes import format_challenge, quote
from ws_middleware.auth.signing import Signer
from ws_middleware.auth.spent import Spend, Spent
from ws_middleware.auth.steps import in_steps
from ws_middleware.auth.views import AsgiView, WsgiView
from ws_middleware.core.origins import parse_origin
from ws_middleware.errors import Reject, Unauthorized

if TYPE_CHECKING:
    from ws_middleware.request import Request

__all__ = ["Ticket"]


class Terms(NamedTuple):
    """Hold what a ticket says; `path` and `origin` are None where any will do."""

    identity: Any
    path: str | None
    origin: str | None
    expires: float
    number: str


class Ticket:
    """Issue one-use tickets, and authenticate with them.

    A ticket stands in the query parameter `ticket`, or in an offered subprotocol behind
    `ticket.`; either is withdrawn before anybody else sees the request. All processes that
    issue or take tickets need one `key` (16 random bytes or more; of a list the first signs).
    That a ticket was used is remembered by each process for itself, unless `spent` is a
    function of yours that all of them share: see `Spend`.

    >>> ticket = Ticket(b"sixteen bytes or more", clock=lambda: 0.0)
    >>> ticket.issue("alice", path="/chat").isascii()
    True
    """

    def __init__(
        self,
        key: bytes | Sequence[bytes] | None = None,
        *,
        lifetime: float = 30.0,
        spent: Spend | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not lifetime > 0:
            raise ValueError(f"lifetime={lifetime!r} is not a positive number")
        self._signer = Signer(key, "ticket")
        self.lifetime = lifetime
        self._spend: Spend = Spent(clock=clock) if spent is None else spent
        self._clock = clock
        #: Whether `spent` may take long.
        self.blocking: bool = getattr(self._spend, "blocking", True)

    def issue(self, identity: Any, *, path: str | None = None, origin: str | None = None) -> str:
        """Issue a ticket for an identity, which is anything that JSON can hold.

        `path` is the decoded path of the WebSocket's URL, `origin` that of the page, such as
        "https://example.org"; None admits any. `ValueError` where one of them is none.
        """
        if path is not None and not path.startswith("/"):
            raise ValueError(f"path={path!r} does not begin with a slash")
        if origin not in (None, "null"):
            parse_origin(origin)
        number = os.urandom(16).hex()
        terms = Terms(identity, path, origin, self._clock() + self.lifetime, number)
        return self._signer.sign(json.dumps(terms, separators=(",", ":")).encode())

    def challenges(self, request: Request | None = None) -> Sequence[str]:
        """Give the challenge of a 401."""
        # No RFC has this scheme, but a 401 needs a challenge (RFC 9110 §11.6.1).
        return [format_challenge("Ticket", {"realm": quote("WebSocket")})]

    @in_steps
    def __call__(self, request: Request) -> Generator[Any, Any, Any]:
        """Give the identity that a ticket was issued for; `Unauthorized` otherwise."""
        texts = take_from_query(request, "ticket") + take_from_subprotocols(request, "ticket.")
        if not texts:
            raise Unauthorized(self.challenges(), "there is no ticket")
        if len(texts) > 1:
            raise Reject(400, "there is more than one ticket")
        terms = self._read(texts[0], request)
        if not (yield self._spend(terms.number, terms.expires)):
            raise Unauthorized(self.challenges(), "the ticket was used before")
        return terms.identity

    def _read(self, text: str, request: Request) -> Terms:
        payload = self._signer.open(text)
        if payload is None:
            raise Unauthorized(self.challenges(), "the ticket is not one of ours")
        terms = Terms(*json.loads(payload))
        if not self._clock() < terms.expires:
            raise Unauthorized(self.challenges(), "the ticket has expired")
        if terms.path is not None and terms.path not in paths_of(request):
            raise Unauthorized(self.challenges(), "the ticket is for another path")
        if terms.origin not in (None, request.origin):
            raise Unauthorized(self.challenges(), "the ticket is for another origin")
        return terms

    def wsgi(self, identify: Callable[[dict[str, Any]], Any]) -> WsgiView:
        """Make a WSGI app that issues tickets: `POST ?path=/chat` gives `{"ticket": ...}`.

        `identify(environ)` gives the identity of whoever asks, None for nobody.
        """
        return WsgiView(self.issue, self.lifetime, identify)

    def asgi(self, identify: Callable[[Any], Any]) -> AsgiView:
        """Make an ASGI app that issues tickets: `POST ?path=/chat` gives `{"ticket": ...}`.

        `identify(scope)`, plain or async, gives the identity of whoever asks, None for nobody.
        """
        return AsgiView(self.issue, self.lifetime, identify)
