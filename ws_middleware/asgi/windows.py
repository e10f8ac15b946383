"""How much a peer may send in one stream of HTTP/2: as much as whoever has the stream receives.

A server that gives back the room for all that it has read leaves it no other way to stop a
peer than to read nothing at all, of any stream. Rule: the connection's own room is given back
at once, so that no stream takes it from the others.
"""

from __future__ import annotations

import contextlib
from typing import Any, Self

from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

__all__ = ["Windows"]


class Windows:
    """Stand between a server and its `h2` connection, and hold back the room of some streams."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._give_back = connection.acknowledge_received_data
        self._held: dict[int, int] = {}  # bytes, by stream
        connection.acknowledge_received_data = self.acknowledge_received_data

    @classmethod
    def of(cls, connection: Any) -> Self:
        """Give those of a connection, of which there are no others."""
        ours = getattr(connection.acknowledge_received_data, "__self__", None)
        return ours if isinstance(ours, cls) else cls(connection)

    def acknowledge_received_data(self, acknowledged_size: int, stream_id: int) -> None:
        """Be told by the server that it has read something."""
        if stream_id not in self._held or not acknowledged_size:
            self._give_back(acknowledged_size, stream_id)
            return
        self._held[stream_id] += acknowledged_size
        self._connection.increment_flow_control_window(acknowledged_size)

    def hold(self, stream_id: int) -> None:
        """Give no more room to a stream."""
        self._held.setdefault(stream_id, 0)

    def release(self, stream_id: int) -> bool:
        """Give back what was held; tells whether there is something to send now."""
        size = self._held.pop(stream_id, 0)
        with contextlib.suppress(KeyError, ProtocolError):  # the stream has ended
            if size:
                self._connection.increment_flow_control_window(size, stream_id)
        return size > 0

    def reset(self, stream_id: int) -> None:
        """End both halves of a stream; what the peer sends in it yet is dropped."""
        self._held.pop(stream_id, None)
        with contextlib.suppress(ProtocolError):  # it has ended
            self._connection.reset_stream(stream_id, ErrorCodes.CANCEL)
