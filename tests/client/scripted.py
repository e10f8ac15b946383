"""A server that answers each request as a test says, right or wrong, and keeps what it was sent.

It shares nothing with the package, so that a mistake there cannot hide here.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.peer import PATIENCE

__all__ = ["ACCEPT", "Asked", "Script", "accepting", "refusing", "scripted", "unix_listener"]

#: Stands for the right value of Sec-WebSocket-Accept in an answer.
ACCEPT = "{accept}"


class Asked(NamedTuple):
    """Hold a request that came: on which connection, its first line, its fields, and the bytes."""

    connection: int
    line: str
    fields: list[tuple[str, str]]
    raw: bytes

    def field(self, name: str) -> str | None:
        """Give the value of a field that is there once, or None."""
        values = [value for key, value in self.fields if key.lower() == name.lower()]
        assert len(values) < 2, values
        return values[0] if values else None


def accepting(
    *lines: str, without: str = "", status: str = "HTTP/1.1 101 Switching Protocols"
) -> str:
    """Write the head that opens a WebSocket, with further lines, or without one of the usual."""
    usual = ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {ACCEPT}"]
    kept = [line for line in usual if not without or not line.startswith(without)]
    return "\r\n".join([status, *kept, *lines]) + "\r\n\r\n"


def refusing(status: int, *lines: str, body: str = "") -> str:
    """Write a whole response."""
    head = [f"HTTP/1.1 {status} No", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join(head) + "\r\n\r\n" + body


#: What is sent for a request; None ends the connection; a callable gets the request.
Answer = str | None | Callable[[Asked], str | None]


class Script:
    """Listen, and give the answers of a script in their order, whoever asks."""

    def __init__(
        self,
        *answers: Answer,
        tls: ssl.SSLContext | None = None,
        listener: socket.socket | None = None,
        behind: bytes = b"",
        stays_open: bool = False,
    ) -> None:
        self.listener = listener or socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE)
        self._address = self.listener.getsockname()
        self._answers = list(answers)
        self._tls = tls
        self._behind = behind
        self._stays_open = stays_open
        self.asked: list[Asked] = []
        self.failures: list[BaseException] = []
        #: What came behind the last request, until the client's end of the stream.
        self.received = b""
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Give the port."""
        port: int = self._address[1]
        return port

    @property
    def url(self) -> str:
        """Give the URL, without a slash behind."""
        return f"{'wss' if self._tls else 'ws'}://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Stop listening, and wait until the last connection has ended."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "a client did not end its connection"

    def _run(self) -> None:
        number = 0
        while self._answers:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE)
            try:
                if self._tls is not None:
                    sock = self._tls.wrap_socket(sock, server_side=True)
                with sock:
                    self._serve(sock, number)
            except OSError as error:
                self.failures.append(error)
            number += 1

    def _serve(self, sock: socket.socket, number: int) -> None:
        unread = b""
        while self._answers:
            while b"\r\n\r\n" not in unread:
                data = sock.recv(65536)
                if not data:
                    return
                unread += data
            raw, _, unread = unread.partition(b"\r\n\r\n")
            first, *lines = raw.decode("latin-1").split("\r\n")
            fields = [tuple(line.split(": ", 1)) for line in lines]
            self.asked.append(Asked(number, first, fields, raw))  # type: ignore[arg-type]
            answer = self._answers.pop(0)
            if callable(answer):
                answer = answer(self.asked[-1])
            if answer is None:
                return
            sock.sendall(self._complete(answer, raw) + self._behind)
            if " 101 " in answer:
                break
        if not self._stays_open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
        while data := sock.recv(65536):
            unread += data
        self.received = unread

    def _complete(self, answer: str, raw: bytes) -> bytes:
        match = re.search(rb"(?i)\r\nsec-websocket-key: (.*)", raw)
        key = match.group(1).strip() if match else b""
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        return answer.replace(ACCEPT, base64.b64encode(digest).decode()).encode("latin-1")


@contextlib.contextmanager
def scripted(*answers: Answer, **settings: object) -> Iterator[Script]:
    """Run a script for the block."""
    script = Script(*answers, **settings)  # type: ignore[arg-type]
    try:
        yield script
    finally:
        script.stop()


def unix_listener(path: Path) -> socket.socket:
    """Listen on a Unix socket."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    return listener
