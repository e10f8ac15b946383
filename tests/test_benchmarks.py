"""The benchmarks run, measure what they say, and notice a server that cheats."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as comparison
from benchmarks import auth, codec, load
from benchmarks import client as client_comparison
from benchmarks.clients import BLOCKING, CLIENTS, LOOPING, run_blocking, run_looping
from benchmarks.measure import WORKLOADS
from benchmarks.plot import make_plot
from benchmarks.report import make_report
from benchmarks.servers import SERVERS
from ws_middleware import AsyncConnection, Server, WebSockets


@pytest.fixture(autouse=True)
def _compiler(need: Callable[[str], str]) -> None:
    need("cc")


async def _echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def _shout(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message.upper())


async def _hang_up(connection: AsyncConnection) -> None:
    await connection.recv()


def _load(handler: Callable[[AsyncConnection], Awaitable[None]], mode: str, **options: int) -> int:
    """Give how much a server with this handler did in a moment."""

    async def main() -> int:
        ws = WebSockets()
        ws.add("/", handler)
        async with Server(ws, port=0) as server:
            result = await asyncio.to_thread(
                load.run, mode, port=server.port, seconds=0.1, warmup=0, **options
            )
        return int(result["done"])

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("echo", {"connections": 3, "size": 0}),
        ("echo", {"connections": 2, "depth": 20, "size": 126}),
        ("echo", {"connections": 2, "depth": 3, "size": 65536, "binary": True}),
        ("echo", {"connections": 2, "size": 1024, "deflate": True}),
        ("handshake", {"connections": 2}),
    ],
)
def test_load_generator_drives_a_server(mode: str, options: dict[str, int]) -> None:
    assert _load(_echo, mode, **options) > 0


@pytest.mark.parametrize(
    ("handler", "complaint"), [(_shout, "reply 0 is no echo"), (_hang_up, "closed with 1000")]
)
def test_load_generator_notices_what_is_no_echo(
    handler: Callable[[AsyncConnection], Awaitable[None]], complaint: str
) -> None:
    with pytest.raises(load.LoadError, match=complaint):
        _load(handler, "echo")


def test_load_generator_is_rebuilt_for_newer_source(tmp_path: Path) -> None:
    program = load.build(tmp_path / "cache" / "load")
    built = program.stat().st_mtime
    assert load.build(program).stat().st_mtime == built
    os.utime(program, (0, 0))
    assert load.build(program).stat().st_mtime >= built


def test_every_server_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "results.md"
    assert (
        comparison.main(["--quick", "--workloads", "32", "broadcast", "--output", str(output)]) == 0
    )
    report = output.read_text()
    assert all(f"| {server} | " in report for server in SERVERS)
    assert report in capsys.readouterr().out


def test_every_workload_is_measured(tmp_path: Path) -> None:
    output = tmp_path / "results.md"
    servers = ["ws_middleware", "ws_middleware-broadcast"]
    assert comparison.main(["--quick", "--servers", *servers, "--output", str(output)]) == 0
    sections = output.read_text().split("\n## ")[1:]
    assert [section.partition(":")[0] for section in sections] == list(WORKLOADS)
    assert all("| ws_middleware" in section for section in sections)


def test_report_gives_ratios_of_medians_and_of_rounds() -> None:
    costs = {"32": {"websockets": [20.0, 24.0, 40.0], "ws_middleware": [10.0, 16.0, 8.0]}}
    report = make_report(costs, "3 rounds")
    assert "| websockets : ws_middleware | **2.40** (1.50 to 5.00) |" in report
    assert "| websockets | 24.00 | 20.00 to 40.00 | 41,667 |" in report


def test_plot_shows_how_much_more_than_the_reference() -> None:
    costs = {"32": {"ws_middleware": [10.0], "websockets": [25.0], "picows": []}, "1k": {}}
    drawn = make_plot(costs)
    titles = [one.text for one in ElementTree.fromstring(drawn).iter() if "title" in one.tag]
    assert titles == ["ws_middleware 2.50", "websockets 1.00"]


def test_protocol_layer_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert codec.main(["--smoke"]) == 0
    printed = capsys.readouterr().out
    assert all(f"| {row} | " in printed for row in codec.ROWS)


def test_authenticators_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert auth.main(["--smoke"]) == 0
    printed = capsys.readouterr().out
    assert all(f"| {row} | " in printed for row in auth.ROWS)
    assert "10 challenges: +0 KiB" in printed


@pytest.mark.parametrize("client", CLIENTS)
def test_clients_are_measured(client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.clients.WARM_UP", 0.0)

    ws = WebSockets(extensions=())
    ws.add("/", _echo)

    async def measure() -> float:
        async with Server(ws, port=0) as server:
            url = f"ws://127.0.0.1:{server.port}/"
            if client in BLOCKING:
                return await asyncio.to_thread(run_blocking, BLOCKING[client], "32", url, 0.05)
            return await run_looping(LOOPING[client], "32", url, 0.05)

    assert asyncio.run(measure()) > 0


def test_comparison_of_clients_is_written(tmp_path: Path) -> None:
    output = tmp_path / "results.md"
    options = ["--rounds", "1", "--seconds", "0.1", "--output", str(output)]
    chosen = ["--clients", "connect", "websockets.sync", "--workloads", "receive"]
    assert client_comparison.main([*options, *chosen]) == 0
    assert "websockets.sync : connect" in output.read_text()
