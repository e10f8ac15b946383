"""Programs that embed a server and end in some way of their own; run as `embedded WAY LOOP`.

Each opens connections of every shape to itself, and prints what their peers read at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import sys
import threading
from collections.abc import Callable

from tests.peer import CLOSE, TEXT, Peer
from tests.servers.behaviour import ws
from ws_middleware import Server

PATHS = [f"/{shape}/watched/x" for shape in ("async", "threaded", "callbacks", "async-callbacks")]
PATHS += [f"/{shape}/blocked" for shape in ("async", "threaded", "callbacks")]


def connect(port: int) -> list[Peer]:
    peers = [Peer(port).open(path) for path in PATHS]
    for peer in peers:
        peer.send_frame(TEXT, "hello")
        peer.read_message()
    return peers


def print_ends(peers: list[Peer]) -> None:
    for path, peer in zip(PATHS, peers, strict=True):
        with contextlib.suppress(ConnectionResetError):
            data = peer.read_rest()
            end = int.from_bytes(data[2:4], "big") if data and data[0] == 0x80 | CLOSE else data
            print(path, end)
        peer.socket.close()


def run_in(loop: str, main: Callable[[], object]) -> None:
    """Run a coroutine function as `asyncio.run` does, whatever it ends with."""
    factory = importlib.import_module("uvloop").new_event_loop if loop == "uvloop" else None
    with (
        asyncio.Runner(loop_factory=factory) as runner,
        contextlib.suppress(asyncio.CancelledError),
    ):
        runner.run(main())  # type: ignore[arg-type]


def forget(loop: str) -> None:
    """Let the loop end without a word to the server."""
    peers: list[Peer] = []

    async def main() -> None:
        server = await Server(ws, port=0).__aenter__()
        peers.extend(await asyncio.to_thread(connect, server.port))

    run_in(loop, main)
    print_ends(peers)


def cancel(loop: str) -> None:
    """Be cancelled, and cancelled again while the server says goodbye."""
    peers: list[Peer] = []

    async def main() -> None:
        me = asyncio.current_task()
        assert me is not None
        async with Server(ws, port=0) as server:
            peers.extend(await asyncio.to_thread(connect, server.port))
            asyncio.get_running_loop().call_later(0.1, me.cancel)
            asyncio.get_running_loop().call_later(0.3, me.cancel)
            await asyncio.Event().wait()

    run_in(loop, main)
    print_ends(peers)


def leave(loop: str) -> None:
    """End the program, with the server in a daemon thread."""
    ports: list[int] = []
    started = threading.Event()

    async def main() -> None:
        async with Server(ws, port=0) as server:
            ports.append(server.port)
            started.set()
            await asyncio.Event().wait()

    threading.Thread(target=run_in, args=(loop, main), daemon=True).start()
    started.wait()
    globals()["kept"] = connect(ports[0])
    print("left")


def close_loop(loop: str) -> None:
    """Stop and close the loop under a server that knows nothing of it."""
    module = importlib.import_module("uvloop" if loop == "uvloop" else "asyncio")
    running = module.new_event_loop()
    server = Server(ws, port=0)
    running.run_until_complete(server.__aenter__())
    thread = threading.Thread(target=running.run_forever)
    thread.start()
    peers = connect(server.port)
    running.call_soon_threadsafe(running.stop)
    thread.join()
    running.close()
    del server
    gc.collect()
    print("left")
    globals()["kept"] = peers


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
