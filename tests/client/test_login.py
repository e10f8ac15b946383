"""Clients of ours log in at our server, in each way that both know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.inprocess import run_really
from ws_middleware import (
    AsyncConnection,
    HandshakeRefused,
    Password,
    Server,
    Token,
    WebSockets,
    aconnect,
    connect,
)
from ws_middleware.auth import AnyOf, Basic, Bearer, Digest

#: A name and a password that no grammar finds easy.
USER, SECRET = 'J\u00e4son "Doe", \\', 'pass: w\u00f6rd "\\'
USERS = {USER: SECRET, "ada": "secret"}

WAYS: dict[str, Callable[[], Any]] = {
    "basic": lambda: Basic(USERS),
    **{
        algorithm: lambda algorithm=algorithm: Digest(USERS, algorithms=[algorithm])  # type: ignore[misc]
        for algorithm in ("SHA-256", "SHA-512-256", "MD5", "SHA-256-sess", "MD5-sess")
    },
    "userhash": lambda: Digest(USERS, userhash=True),
    "several": lambda: AnyOf(Digest(USERS, algorithms=["SHA-256", "MD5"]), Basic(USERS)),
}


def _serve(authenticate: Any, work: Callable[[str], Any]) -> None:
    ws = WebSockets(authenticate=authenticate)

    @ws.route("/who")
    async def tell(connection: AsyncConnection) -> None:
        await connection.send(str(connection.identity))

    async def run() -> None:
        async with Server(ws, port=0) as server:
            await work(f"ws://127.0.0.1:{server.port}/who?x=1")

    run_really(run())


def _ask(url: str, **settings: Any) -> str:
    with connect(url, proxy=None, **settings) as connection:
        return connection.recv_text(30)


async def _ask_async(url: str, **settings: Any) -> str:
    async with aconnect(url, proxy=None, **settings) as connection:
        return await connection.recv_text(30)


@pytest.mark.parametrize("way", WAYS)
def test_password_logs_in_again_and_again(way: str) -> None:
    async def work(url: str) -> None:
        credentials = Password(USER, SECRET)
        for _ in range(3):
            assert await _ask_async(url, credentials=credentials) == USER
            assert await asyncio.to_thread(_ask, url, credentials=credentials) == USER
        assert await _ask_async(url.replace("://", "://ada:secret@")) == "ada"

    _serve(WAYS[way](), work)


@pytest.mark.parametrize("way", WAYS)
def test_wrong_password_is_refused(way: str) -> None:
    async def work(url: str) -> None:
        for credentials in (Password(USER, "wrong"), Password("nobody", SECRET), None):
            with pytest.raises(HandshakeRefused) as caught:
                await _ask_async(url, credentials=credentials)
            assert caught.value.status == 401

    _serve(WAYS[way](), work)


def test_token_logs_in() -> None:
    async def work(url: str) -> None:
        assert await _ask_async(url, credentials=Token("abc")) == "ada"
        with pytest.raises(HandshakeRefused, match="401"):
            await _ask_async(url, credentials=Token("xyz"))

    _serve(Bearer(lambda token: "ada" if token == "abc" else None), work)
