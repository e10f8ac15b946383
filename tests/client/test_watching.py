"""A watcher sees all that a client sends and receives, in its order."""

from __future__ import annotations

import pytest

from tests.client.scripted import accepting, refusing, scripted
from tests.client.ways import Open, both_ways, read_all
from tests.peer import CLOSE, TEXT, frame
from ws_middleware.client import Password, Watcher
from ws_middleware.core.handshake import RequestHead, ResponseHead
from ws_middleware.errors import ProxyError

FRAMES = frame(TEXT, "hello", key=None) + frame(CLOSE, b"\x03\xe8", key=None)
OPEN_AND_CLOSE = accepting() + FRAMES.decode("latin-1")


class Note(Watcher):
    def __init__(self) -> None:
        self.steps: list[str] = []
        self.bytes_sent = self.bytes_received = b""

    def begin(self, step: str) -> None:
        self.steps.append(step)

    def request(self, head: RequestHead) -> None:
        authorized = any(name == "Authorization" for name, _ in head.fields)
        self.steps.append(f"{head.method} {head.target} {authorized}")

    def response(self, head: ResponseHead) -> None:
        self.steps.append(str(head.status))

    def sent(self, data: bytes) -> None:
        self.bytes_sent += data

    def received(self, data: bytes) -> None:
        self.bytes_received += data


@both_ways
def test_watcher_sees_requests_answers_and_frames(open_: Open) -> None:
    note = Note()
    challenge = 'WWW-Authenticate: Basic realm="r"'
    answers = [refusing(302, "Location: /there"), refusing(401, challenge), OPEN_AND_CLOSE]
    with scripted(*answers) as script:
        password = Password("user", "secret")
        messages, _ = read_all(open_, script.url, credentials=password, watcher=note)
    assert messages == ["hello"]
    connecting = f"connect to 127.0.0.1:{script.port}"
    assert note.steps == [
        *[connecting, "GET / False", "302"],
        *[connecting, "GET /there False", "401", "GET /there True", "101"],
    ]
    assert note.bytes_received == FRAMES
    assert note.bytes_sent == script.received
    assert note.bytes_sent[:1] == bytes([0x80 | CLOSE])


@both_ways
def test_watcher_sees_proxies_and_what_fails(open_: Open) -> None:
    note = Note()
    with scripted(refusing(503)) as script:
        proxy = f"http://127.0.0.1:{script.port}"
        with pytest.raises(ProxyError):
            read_all(open_, "ws://server.example/", proxy=proxy, watcher=note)
    assert note.steps == [f"connect to the proxy {proxy}", "CONNECT server.example:80 False", "503"]


@both_ways
def test_watcher_that_does_nothing_is_one_too(open_: Open) -> None:
    with scripted(OPEN_AND_CLOSE) as script:
        assert read_all(open_, script.url, watcher=Watcher())[0] == ["hello"]
