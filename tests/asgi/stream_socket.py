"""A socket that speaks HTTP/2, or HTTP/1.1 to whoever uses it: the same tests go over both.

Requests that open a WebSocket leave as an extended CONNECT (RFC 8441); the 200 that answers it is
given as the 101 that means the same. One request at a time.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
from typing import Any

import h2.connection
import h2.events

__all__ = ["StreamSocket", "extended_connect"]

_UNUSED = ("host", "upgrade", "connection", "sec-websocket-key", "content-length")


def extended_connect(path: str, **fields: str) -> dict[str, str]:
    """Make the head that asks for a WebSocket in a stream (RFC 8441 §4)."""
    return {
        ":method": "CONNECT",
        ":protocol": "websocket",
        ":scheme": "https",
        ":authority": "127.0.0.1",
        ":path": path,
        "sec-websocket-version": "13",
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }


class StreamSocket:
    """Translate, over a connected socket."""

    def __init__(self, plain: socket.socket, scheme: str) -> None:
        self._plain = plain
        self._scheme = scheme
        self._h2 = h2.connection.H2Connection()
        self._stream: int | None = None
        self._key = ""  # of the handshake under way
        self._received = b""
        self._ended = self._reset = False
        self._h2.initiate_connection()
        self._flush()
        while not self._h2.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL):
            self._read()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def sendall(self, data: bytes) -> None:
        """Send a request's head, or what belongs to the request that is under way."""
        if re.match(rb"[A-Z]+ /", data):
            head, _, data = data.partition(b"\r\n\r\n")
            self._ask(head.decode("latin-1"), data)
        else:
            self._send(data)

    def recv(self, size: int) -> bytes:
        """Receive of the response."""
        while not self._received and not self._ended:
            self._read()
        data, self._received = self._received[:size], self._received[size:]
        return data

    def shutdown(self, how: int) -> None:
        """End our half of the stream."""
        assert self._stream is not None
        self._h2.end_stream(self._stream)
        self._flush()

    def _ask(self, head: str, body: bytes) -> None:
        first, *lines = head.split("\r\n")
        method, path, _ = first.split(" ")
        fields = [tuple(line.split(": ", 1)) for line in lines]
        named = {name.lower(): value for name, value in fields}
        opens = "upgrade" in named
        asked = [(":method", "CONNECT" if opens else method), (":scheme", self._scheme)]
        asked += [(":authority", named["host"]), (":path", path)]
        asked += [(":protocol", "websocket")] if opens else []
        asked += [(n.lower(), value) for n, value in fields if n.lower() not in _UNUSED]
        self._stream = self._h2.get_next_available_stream_id()
        self._key, self._ended = named.get("sec-websocket-key", ""), False
        self._reset = False
        self._h2.send_headers(self._stream, asked, end_stream=not opens and not body)
        self._send(body)
        if body and not opens:
            self._h2.end_stream(self._stream)
            self._flush()

    def _send(self, data: bytes) -> None:
        while data:
            if self._reset:
                raise ConnectionResetError("the stream was reset")
            assert self._stream is not None
            window = self._h2.local_flow_control_window(self._stream)
            piece = data[: min(window, self._h2.max_outbound_frame_size)]
            if piece:
                self._h2.send_data(self._stream, piece)
                data = data[len(piece) :]
                self._flush()
            else:
                self._read()
        self._flush()

    def _flush(self) -> None:
        self._plain.sendall(self._h2.data_to_send())

    def _read(self) -> None:
        data = self._plain.recv(65_536)
        if not data:
            self._ended = True
            return
        for event in self._h2.receive_data(data):
            self._take(event)
        self._flush()

    def _take(self, event: h2.events.Event) -> None:
        if getattr(event, "stream_id", self._stream) != self._stream:
            return  # the end of an earlier response
        if isinstance(event, h2.events.ResponseReceived):
            self._received += self._head_of(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self._received += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded | h2.events.ConnectionTerminated):
            self._ended = True
        elif isinstance(event, h2.events.StreamReset):
            self._ended = self._reset = True

    def _head_of(self, headers: Any) -> bytes:
        fields = [(name.decode(), value.decode()) for name, value in headers]
        (_, status), *fields = fields
        if self._key and status == "200":
            status = "101"
            accept = hashlib.sha1(f"{self._key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode())
            fields.append(("sec-websocket-accept", base64.b64encode(accept.digest()).decode()))
        lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in fields)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()
