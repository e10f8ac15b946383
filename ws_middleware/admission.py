"""Whether somebody may connect: the authenticator is asked, then the hook, then the caps.

Rule 1: without an authenticator nobody is asked; with one, whoever is not known is refused.
Rule 2: what a user's function raises by mistake is a 500 and one traceback, never a
connection. Rule 3: failures that guess are counted for their address.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from ws_middleware.asking import Ask
from ws_middleware.auth.first_message import FirstMessage
from ws_middleware.auth.identity import Admitted, is_nobody
from ws_middleware.core.headers import check_fields, field_values
from ws_middleware.errors import Forbidden, HandshakeError, Unauthorized
from ws_middleware.gate import Gate, Place
from ws_middleware.options import Options
from ws_middleware.request import Request

__all__ = ["NOBODY", "Admission"]

logger: logging.Logger = logging.getLogger("ws_middleware")

#: Who connects where nobody is asked.
NOBODY = Admitted(None)


class Admission:
    """Be the admission of one peer, at its place in the gate."""

    def __init__(self, request: Request, options: Options, gate: Gate) -> None:
        self._request = request
        self._options = options
        self._gate = gate
        self.place: Place = gate.enter(request.remote_address, options)

    async def by_request(self, ask: Ask) -> Admitted | FirstMessage:
        """Admit by the request; a `FirstMessage` puts the question off."""
        authenticate = self._options.authenticate
        if authenticate is None:
            return await self._accept(NOBODY, ask)
        outcome = await self._examine(ask, authenticate, self._request)
        if isinstance(outcome.identity, FirstMessage):
            return outcome.identity
        if outcome.ambient and self._request.origin is None:
            # What a browser sends by itself proves nothing where it may come from any page.
            raise Forbidden("a cookie counts only beside an Origin field")
        return await self._accept(outcome, ask)

    async def by_message(self, first: FirstMessage, message: Any, ask: Ask) -> Admitted:
        """Admit by the first message of a connection that is open already."""
        outcome = await self._examine(ask, first.check, message, self._request, presented=True)
        return await self._accept(outcome, ask)

    async def _examine(
        self, ask: Ask, function: Callable[..., Any], *arguments: Any, presented: bool = False
    ) -> Admitted:
        """Ask who the peer is; `Forbidden` where there is no answer.

        A refusal is counted where credentials were `presented`, or are in the request.
        """
        try:
            admitted = _as_admitted(await self._ask(ask, function, *arguments))
            if is_nobody(admitted.identity):
                raise Forbidden
            if admitted.expires_at is not None and admitted.expires_at <= time.time():
                raise Forbidden("the credentials have expired")
        except HandshakeError as error:
            if _is_guess(error, presented or _presents_credentials(self._request)):
                self._gate.note_failure(self._request.remote_address, self._options)
            raise
        return admitted

    async def _accept(self, admitted: Admitted, ask: Ask) -> Admitted:
        """Ask the hook, and count the connection as one of its identity's."""
        admit = self._options.admit
        if admit is not None:
            outcome = await self._ask(ask, admit, self._request, admitted.identity)
            if outcome is False:
                raise Forbidden
        self.place.identify(admitted.identity, self._options.max_connections_per_identity)
        return admitted

    async def _ask(self, ask: Ask, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            outcome = await ask(function, *arguments)
            check_fields(_as_admitted(outcome).headers)
            return outcome
        except HandshakeError:
            raise
        except Exception:
            logger.exception("%s failed for %a", _name(function), self._request.path)
            raise HandshakeError(500, "internal error") from None


def _as_admitted(outcome: Any) -> Admitted:
    return outcome if isinstance(outcome, Admitted) else Admitted(outcome)


def _name(function: Callable[..., Any]) -> str:
    """Name a function for the log; what `repr` says of an object may be secret."""
    name: str = getattr(function, "__qualname__", type(function).__qualname__)
    return name


def _presents_credentials(request: Request) -> bool:
    return request.has_withdrawn or bool(field_values(request.head.fields, "authorization"))


def _is_guess(error: HandshakeError, presented: bool) -> bool:
    """Tell whether a refusal answers credentials, and not just a first, bare request."""
    if not isinstance(error, Unauthorized):
        return error.status == 403
    # "stale" says that the digest was right, and the nonce too old (RFC 7616 §3.3).
    return presented and not any("stale=true" in one for one in error.challenges)
