"""Everything this package raises.

A peer's mistake is a `ProtocolError` and never leaves the endpoint; a caller's mistake is
raised at the call; the end of a connection is a `ConnectionClosed`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ws_middleware.core.headers import check_fields

__all__ = [
    "ConcurrencyError",
    "ConnectionClosed",
    "Forbidden",
    "HandshakeError",
    "HandshakeRefused",
    "ProtocolError",
    "ProxyError",
    "Reject",
    "Unauthorized",
    "UnexpectedMessageError",
    "UnsupportedError",
    "WebSocketError",
]


class WebSocketError(Exception):
    """Be the base of all exceptions of this package."""


class ProtocolError(WebSocketError):
    """Say how the peer broke the protocol, and which close code answers it.

    Raised by the codec, the assembler and by extensions; the endpoint turns it into a close
    frame, so applications only see it as the cause of a `ConnectionClosed`.
    """

    def __init__(self, reason: str, code: int = 1002) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class HandshakeError(WebSocketError):
    """Refuse an opening handshake, of a client with an HTTP response.

    `status` is the HTTP status, 0 where a server's answer had none; `headers` are fields the
    status requires (RFC 9110), such as `Allow` for 405; the reason is the response's body, so
    it never holds secrets.
    """

    def __init__(self, status: int, reason: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers: tuple[tuple[str, str], ...] = tuple(headers)
        #: The response's content; where no field says otherwise it is text.
        self.body: bytes = (reason + "\n").encode()
        #: The close code for those who never see the status (setting: readable).
        self.close_code: int = 4000 + status


class Reject(HandshakeError):
    """Refuse a handshake with exactly this response, from an authenticator or a hook of yours.

    `reason` stands in the log and, unless `body` is given, in the response: it holds no
    secrets. `close_code` is what scripts see where `readable` is set, 4000 + status by default.

    >>> Reject(402, "the trial is over", [("Link", "</pay>")]).close_code
    4402
    """

    def __init__(
        self,
        status: int,
        reason: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | str | None = None,
        close_code: int | None = None,
    ) -> None:
        if not 400 <= status <= 599:
            raise ValueError(f"status {status} does not refuse a request; take one of 400 to 599")
        check_fields(headers)
        super().__init__(status, reason, headers)
        if body is not None:
            self.body: bytes = body.encode() if isinstance(body, str) else body
        if close_code is not None:
            self.close_code: int = close_code


class Unauthorized(Reject):
    """Refuse with 401 until the peer proves who it is; one challenge for each way to do that.

    >>> Unauthorized(['Basic realm="attic"']).headers
    (('WWW-Authenticate', 'Basic realm="attic"'),)
    """

    def __init__(
        self, challenges: Sequence[str], reason: str = "authentication is required"
    ) -> None:
        # "A server generating a 401 … response MUST send a WWW-Authenticate header field
        # containing at least one challenge" (RFC 9110 §11.6.1)
        if isinstance(challenges, str) or not challenges:
            raise ValueError("a 401 needs a list with at least one challenge (RFC 9110 §11.6.1)")
        super().__init__(401, reason, [("WWW-Authenticate", one) for one in challenges])
        self.challenges: tuple[str, ...] = tuple(challenges)


class Forbidden(Reject):
    """Refuse with 403: who the peer is does not help, or nothing can show it."""

    def __init__(self, reason: str = "you may not connect here") -> None:
        super().__init__(403, reason)


class HandshakeRefused(HandshakeError):
    """Tell a client with which HTTP response a server refused to open a WebSocket.

    `status` and `headers` are the response's, `body` is the beginning of its body.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        super().__init__(status, reason, headers)
        self.body: bytes = body


class ProxyError(HandshakeRefused, ConnectionError):
    """Tell that a proxy did not lead to the server; `status` is 0 where it gave none."""


class ConnectionClosed(WebSocketError):
    """Tell that the connection is closed, with which code, and by whom.

    `code` and `reason` are those of the peer's close frame: 1005 when it held no code, 1006
    when none came (RFC 6455 §7.1.5). `sent_code` and `sent_reason` are ours, None when we
    sent no close frame. `by_peer` is true when the peer began to close.
    """

    def __init__(
        self,
        code: int,
        reason: str = "",
        *,
        sent_code: int | None = None,
        sent_reason: str = "",
        by_peer: bool = True,
        detail: str = "",
    ) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.sent_code = sent_code
        self.sent_reason = sent_reason
        self.by_peer = by_peer
        self.detail = detail

    @property
    def is_clean(self) -> bool:
        """Tell whether both ends simply had finished (codes 1000 and 1001)."""
        return self.code in (1000, 1001)

    def __str__(self) -> str:
        parts = [f"closed with {self.code}"]
        if self.reason:
            parts.append(f"({self.reason})")
        parts.append("by the peer" if self.by_peer else "by this side")
        if self.sent_code is not None and not self.by_peer:
            parts.append(f"which sent {self.sent_code}")
            if self.sent_reason:
                parts.append(f"({self.sent_reason})")
        if self.detail:
            parts.append(f"- {self.detail}")
        return " ".join(parts)


class ConcurrencyError(WebSocketError, RuntimeError):
    """Refuse a second receiver: one thread or task receives at a time."""


class UnexpectedMessageError(WebSocketError, TypeError):
    """Tell that a message of the other kind came; `message` holds it, so it is not lost."""

    def __init__(self, reason: str, message: str | bytes) -> None:
        super().__init__(reason)
        self.message = message


class UnsupportedError(WebSocketError, RuntimeError):
    """Tell that the server, which owns the frames, offers no way to do this."""
