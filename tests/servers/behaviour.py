"""Handlers of every shape that behave, misbehave, and print what became of them.

The first part of a path is the handler's shape, the last one mostly a name for its reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from tests.servers.app import Callbacks, deaf, echo, threaded
from ws_middleware import (
    AsyncConnection,
    ConcurrencyError,
    Connection,
    ConnectionClosed,
    Handler,
    State,
    TextMessage,
    WebSockets,
)

#: Routes under /hasty wait half a second only for the peer's part of the closing handshake.
HASTY = 0.5

ws = WebSockets()
ws.add("/echo", echo)
ws.add("/hasty/echo", echo, close_timeout=HASTY)
ws.add("/async/echo", echo)
ws.add("/threaded/echo", threaded)
ws.add("/callbacks/echo", Callbacks)


def report(name: str, what: object) -> None:
    # Past `sys.stdout`: a daemon thread that holds its lock while the program ends aborts it.
    os.write(1, f"[{name}: {what}]\n".encode())


# --- echo, and tell how it ended ---


@ws.route("/async/watched/<name>")
@ws.route("/async/impatient-peer/<name>", ping_interval=0.3, ping_timeout=0.3)
async def watch(connection: AsyncConnection, name: str) -> None:
    try:
        while True:
            await connection.send(await connection.recv())
    except ConnectionClosed as closed:
        report(name, f"ended with {closed.code}")


@ws.route("/threaded/watched/<name>")
@ws.route("/threaded/impatient-peer/<name>", ping_interval=0.3, ping_timeout=0.3)
def watch_in_thread(connection: Connection, name: str) -> None:
    try:
        while True:
            connection.send(connection.recv())
    except ConnectionClosed as closed:
        report(name, f"ended with {closed.code}")


@ws.route("/callbacks/watched/<name>")
@ws.route("/callbacks/impatient-peer/<name>", ping_interval=0.3, ping_timeout=0.3)
class Watch(Callbacks):
    def on_close(self, code: int, reason: str) -> None:
        report(self.path_params["name"], f"ended with {code}")


@ws.route("/async-callbacks/watched/<name>")
@ws.route("/async-callbacks/impatient-peer/<name>", ping_interval=0.3, ping_timeout=0.3)
class AsyncWatch(Handler):
    async def on_message(self, message: str | bytes) -> None:
        await self.connection.send(message)

    async def on_close(self, code: int, reason: str) -> None:
        report(self.path_params["name"], f"ended with {code}")


@ws.route("/async/counts/<name>")
async def count(connection: AsyncConnection, name: str) -> None:
    counted = 0
    try:
        while True:
            await connection.recv()
            counted += 1
    except ConnectionClosed as closed:
        report(name, f"{counted} messages, {closed.code}")


@ws.route("/threaded/counts/<name>")
def count_in_thread(connection: Connection, name: str) -> None:
    counted = 0
    try:
        while True:
            connection.recv()
            counted += 1
    except ConnectionClosed as closed:
        report(name, f"{counted} messages, {closed.code}")


# --- raise, return, close ---

ERRORS: dict[str, Callable[[], BaseException]] = {
    "LookupError": lambda: LookupError("on purpose"),
    "StopIteration": lambda: StopIteration("on purpose"),
    "ConnectionClosed": lambda: ConnectionClosed(1000, "of somebody else"),
    "CancelledError": asyncio.CancelledError,
    "SystemExit": lambda: SystemExit(7),
    "KeyboardInterrupt": KeyboardInterrupt,
}


@ws.route("/async/raises/<error>")
async def raise_it(connection: AsyncConnection, error: str) -> None:
    await connection.recv()
    raise ERRORS[error]()


@ws.route("/threaded/raises/<error>")
def raise_it_in_thread(connection: Connection, error: str) -> None:
    connection.recv()
    raise ERRORS[error]()


@ws.route("/callbacks/raises/<error>")
class Raise(Handler):
    def on_message(self, message: str | bytes) -> None:
        raise ERRORS[self.path_params["error"]]()


@ws.route("/async-callbacks/raises/<error>")
class AsyncRaise(Handler):
    async def on_message(self, message: str | bytes) -> None:
        raise ERRORS[self.path_params["error"]]()


@ws.route("/callbacks/raises-in/<callback>")
class RaiseAnywhere(Handler):
    """Raise in one callback, and tell of the end whatever happens."""

    def on_open(self) -> None:
        self._raise_in("open")

    def on_message(self, message: str | bytes) -> None:
        self._raise_in("message")

    def on_ping(self, payload: bytes) -> None:
        self._raise_in("ping")

    def on_close(self, code: int, reason: str) -> None:
        report(f"raises in {self.path_params['callback']}", f"{code} {self.connection.state.value}")
        self._raise_in("close")

    def on_error(self, error: Exception) -> None:
        if self.path_params["callback"] != "message-mended":
            raise error
        self.connection.send(str(error))

    def _raise_in(self, callback: str) -> None:
        if self.path_params["callback"].partition("-")[0] == callback:
            raise LookupError("on purpose")


@ws.route("/async/returns")
@ws.route("/hasty/async/returns", close_timeout=HASTY)
async def return_it(connection: AsyncConnection) -> None:
    await connection.recv()


@ws.route("/threaded/returns")
@ws.route("/hasty/threaded/returns", close_timeout=HASTY)
def return_it_in_thread(connection: Connection) -> None:
    connection.recv()


@ws.route("/callbacks/returns")
@ws.route("/hasty/callbacks/returns", close_timeout=HASTY)
class Return(Handler):
    def on_message(self, message: str | bytes) -> None:
        self.connection.close()


@ws.route("/async-callbacks/returns")
@ws.route("/hasty/async-callbacks/returns", close_timeout=HASTY)
class AsyncReturn(Handler):
    async def on_message(self, message: str | bytes) -> None:
        await self.connection.close()


@ws.route("/async/with")
async def raise_inside(connection: AsyncConnection) -> None:
    async with connection:
        await connection.recv()
        raise LookupError("on purpose")


@ws.route("/threaded/with")
def raise_inside_in_thread(connection: Connection) -> None:
    with connection:
        connection.recv()
        raise LookupError("on purpose")


@ws.route("/async/closes/<int:times>")
async def close_often(connection: AsyncConnection, times: int) -> None:
    await connection.recv()
    await asyncio.gather(*[connection.close(4000 + i) for i in range(times)])
    report("closes", f"{times} returned, {connection.close_code}")


@ws.route("/threaded/closes/<int:times>")
def close_often_in_threads(connection: Connection, times: int) -> None:
    connection.recv()
    at_once(times, lambda i: connection.close(4000 + i))
    report("closes", f"{times} returned, {connection.close_code}")


def at_once(times: int, function: object) -> None:
    """Call a function in many threads at the same moment."""
    assert callable(function)
    barrier = threading.Barrier(times)

    def work(number: int) -> None:
        barrier.wait()
        function(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@ws.route("/async/late/<name>")
async def send_late(connection: AsyncConnection, name: str) -> None:
    await connection.recv()
    connection.start_closing(4000)
    outcomes = []
    for _ in range(2):  # while it is closing, and once it is closed
        for attempt in (
            lambda: connection.send("late"),
            lambda: connection.send(iter(["late", "later"])),
            lambda: connection.ping(),
            lambda: connection.recv(),
        ):
            try:
                await attempt()
            except ConnectionClosed as closed:
                outcomes.append(int(closed.code))
        await connection.close()
    report(name, outcomes)


@ws.route("/threaded/late/<name>")
def send_late_in_thread(connection: Connection, name: str) -> None:
    connection.recv()
    connection.close(4000)
    outcomes = []
    for attempt in (
        lambda: connection.send("late"),
        lambda: connection.send(iter(["late", "later"])),
        lambda: connection.ping(),
        lambda: connection.recv(),
    ):
        try:
            attempt()
        except ConnectionClosed as closed:
            outcomes.append(int(closed.code))
    report(name, outcomes)


@ws.route("/async/iterates/<name>")
async def iterate(connection: AsyncConnection, name: str) -> None:
    try:
        await echo(connection)
    except ConnectionClosed as closed:
        report(name, f"raised {closed.code}")
    else:
        report(name, "returned")


@ws.route("/threaded/iterates/<name>")
def iterate_in_thread(connection: Connection, name: str) -> None:
    try:
        threaded(connection)
    except ConnectionClosed as closed:
        report(name, f"raised {closed.code}")
    else:
        report(name, "returned")


# --- many at once ---

_together = asyncio.Event()


@ws.route("/together")
async def wait_for_the_others(connection: AsyncConnection) -> None:
    await _together.wait()
    await connection.close(1001)


@ws.route("/go")
async def go(connection: AsyncConnection) -> None:
    _together.set()
    _together.clear()


@ws.route("/async/many/<int:senders>")
async def send_from_many(connection: AsyncConnection, senders: int) -> None:
    async def send(number: int) -> None:
        for turn in range(10):
            text = f"{number}-{turn}-" + "x" * (number * 997)
            await connection.send(text)
            await connection.send(in_pieces(text))
            await connection.ping()

    await asyncio.gather(*map(send, range(senders)))


@ws.route("/threaded/many/<int:senders>")
def send_from_many_threads(connection: Connection, senders: int) -> None:
    def send(number: int) -> None:
        for turn in range(10):
            text = f"{number}-{turn}-" + "x" * (number * 997)
            connection.send(text)
            connection.send(in_pieces(text))
            connection.ping()

    at_once(senders, send)


def in_pieces(text: str, size: int = 4000) -> Iterator[str]:
    return (text[start : start + size] for start in range(0, len(text), size))


@ws.route("/async/readers")
async def read_twice(connection: AsyncConnection) -> None:
    first = asyncio.create_task(connection.recv())
    await asyncio.sleep(0)
    try:
        await connection.recv()
    except ConcurrencyError as error:
        await connection.send(str(error))
    await connection.send(await first)


@ws.route("/threaded/readers")
def read_in_two_threads(connection: Connection) -> None:
    barrier = threading.Barrier(2)
    got: list[str | bytes] = []

    def read() -> None:
        barrier.wait()
        try:
            got.append(connection.recv())
        except ConcurrencyError as error:
            connection.send(str(error))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connection.send(got[0])


@ws.route("/threaded/mixed-readers")
def read_in_every_way(connection: Connection) -> None:
    """Answer six messages, received whole and in pieces by turns, then each piece of one."""
    with contextlib.suppress(TimeoutError):
        connection.recv(timeout=0.01)
    connection.send("ready")  # the time-out left a question behind that is still to be answered
    for turn in range(6):
        pieces = [connection.recv()] if turn % 2 else connection.recv_fragments()
        connection.send("".join(map(str, pieces)))
    for piece in connection.recv_fragments():
        connection.send(piece)


# --- floods, and who does not read ---


@ws.route("/async/flood/<name>", ping_interval=0.3, ping_timeout=0.3)
@ws.route("/async/patient-flood/<name>")
async def flood(connection: AsyncConnection, name: str) -> None:
    try:
        while True:
            await connection.send(b"f" * 65_536)
    except ConnectionClosed as closed:
        report(name, f"ended with {closed.code}")


@ws.route("/threaded/flood/<name>", ping_interval=0.3, ping_timeout=0.3)
@ws.route("/threaded/patient-flood/<name>")
def flood_in_thread(connection: Connection, name: str) -> None:
    try:
        while True:
            connection.send(b"f" * 65_536)
    except ConnectionClosed as closed:
        report(name, f"ended with {closed.code}")


@ws.route("/callbacks/flood/<name>", ping_interval=0.3, ping_timeout=0.3)
@ws.route("/callbacks/patient-flood/<name>")
class Flood(Handler):
    def on_open(self) -> None:
        flood_in_thread(self.connection, self.path_params["name"])


@ws.route("/hasty/async/flood-then-close/<name>", close_timeout=HASTY)
async def flood_then_close(connection: AsyncConnection, name: str) -> None:
    """Send more than a peer takes that does not read, then close."""
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(0.3):
                await connection.send(b"f" * 65_536)
    await connection.close(4000)
    report(name, f"closed, {connection.close_code}")


# Where we do not read, only what we write can find out that the peer is gone.
ws.add("/async/deaf", deaf, ping_interval=0.3, ping_timeout=0.3)


@ws.route("/threaded/deaf", ping_interval=0.3, ping_timeout=0.3)
def deaf_thread(connection: Connection) -> None:
    while connection.state is not State.CLOSED:
        time.sleep(0.02)


@ws.route("/async/waits-for-go")
async def deaf_then_echo(connection: AsyncConnection) -> None:
    await _together.wait()
    await connection.recv()
    await connection.wait_closed()


@ws.route("/async/deaf-then-close")
async def deaf_then_close(connection: AsyncConnection) -> None:
    """Close on the word of another connection, without having received anything."""
    await _together.wait()
    await connection.close(4000)


@ws.route("/async/huge/<int:pieces>")
async def send_huge(connection: AsyncConnection, pieces: int) -> None:
    await connection.send(b"%07d" % i * 9362 for i in range(pieces))


@ws.route("/threaded/huge/<int:pieces>")
def send_huge_in_thread(connection: Connection, pieces: int) -> None:
    connection.send(b"%07d" % i * 9362 for i in range(pieces))


# --- blocking for ever ---


@ws.route("/threaded/blocked")
def blocked(connection: Connection) -> None:
    connection.send("blocked")
    threading.Event().wait()


@ws.route("/callbacks/blocked")
class Blocked(Handler):
    def on_message(self, message: str | bytes) -> None:
        self.connection.send("blocked")
        threading.Event().wait()


@ws.route("/async/blocked")
async def wait_for_ever(connection: AsyncConnection) -> None:
    await connection.send("blocked")
    await asyncio.Event().wait()


@ws.route("/async/cleans-up")
async def clean_up(connection: AsyncConnection) -> None:
    await connection.send("open")
    try:
        await asyncio.Event().wait()
    except BaseException as error:
        report("cleans-up", type(error).__name__)
        raise


@ws.route("/async-callbacks/cleans-up")
class CleanUp(Handler):
    async def on_open(self) -> None:
        await clean_up(self.connection)


# --- giving up in the middle ---


@ws.route("/async/cancels/<name>")
async def give_up_often(connection: AsyncConnection, name: str) -> None:
    """Cancel `recv` and `send` again and again; echo what comes, send what goes."""
    received: list[str | bytes] = []
    sent: list[int] = []
    number = 0
    while len(received) < 100:
        with contextlib.suppress(TimeoutError):
            received.append(await connection.recv(timeout=0.0005))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.001):
                await connection.send(f"{number:05d}" + "s" * 30_000)
                sent.append(number)
        number += 1
    await connection.send(" ".join(map(str, received)))
    await connection.send(" ".join(map(str, sent)))


@ws.route("/threaded/cancels/<name>")
def give_up_often_in_thread(connection: Connection, name: str) -> None:
    received: list[str | bytes] = []
    while len(received) < 100:
        with contextlib.suppress(TimeoutError):
            received.append(connection.recv(timeout=0.0005))
    connection.send(" ".join(map(str, received)))
    connection.send("")


@ws.route("/async/cancelled-close/<name>")
async def cancel_closing(connection: AsyncConnection, name: str) -> None:
    try:
        async with asyncio.timeout(0.05):
            await connection.close(4000)
    except TimeoutError:
        await connection.wait_closed()
        report(name, f"closed with {connection.close_code}")


@ws.route("/async/torn/<name>")
async def give_up_a_message(connection: AsyncConnection, name: str) -> None:
    async def pieces() -> object:
        yield "a"
        yield "b"
        await asyncio.Event().wait()

    try:
        async with asyncio.timeout(0.05):
            await connection.send(pieces())  # type: ignore[arg-type]
    except TimeoutError:
        try:
            await connection.send("after")
        except ConnectionClosed:
            report(name, "no message behind it")


@ws.route("/threaded/torn/<name>")
def give_up_a_message_in_thread(connection: Connection, name: str) -> None:
    def pieces() -> Iterator[str]:
        yield "a"
        yield "b"
        raise TimeoutError

    try:
        connection.send(pieces())
    except TimeoutError:
        try:
            connection.send("after")
        except ConnectionClosed:
            report(name, "no message behind it")


# --- wrong calls ---

WRONG: dict[str, Callable[[], Any]] = {
    "mixed": lambda: iter(["text", b"bytes"]),
    "surrogate": lambda: TextMessage("\ud800"),
    "surrogate-piece": lambda: iter(["a", "\ud800"]),
    "nothing": lambda: iter([]),
    "number": lambda: 5,
}


@ws.route("/async/misuse/<misuse>/<name>")
async def misuse_it(connection: AsyncConnection, misuse: str, name: str) -> None:
    async def inside() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        await connection.send("c")

    try:
        await connection.send(inside() if misuse == "inside" else WRONG[misuse]())
    except Exception as error:
        report(name, f"{type(error).__name__}: {error}")


@ws.route("/threaded/misuse/<misuse>/<name>")
def misuse_it_in_thread(connection: Connection, misuse: str, name: str) -> None:
    def inside() -> Iterator[str]:
        yield "a"
        yield "b"
        connection.send("c")

    try:
        connection.send(inside() if misuse == "inside" else WRONG[misuse]())
    except Exception as error:
        report(name, f"{type(error).__name__}: {error}")


_lent: asyncio.Queue[Connection] = asyncio.Queue()
_loop: asyncio.AbstractEventLoop


@ws.route("/async/borrows")
async def use_a_blocking_one(connection: AsyncConnection) -> None:
    """Receive, on the loop, from a connection that is made for threads."""
    global _loop
    _loop = asyncio.get_running_loop()
    await connection.send("ready")
    borrowed = await _lent.get()
    for attempt in (borrowed.recv, borrowed.close):
        try:
            attempt()
        except RuntimeError as error:
            await connection.send(str(error))


@ws.route("/threaded/lends")
def lend_a_blocking_one(connection: Connection) -> None:
    asyncio.run_coroutine_threadsafe(_lent.put(connection), _loop).result()
    connection.recv()
