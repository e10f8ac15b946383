"""Bearer tokens: whoever has one may use it (RFC 6750).

From the Authorization field and, where that is switched on, from a subprotocol or the query,
which is all that scripts in browsers can set. Only one place at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ws_middleware.auth.identity import Admitted, is_nobody, on_terms
from ws_middleware.auth.reading import (
    SecretsInTheOpen,
    read_credentials,
    take_from_query,
    take_from_subprotocols,
)
from ws_middleware.auth.schemes import format_challenge, quote
from ws_middleware.auth.signing import decode_base64url, fingerprint
from ws_middleware.auth.steps import in_steps
from ws_middleware.core.headers import is_token
from ws_middleware.errors import Reject, Unauthorized
from ws_middleware.options import check_asked

if TYPE_CHECKING:
    from ws_middleware.request import Request

__all__ = ["Bearer", "Tokens", "insufficient_scope"]


def insufficient_scope(scope: str, reason: str = "the token lacks a scope") -> Reject:
    """Make the refusal of a token that is valid but does not reach far enough (§3.1).

    A check of `Bearer` raises it; `scope` says what is needed, separated by spaces.
    """
    challenge = format_challenge(
        "Bearer", {"error": quote("insufficient_scope"), "scope": quote(scope)}
    )
    return Reject(403, reason, [("WWW-Authenticate", challenge)])


class Tokens:
    """Look tokens up in a mapping from tokens to identities, as it is now."""

    blocking = False

    def __init__(self, identities: Mapping[str, Any]) -> None:
        # Looked up by their hashes, whose places tell nothing of the tokens.
        self._identities = {fingerprint(token): who for token, who in identities.items()}

    def __call__(self, token: str) -> Any:
        """Give the identity that a token stands for, None for an unknown one."""
        return self._identities.get(fingerprint(token))


class Bearer:
    """Authenticate with a token (RFC 6750).

    `check` is a mapping from tokens to identities, or a function `check(token)`, plain or
    async: None and False refuse, anything else is the identity, or an `Admitted` that says
    when the token expires. `subprotocol` names the prefix of an offered subprotocol that
    holds the token in base64url, such as "bearer."; `query` names a query parameter, which
    others may log (§2.3).

    >>> Bearer({"t0ken": "alice"}, realm="attic").challenges()
    ['Bearer realm="attic"']
    """

    def __init__(
        self,
        check: Mapping[str, Any] | Callable[[str], Any],
        *,
        realm: str = "WebSocket",
        subprotocol: str | None = None,
        query: str | None = None,
    ) -> None:
        if subprotocol is not None and not is_token(subprotocol):
            raise ValueError(f"subprotocol={subprotocol!r} is not the prefix of a token")
        self._check = Tokens(check) if isinstance(check, Mapping) else check
        check_asked(self._check, "check is a mapping of tokens, or a function of the token")
        #: Whether `check` may take long.
        self.blocking: bool = getattr(self._check, "blocking", True)
        self._realm = quote(realm)
        self._subprotocol = subprotocol
        self._query = query
        self._in_the_open = SecretsInTheOpen("Bearer")

    def challenges(self, request: Request | None = None) -> Sequence[str]:
        """Give the challenge of a 401, without an error: nothing was presented (§3.1)."""
        return [self._challenge()]

    def _challenge(self, error: str = "") -> str:
        return format_challenge(
            "Bearer", {"realm": self._realm} | ({"error": quote(error)} if error else {})
        )

    @in_steps
    def __call__(self, request: Request) -> Generator[Any, Any, Any]:
        """Give the identity that a token stands for; `Unauthorized` otherwise."""
        queried = [] if self._query is None else take_from_query(request, self._query)
        try:
            tokens = [*self._presented(request), *queried]
        except ValueError:
            raise self._invalid_request("the Bearer credentials are malformed") from None
        if not tokens:
            raise Unauthorized(self.challenges())
        # "Clients MUST NOT use more than one method to transmit the token" (§2)
        if len(tokens) > 1:
            raise self._invalid_request("there is more than one Bearer token")
        self._in_the_open.note(request)
        identity = yield self._check(tokens[0])
        if is_nobody(identity):
            raise Unauthorized([self._challenge("invalid_token")], "the token is not valid")
        return _not_stored(on_terms(identity)) if queried else identity

    def _presented(self, request: Request) -> Generator[str, None, None]:
        """Give the tokens of header fields; `ValueError` for malformed ones."""
        if self._subprotocol is not None:
            for encoded in take_from_subprotocols(request, self._subprotocol):
                yield decode_base64url(encoded).decode()
        credentials = read_credentials(request, "bearer")
        if credentials is not None:
            if credentials.token68 is None:
                raise ValueError("this is not a token68 (RFC 6750 §2.1)")
            yield credentials.token68

    def _invalid_request(self, reason: str) -> Reject:
        return Reject(400, reason, [("WWW-Authenticate", self._challenge("invalid_request"))])


def _not_stored(admitted: Admitted) -> Admitted:
    """Keep caches from storing what answers a URL with a token in it (§2.3)."""
    return on_terms(admitted, headers=[*admitted.headers, ("Cache-Control", "no-store")])
