"""Two endpoints joined by a link of bytes and a clock, so that a dialogue is a few lines.

The link carries in chunks of any size; everything received is kept in the order it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.core.wire import chopped
from ws_middleware.core.endpoint import Endpoint, Item
from ws_middleware.core.extensions import Extension, Role, accept_offers, confirm_response
from ws_middleware.errors import ConnectionClosed
from ws_middleware.options import Options

__all__ = ["ConnectionPair", "Ending"]


class Ending(NamedTuple):
    """Hold how a connection ended for one of its ends."""

    code: int
    reason: str
    by_peer: bool


class _End:
    """Be one endpoint with what it received."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.received: list[Item] = []
        self.closed: ConnectionClosed | None = None
        self.has_finished = False  # nothing more leaves

    @property
    def ending(self) -> Ending | None:
        closed = self.closed
        return None if closed is None else Ending(closed.code, closed.reason, closed.by_peer)

    def take_messages(self) -> None:
        while self.closed is None and (item := self.endpoint.next_message()) is not None:
            if isinstance(item, ConnectionClosed):
                self.closed = item
            else:
                self.received.append(item)


class ConnectionPair:
    """Join a client and a server; `chunk` is the size of the link's pieces, 0 for whole writes."""

    def __init__(
        self,
        *,
        chunk: int = 0,
        client_extensions: Sequence[Extension] = (),
        server_extensions: Sequence[Extension] | None = None,
        **options: Any,
    ) -> None:
        self.chunk = chunk
        self.now = 100.0
        if server_extensions is None:
            server_extensions = client_extensions
        offers = [(one.name, offer) for one in client_extensions for offer in one.offers()]
        self.accepted = accept_offers(offers, server_extensions)
        responses = [(one.extension.name, one.parameters) for one in self.accepted]
        self.confirmed = confirm_response(responses, client_extensions)
        settings = Options(extensions=(), **options)

        def make(role: Role) -> _End:
            agreements = self.accepted if role == "server" else self.confirmed
            active = [agreement.activate(role) for agreement in agreements]
            return _End(Endpoint(role, settings, active, now=self.now))

        self.client_end, self.server_end = make("client"), make("server")
        self.client, self.server = self.client_end.endpoint, self.server_end.endpoint

    @property
    def at_client(self) -> list[Item]:
        """Give what the client received."""
        return self.client_end.received

    @property
    def at_server(self) -> list[Item]:
        """Give what the server received."""
        return self.server_end.received

    def run(self) -> None:
        """Carry bytes, and take messages, until both ends are quiet."""
        while self._carry(self.client_end, self.server_end) or self._carry(
            self.server_end, self.client_end
        ):
            pass

    def _carry(self, source: _End, target: _End) -> bool:
        """Carry what `source` wrote, and the end of its stream; False if there is nothing."""
        source.take_messages()
        data = source.endpoint.data_to_send()
        for piece in chopped(data, self.chunk):
            self._deliver(piece, target)
        finishes = source.endpoint.wants_half_close or source.endpoint.is_over
        if finishes and not source.has_finished:
            source.has_finished = True
            self._deliver(b"", target)
            return True
        return bool(data)

    def _deliver(self, data: bytes, target: _End) -> None:
        if not target.endpoint.is_over:
            target.endpoint.receive_data(data, self.now)
            target.take_messages()
