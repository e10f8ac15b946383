"""Basic authentication: user and password, readable by everyone on the way (RFC 7617).

Use it with TLS. A user that is not known costs the same time as a wrong password.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ws_middleware.auth.answers import normalize
from ws_middleware.auth.identity import is_nobody
from ws_middleware.auth.reading import SecretsInTheOpen, read_credentials
from ws_middleware.auth.schemes import format_challenge, has_controls, quote
from ws_middleware.auth.steps import in_steps
from ws_middleware.auth.stores import Passwords
from ws_middleware.errors import Unauthorized
from ws_middleware.options import check_asked

if TYPE_CHECKING:
    from ws_middleware.request import Request

__all__ = ["Basic"]


class Basic:
    """Authenticate with a user name and a password (RFC 7617).

    `check` is a mapping from users to passwords, or a function `check(user, password)`, plain
    or async: True admits the user, any other object is the identity, None and False refuse.

    >>> Basic({"alice": "secret"}, realm="attic").challenges()
    ['Basic realm="attic", charset="UTF-8"']
    """

    def __init__(
        self,
        check: Mapping[str, str] | Callable[[str, str], Any],
        *,
        realm: str = "WebSocket",
    ) -> None:
        self._check = Passwords(check) if isinstance(check, Mapping) else check
        check_asked(self._check, "check is a mapping of users, or a function of user and password")
        #: Whether `check` may take long.
        self.blocking: bool = getattr(self._check, "blocking", True)
        self._challenge = format_challenge(
            "Basic", {"realm": quote(realm), "charset": quote("UTF-8")}
        )
        self._in_the_open = SecretsInTheOpen("Basic")

    def challenges(self, request: Request | None = None) -> Sequence[str]:
        """Give the challenge of a 401."""
        return [self._challenge]

    @in_steps
    def __call__(self, request: Request) -> Generator[Any, Any, Any]:
        """Give the identity of whoever sent a request; `Unauthorized` otherwise."""
        try:
            credentials = read_credentials(request, "basic")
            if credentials is None:
                raise Unauthorized(self.challenges())
            self._in_the_open.note(request)
            user, password = _decode(credentials.token68)
        except ValueError:
            raise Unauthorized(self.challenges(), "the Basic credentials are malformed") from None
        identity = yield self._check(user, password)
        if is_nobody(identity):
            raise Unauthorized(self.challenges(), "the user or the password is wrong")
        return user if identity is True else identity


def _decode(token68: str | None) -> tuple[str, str]:
    """Take user and password out of the credentials (RFC 7617 §2)."""
    try:
        text = base64.b64decode(token68 or "", validate=True).decode()
    except binascii.Error:
        raise ValueError("this is not base64") from None
    # "a user-id containing a colon character is invalid": the first one ends it.
    user, colon, password = text.partition(":")
    # "The user-id and password MUST NOT contain any control characters"
    if not colon or has_controls(text):
        raise ValueError("this is not a user, a colon and a password")
    return normalize(user), normalize(password)
