"""Talking over a connection, or over one after the other: what is sent, what comes, how it ends.

Rule 1: everything is sent and shown in its order, or it is told what was not. Rule 2: whoever
waits, waits for all that can end it. Rule 3: whatever ends it, the peer gets a close frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

from ws_middleware.aio import AsyncConnection
from ws_middleware.cli.commands import Input, Link
from ws_middleware.cli.record import Record
from ws_middleware.cli.screen import Screen
from ws_middleware.core.frames import Close, CloseCode
from ws_middleware.core.messages import Ping, Pong
from ws_middleware.errors import ConnectionClosed

__all__ = ["Conversation", "Wishes"]

#: How long a peer has to be silent to have said everything, in seconds.
QUIET_TIME = 1.0
#: What pongs take, in bytes; whoever sends more is not silent.
PONGS_SIZE = 16
#: How long closing may take once the time is over, in seconds.
LAST_TIME = 1.0
NORMAL = Close(CloseCode.NORMAL)


@dataclass(frozen=True)
class Wishes:
    """Hold what the user wants: one message only, how long to wait for more, how to close."""

    one: bool = False
    #: In seconds, from the end of what is sent; None for as long as messages come.
    wait: float | None = None
    close: Close = NORMAL
    print_pings: bool = False
    #: A person types, and is told how it begins and ends, even if well.
    typed: bool = False
    #: Another connection follows on one that the peer ended, or that was lost.
    reconnects: bool = False
    #: Ask the peer whether it has read everything.
    pings: bool = True


class Conversation:
    """Send `inputs`, show what comes, and close."""

    def __init__(
        self, inputs: AsyncIterator[Input], screen: Screen, record: Record, wishes: Wishes
    ) -> None:
        self._inputs = inputs
        self._screen = screen
        self._record = record
        self._wishes = wishes
        self._tells = wishes.typed or wishes.reconnects
        self._close = wishes.close
        loop = asyncio.get_running_loop()
        self._link: asyncio.Future[Link] = loop.create_future()
        self._stopped: asyncio.Future[None] = loop.create_future()
        self._holding: asyncio.Task[object] | None = None

    def stop(self) -> None:
        """End it soon; a second time, at once."""
        if self._holding is not None and not self._link.done():
            self._holding.cancel()  # there is no connection to close
        elif not self._stopped.done():
            self._stopped.set_result(None)
        else:
            self._link.result().connection.abort()

    async def hold(self, connections: AsyncGenerator[AsyncConnection]) -> bool:
        """Talk over connections, one after the other; tells whether the last one ended well."""
        self._holding = asyncio.current_task()
        sending = asyncio.create_task(self._send_all())
        sending.add_done_callback(self._after_last_input)
        ended_well = True
        try:
            async with contextlib.aclosing(connections):
                async for connection in connections:
                    link = Link(connection, time.monotonic())
                    is_over = await self._talk(link, sending)
                    ended_well = self._conclude(link)
                    if is_over:
                        break
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
        return ended_well

    def _after_last_input(self, sending: asyncio.Task[None]) -> None:
        again = self._wishes.typed and self._wishes.reconnects and not sending.cancelled()
        if again and not self._link.done():
            self.stop()  # nobody waits for the next connection

    async def _talk(self, link: Link, sending: asyncio.Task[None]) -> bool:
        """Talk over one connection, and close it; tells whether that was our wish."""
        connection = link.connection
        self._record.opened(connection)
        if self._tells:
            self._tell_opened(connection)
        self._offer(link)
        receiving = asyncio.create_task(self._receive(connection))
        ends: set[asyncio.Future[Any]] = {receiving, self._stopped}
        try:
            await asyncio.wait({sending, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not sending.exception():
                await self._linger(connection, ends)
            failed = receiving.done() and receiving.exception() is not None
            is_over = not receiving.done() or failed or receiving.result()
            await connection.close(*self._close)
        except asyncio.CancelledError:  # the time is over
            connection.start_closing(*self._close)
            await asyncio.wait({asyncio.create_task(connection.wait_closed())}, timeout=LAST_TIME)
            connection.abort()
            raise
        finally:
            self._withdraw(link)
            await receiving
        return is_over

    # --- receiving ---

    async def _receive(self, connection: AsyncConnection) -> bool:
        """Show what comes until the connection is closed; true once the one message is there."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                items = [await connection.recv_item(), *connection.take_waiting()]
                for item in items:
                    self._record.received(item)
                    if isinstance(item, Ping | Pong):
                        self._show_control(item, connection.latency)
                        continue
                    self._screen.message(item)
                    if self._wishes.one:
                        await self._screen.flush()
                        return True
                await self._screen.flush()
        return False

    def _show_control(self, item: Ping | Pong, latency: float | None) -> None:
        if not self._wishes.print_pings:
            return
        kind = "ping" if isinstance(item, Ping) else "pong"
        payload = f" {item.payload.hex(' ')}" if item.payload else ""
        took = f", {latency * 1000:.1f} ms" if kind == "pong" and latency is not None else ""
        self._screen.note(f"< {kind}{payload}{took}")

    # --- sending ---

    async def _send_all(self) -> None:
        await asyncio.shield(self._link)  # nobody is asked for anything before
        async for wanted in self._inputs:
            if isinstance(wanted, Close):
                self._close = wanted
                return
            while not await self._send(wanted):
                if not self._wishes.reconnects:
                    return

    async def _send(self, wanted: Input) -> bool:
        """Do what is wanted over the connection that is open; false where that can be repeated."""
        link = await asyncio.shield(self._link)
        try:
            if isinstance(wanted, str | bytes):
                await link.connection.send(wanted)
                self._record.sent(wanted)
            elif isinstance(wanted, AsyncIterator):
                await link.connection.send(self._record.sending(wanted))
            elif not isinstance(wanted, Close):
                await wanted(link)
        except ConnectionClosed:
            self._withdraw(link)
            if not isinstance(wanted, AsyncIterator):
                return False
            self._screen.note("the connection ended before everything of a message was sent")
        return True

    def _offer(self, link: Link) -> None:
        """Let things be sent over a connection."""
        self._link.set_result(link)

    def _withdraw(self, link: Link) -> None:
        """Let nothing more be sent over a connection; what is to be sent waits for the next."""
        if self._link.done() and self._link.result() is link:
            self._link = asyncio.get_running_loop().create_future()

    # --- the end ---

    async def _linger(self, connection: AsyncConnection, ends: set[asyncio.Future[Any]]) -> None:
        """Wait for what is still to come when everything was sent."""
        wait = math.inf if self._wishes.wait is None and self._wishes.one else self._wishes.wait
        if wait is None:
            await self._wait_for_silence(connection, ends)
        else:
            timeout = None if wait == math.inf else wait
            await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    async def _wait_for_silence(
        self, connection: AsyncConnection, ends: set[asyncio.Future[Any]]
    ) -> None:
        # What was sent may be on its way for long, and the peer may be at work on its answer:
        # a pong says that it has read everything, a second one that it has nothing else to do.
        endpoint = connection.endpoint
        is_over = await self._is_over_before_pong(connection, ends)
        while not is_over:
            heard = endpoint.bytes_received
            over, _ = await asyncio.wait(
                ends, timeout=QUIET_TIME, return_when=asyncio.FIRST_COMPLETED
            )
            is_over = bool(over) or await self._is_over_before_pong(connection, ends)
            is_over = is_over or endpoint.bytes_received - heard <= PONGS_SIZE

    async def _is_over_before_pong(
        self, connection: AsyncConnection, ends: set[asyncio.Future[Any]]
    ) -> bool:
        """Send a ping and wait for its pong; tells whether that was in vain."""
        if not self._wishes.pings:
            return False
        ping = asyncio.create_task(_ping(connection))
        over, _ = await asyncio.wait({ping, *ends}, return_when=asyncio.FIRST_COMPLETED)
        ping.cancel()
        return bool(over & ends)

    def _conclude(self, link: Link) -> bool:
        """Tell how a connection ended, and whether that was well."""
        self._record.closed(link.connection)
        closed = link.connection.endpoint.closed
        ended_well = _is_well(closed, self._close)
        if self._tells or not ended_well:
            self._screen.note(f"{closed}; {link.describe_traffic()}")
        return ended_well

    def _tell_opened(self, connection: AsyncConnection) -> None:
        subprotocol = connection.subprotocol
        spoken = f", subprotocol {subprotocol}" if subprotocol else ""
        hint = "; /help lists commands" if self._wishes.typed else ""
        self._screen.note(f"connected to {connection.request.url}{spoken}{hint}")


async def _ping(connection: AsyncConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        await connection.ping()


def _is_well(closed: ConnectionClosed, ours: Close) -> bool:
    """Tell a closing handshake that both ends wanted from anything else."""
    if closed.by_peer:
        return closed.is_clean or closed.code == CloseCode.NO_STATUS
    return closed.sent_code == ours.code and closed.code != CloseCode.ABNORMAL
