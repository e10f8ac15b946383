"""A SOCKS5 proxy for tests (RFC 1928, RFC 1929): one connection, to where it is told."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

from tests.peer import PATIENCE

__all__ = ["SocksServer", "socks_server"]


class SocksServer:
    """Lead every connection to one port of loopback; note what was asked."""

    def __init__(
        self, target: int, *, login: tuple[str, str] | None = None, reply: int = 0
    ) -> None:
        self._target = target
        self._login = login
        self._reply = reply
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.asked: list[tuple[str, int]] = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            sock, _ = self.listener.accept()
            sock.settimeout(PATIENCE)
            with sock, sock.makefile("rb") as file:
                if self._greet(sock, file) and self._lead(sock, file):
                    self._relay(sock)

    def _greet(self, sock: socket.socket, file: object) -> bool:
        read = file.read  # type: ignore[attr-defined]
        _, count = read(2)
        methods = read(count)
        wanted = 2 if self._login else 0
        if wanted not in methods:
            sock.sendall(b"\x05\xff")
            return False
        sock.sendall(bytes([5, wanted]))
        if self._login:
            read(1)
            user = read(read(1)[0]).decode()
            password = read(read(1)[0]).decode()
            accepted = (user, password) == self._login
            sock.sendall(bytes([1, 0 if accepted else 1]))
            return accepted
        return True

    def _lead(self, sock: socket.socket, file: object) -> bool:
        read = file.read  # type: ignore[attr-defined]
        _, _, _, kind = read(4)
        if kind == 3:
            host = read(read(1)[0]).decode()
        else:
            families = {1: (socket.AF_INET, 4), 4: (socket.AF_INET6, 16)}
            family, size = families[kind]
            host = socket.inet_ntop(family, read(size))
        self.asked.append((host, struct.unpack("!H", read(2))[0]))
        sock.sendall(bytes([5, self._reply, 0, 1]) + bytes(6))
        return self._reply == 0

    def _relay(self, sock: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._target), PATIENCE) as other:
            back = threading.Thread(target=_copy, args=(other, sock), daemon=True)
            back.start()
            _copy(sock, other)
            back.join(PATIENCE)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def socks_server(
    target: int, *, login: tuple[str, str] | None = None, reply: int = 0
) -> Iterator[SocksServer]:
    """Run a proxy for the block."""
    server = SocksServer(target, login=login, reply=reply)
    try:
        yield server
    finally:
        with contextlib.suppress(OSError):
            server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        server.thread.join(PATIENCE)
