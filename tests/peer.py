"""A client for tests that can misbehave: raw bytes out, frames in, with code of its own.

It shares nothing with the package, so that a mistake there cannot hide here. Whatever it reads
from a server is checked: no mask, minimal lengths, whole control frames.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
from typing import NamedTuple, Self

__all__ = ["BINARY", "CLOSE", "CONTINUATION", "PING", "PONG", "TEXT", "Peer", "Reply", "frame"]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

#: How long a server may take to answer before a test gives up, in seconds.
PATIENCE = 30.0


def frame(
    opcode: int,
    payload: bytes | str = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = b"\x12\x34\x56\x78",
    length: int | None = None,
) -> bytes:
    """Make a frame; `rsv` is 0 to 7, `key` None leaves out the mask, `length` lies."""
    if isinstance(payload, str):
        payload = payload.encode()
    size = len(payload) if length is None else length
    masked = 0x80 if key is not None else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if size < 126:
        head += bytes([masked | size])
    elif size < 65536:
        head += struct.pack("!BH", masked | 126, size)
    else:
        head += struct.pack("!BQ", masked | 127, size)
    if key is None:
        return head + payload
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


class Reply(NamedTuple):
    """Hold a response's head: status, and fields by their names in lower case."""

    status: int
    fields: dict[str, str]
    raw: bytes


class Received(NamedTuple):
    """Hold a frame that was received."""

    opcode: int
    payload: bytes
    fin: bool
    rsv: int


class Peer:
    """Be one TCP connection to a server, from raw bytes to whole frames."""

    def __init__(
        self, port: int, *, host: str = "127.0.0.1", source: str = "", receive_buffer: int = 0
    ) -> None:
        self.key = base64.b64encode(os.urandom(16)).decode()
        self.host = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect((host, port))
        #: The port of our own end.
        self.port: int = self.socket.getsockname()[1]
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # --- bytes ---

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self.socket.sendall(data)

    def finish(self) -> None:
        """End our half of the stream."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Drop the connection with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def read(self, size: int) -> bytes:
        """Read exactly `size` bytes; `EOFError` when the stream ends before."""
        while len(self.buffer) < size:
            self._receive()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def read_until(self, mark: bytes) -> bytes:
        """Read up to and including `mark`."""
        while mark not in self.buffer:
            self._receive()
        head, _, self.buffer = self.buffer.partition(mark)
        return head + mark

    def read_rest(self) -> bytes:
        """Read all bytes up to the end of the server's stream."""
        try:
            while True:
                self._receive()
        except EOFError:
            data, self.buffer = self.buffer, b""
            return data

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(f"the stream ended behind {self.buffer[-100:]!r}")
        self.buffer += data

    # --- the handshake ---

    def request(
        self,
        path: str = "/",
        *,
        fields: dict[str, str | None] | None = None,
        extra: bytes = b"",
        line: str = "",
    ) -> bytes:
        """Make a handshake request; a field of None is left out, `extra` are further lines."""
        values: dict[str, str | None] = {
            "Host": self.host,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": self.key,
            "Sec-WebSocket-Version": "13",
            **(fields or {}),
        }
        lines = [line or f"GET {path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in values.items() if value is not None]
        return ("\r\n".join(lines) + "\r\n").encode("latin-1") + extra + b"\r\n"

    def reply(self) -> Reply:
        """Read a response's head."""
        raw = self.read_until(b"\r\n\r\n")
        first, *lines = raw[:-4].decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        fields: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in fields, f"{name} is there twice"
            fields[name.lower()] = value
        return Reply(int(status), fields, raw)

    def body(self, reply: Reply) -> bytes:
        """Read a response's body by its Content-Length."""
        return self.read(int(reply.fields["content-length"]))

    def open(
        self, path: str = "/", *, fields: dict[str, str | None] | None = None, early: bytes = b""
    ) -> Self:
        """Open a WebSocket; `early` leaves in the same segment as the request."""
        self.send(self.request(path, fields=fields) + early)
        reply = self.reply()
        assert reply.status == 101, reply.raw + self.buffer
        guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        digest = hashlib.sha1((self.key + guid).encode()).digest()
        assert reply.fields["sec-websocket-accept"] == base64.b64encode(digest).decode()
        self.fields = reply.fields
        return self

    # --- frames ---

    def send_frame(self, opcode: int, payload: bytes | str = b"", **changes: object) -> None:
        """Send one frame, see `frame`."""
        self.send(frame(opcode, payload, **changes))  # type: ignore[arg-type]

    def read_frame(self) -> Received:
        """Read one frame and check that a server may send it."""
        first, second = self.read(2)
        assert second < 128, "a server must not mask its frames (RFC 6455 §5.1)"
        size = second
        if size == 126:
            (size,) = struct.unpack("!H", self.read(2))
            assert size >= 126
        elif size == 127:
            (size,) = struct.unpack("!Q", self.read(8))
            assert 65536 <= size < 1 << 63
        opcode, fin = first & 0x0F, first >= 128
        assert opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)
        if opcode >= 8:
            assert fin
            assert size <= 125
        return Received(opcode, self.read(size), fin, first >> 4 & 7)

    def read_message(self) -> str | bytes:
        """Read one message: text as str, binary as bytes, fragments put together."""
        first = received = self.read_frame()
        assert first.opcode in (TEXT, BINARY), first
        payload = first.payload
        while not received.fin:
            received = self.read_frame()
            assert received.opcode == CONTINUATION, received
            payload += received.payload
        return payload.decode() if first.opcode == TEXT else payload

    def read_close(self) -> tuple[int, str]:
        """Read a close frame: its code (1005 where it has none) and reason."""
        received = self.read_frame()
        assert received.opcode == CLOSE, received
        if not received.payload:
            return 1005, ""
        return int.from_bytes(received.payload[:2], "big"), received.payload[2:].decode()

    def read_end(self) -> None:
        """Check that the server ends its stream here."""
        assert self.read_rest() == b""

    def expect_failure(self, code: int) -> str:
        """Check that the server fails the connection with `code`; returns the reason."""
        received, reason = self.read_close()
        assert received == code, reason
        self.send_frame(CLOSE, code.to_bytes(2, "big"))
        self.read_end()
        return reason

    def echo(self, message: str | bytes) -> None:
        """Check that the server still answers."""
        self.send_frame(TEXT if isinstance(message, str) else BINARY, message)
        assert self.read_message() == message

    def close(self, code: int = 1000) -> None:
        """Close as a client should, and check that the server does its part."""
        self.send_frame(CLOSE, code.to_bytes(2, "big"))
        assert self.read_close() == (code, "")
        self.read_end()
