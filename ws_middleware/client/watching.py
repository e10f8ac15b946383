"""What a client does, told to whoever wants to see it: steps, heads and the bytes of frames.

Whoever watches changes nothing. Heads hold what was really sent, passwords included.
"""

from __future__ import annotations

from typing import Any

from ws_middleware.core.endpoint import Endpoint
from ws_middleware.core.handshake import RequestHead, ResponseHead

__all__ = ["NOBODY", "WatchedEndpoint", "Watcher"]


class Watcher:
    """Be told what a client does, in its order; a subclass does something with it.

    `connect(url, watcher=...)` takes one; redirects, proxies and challenges show as further
    requests.
    """

    def begin(self, step: str) -> None:
        """Hear what is done next: to connect, or to speak TLS."""

    def request(self, head: RequestHead) -> None:
        """See a request that is sent, to the server or to a proxy."""

    def response(self, head: ResponseHead) -> None:
        """See what a request was answered with."""

    def sent(self, data: bytes) -> None:
        """See bytes of the open connection that are sent: frames, or pieces of them."""

    def received(self, data: bytes) -> None:
        """See bytes of the open connection that came; none at the end of the peer's stream."""


#: Watches nothing.
NOBODY = Watcher()


class WatchedEndpoint(Endpoint):
    """Be an endpoint whose bytes a watcher sees."""

    __slots__ = ("_watcher",)

    def __init__(self, watcher: Watcher, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._watcher = watcher

    @property
    def lanes(self) -> None:
        """Give none: nothing goes past this endpoint."""

    @property
    def room(self) -> None:
        """Give none: all bytes come through `receive_data`."""

    def receive_data(self, data: bytes | memoryview, now: float) -> None:
        """Show bytes, and take them."""
        self._watcher.received(bytes(data))
        super().receive_data(data, now)

    def pieces_to_send(self) -> list[bytes]:
        """Give what is to be written now, and show it."""
        pieces = super().pieces_to_send()
        if data := b"".join(pieces):
            self._watcher.sent(data)
        return pieces
