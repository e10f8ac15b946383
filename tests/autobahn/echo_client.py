"""The clients that are examined: `python -m tests.autobahn.echo_client WAY URL`.

Every message is sent back, in as many cases as the testsuite has. WAY is the agent's name, too.
The testsuite answers an offer of a smaller window with one of 15 bits, which RFC 7692 §7.1.2.2
forbids and we refuse, so 15 bits are offered.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

from tests.autobahn.echo_app import OPTIONS
from ws_middleware import ConnectionClosed, PermessageDeflate, aconnect, connect

SETTINGS: Any = {name: value for name, value in OPTIONS.items() if name != "origins"}
SETTINGS["extensions"] = [PermessageDeflate(client_max_window_bits=15)]


def run_blocking(url: str) -> None:
    with connect(f"{url}/getCaseCount") as connection:
        cases = int(connection.recv())
    for case in range(1, cases + 1):
        with (
            connect(f"{url}/runCase?case={case}&agent=connect", **SETTINGS) as connection,
            contextlib.suppress(ConnectionClosed),
        ):
            for message in connection:
                connection.send(message)


async def run_asynchronous(url: str) -> None:
    async with aconnect(f"{url}/getCaseCount") as connection:
        cases = int(await connection.recv())
    for case in range(1, cases + 1):
        async with aconnect(f"{url}/runCase?case={case}&agent=aconnect", **SETTINGS) as connection:
            with contextlib.suppress(ConnectionClosed):
                async for message in connection:
                    await connection.send(message)


if __name__ == "__main__":
    way, url = sys.argv[1:]
    if way == "connect":
        run_blocking(url)
    else:
        asyncio.run(run_asynchronous(url))
