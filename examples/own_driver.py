"""Speak WebSocket over a socket pair: two endpoints, two threads, and no server.

python examples/own_driver.py
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable

from ws_middleware import ConnectionClosed, Endpoint, Options


def drive(
    endpoint: Endpoint, sock: socket.socket, deliver: Callable[[str | bytes], None]
) -> ConnectionClosed:
    """Move bytes and time between a socket and an endpoint; returns how it ended."""
    with sock:
        try:
            while not endpoint.is_over:
                take_turn(endpoint, sock, deliver)
        except OSError as error:
            endpoint.lose(str(error))
    return endpoint.closed


def take_turn(
    endpoint: Endpoint, sock: socket.socket, deliver: Callable[[str | bytes], None]
) -> None:
    while isinstance(item := endpoint.next_message(), str | bytes):
        deliver(item)
    if data := endpoint.data_to_send():
        sock.sendall(data)
    if endpoint.is_over:
        return
    if endpoint.wants_half_close:
        sock.shutdown(socket.SHUT_WR)
    now = time.monotonic()
    deadline = endpoint.next_deadline(now)
    if select.select([sock], [], [], None if deadline is None else max(deadline - now, 0))[0]:
        endpoint.receive_data(sock.recv(65536), time.monotonic())
    else:
        endpoint.handle_timeout(time.monotonic())


def main() -> None:
    ours, theirs = socket.socketpair()
    server = Endpoint("server", Options(), now=time.monotonic())
    client = Endpoint("client", Options(), now=time.monotonic())

    def answer(message: str | bytes) -> None:
        server.send_message(message.upper())

    def take(message: str | bytes) -> None:
        print("the client got", message)
        client.close(1000, "that was all")

    client.send_message("hello")
    thread = threading.Thread(target=drive, args=(server, ours, answer))
    thread.start()
    print("the client is", drive(client, theirs, take))
    thread.join()


if __name__ == "__main__":
    main()
