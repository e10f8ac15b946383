"""A relay between a client and a server that counts the bytes on the wire."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Tap", "run_tap"]


class Tap(socketserver.ThreadingTCPServer):
    """Count what passes: `up` goes to the server, `down` comes from it."""

    def __init__(self, server_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.server_port = server_port
        self.port: int = self.server_address[1]
        self.up = 0
        self.down = 0
        self.ending = False


class _Relay(socketserver.BaseRequestHandler):
    server: Tap

    def handle(self) -> None:
        client: socket.socket = self.request
        server_address = ("127.0.0.1", self.server.server_port)
        with socket.create_connection(server_address) as server, contextlib.suppress(OSError):
            while not self.server.ending:
                for source in select.select([client, server], [], [], 0.1)[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    if source is client:
                        self.server.up += len(data)
                        server.sendall(data)
                    else:
                        self.server.down += len(data)
                        client.sendall(data)


@contextmanager
def run_tap(server_port: int) -> Iterator[Tap]:
    """Relay to a port of this machine until the end of the block."""
    with Tap(server_port) as tap:
        thread = threading.Thread(target=tap.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield tap
        finally:
            tap.ending = True
            tap.shutdown()
            thread.join()
