"""Sessions: who a cookie says that the browser is.

A browser sends its cookies wherever a page tells it to: they prove something only together
with an Origin, so a request without one is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

from ws_middleware.auth.identity import is_nobody, on_terms
from ws_middleware.auth.schemes import format_challenge, quote
from ws_middleware.auth.steps import in_steps
from ws_middleware.errors import Unauthorized
from ws_middleware.options import check_asked

if TYPE_CHECKING:
    from ws_middleware.request import Request

__all__ = ["Cookie"]


class Cookie:
    """Authenticate with a cookie, such as a framework's session.

    `check(value)`, plain or async, gives the identity, or an `Admitted` that says when the
    session expires; None and False refuse.

    >>> Cookie("session", {"5e55": "alice"}.get).challenges()
    ['Cookie realm="WebSocket", cookie-name="session"']
    """

    def __init__(self, name: str, check: Callable[[str], Any], *, realm: str = "WebSocket") -> None:
        self._name = name
        check_asked(check, "check is a function of the cookie's value")
        self._check = check
        #: Whether `check` may take long.
        self.blocking: bool = getattr(check, "blocking", True)
        # No RFC has this scheme, but a 401 needs a challenge (RFC 9110 §11.6.1).
        self._challenge = format_challenge(
            "Cookie", {"realm": quote(realm), "cookie-name": quote(name)}
        )

    def challenges(self, request: Request | None = None) -> Sequence[str]:
        """Give the challenge of a 401."""
        return [self._challenge]

    @in_steps
    def __call__(self, request: Request) -> Generator[Any, Any, Any]:
        """Give the identity behind the cookie; `Unauthorized` otherwise."""
        # Of cookies with one name the first has the longest path (RFC 6265 §5.4).
        value = request.cookies.get(self._name)
        if value is None:
            raise Unauthorized(self.challenges(), "there is no session cookie")
        identity = yield self._check(value)
        if is_nobody(identity):
            raise Unauthorized(self.challenges(), "the session is not valid")
        return on_terms(identity, ambient=True)
