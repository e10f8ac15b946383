"""Plain HTTP beside the routes, through the same guard: framed exactly, answered once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.peer import Peer
from tests.running import PATIENCE, RunningServer, eventually, run_server
from tests.servers.asking import read_refusal

TARGETS = ("tests.servers.policies:ws", "tests.servers.policies:app")


def request(path: str = "/x", *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: here", *lines])
    return head.encode() + b"\r\n\r\n" + body


def answer(peer: Peer) -> dict[str, Any]:
    reply = peer.reply()
    assert reply.status == 200, reply
    answered: dict[str, Any] = json.loads(peer.body(reply))
    return answered


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


CHUNKED = "Transfer-Encoding: chunked"


def test_connection_is_kept_for_further_requests(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        for number in range(5):
            peer.send(request(f"/{number}"))
            assert answer(peer)["path"] == f"/{number}"


@pytest.mark.parametrize("requests", [2, 200])
def test_pipelined_requests_are_answered_in_their_order(
    server: RunningServer, requests: int
) -> None:
    with Peer(server.port) as peer:
        peer.send(b"".join(request(f"/{number}") for number in range(requests)))
        for number in range(requests):
            assert answer(peer)["path"] == f"/{number}"


def test_pipeline_cut_anywhere_loses_nothing(server: RunningServer) -> None:
    first = request("/1", "Content-Length: 5", method="POST", body=b"hello")
    second = request("/2", CHUNKED, method="POST", body=chunked(b"wor", b"ld"))
    data = first + second + request("/3")
    for cut in range(1, len(data)):
        with Peer(server.port) as peer:
            peer.send(data[:cut])
            peer.send(data[cut:])
            answers = [answer(peer) for _ in range(3)]
            assert [one["path"] for one in answers] == ["/1", "/2", "/3"], cut
            assert [one["body"] for one in answers] == ["hello", "world", ""], cut


def test_what_comes_while_a_response_ends_keeps_its_place(server: RunningServer) -> None:
    """The race of a pipeline's second half with the end of a response, many times."""
    with Peer(server.port) as peer:
        for number in range(300):
            whole = request(f"/{number}/a") + request(f"/{number}/b") + request(f"/{number}/c")
            cut = 1 + number % (len(whole) - 1)
            peer.send(whole[:cut])
            peer.send(whole[cut:])
            assert [answer(peer)["path"][-1] for _ in "abc"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["Content-Length: 11"], b"hello world"),
        (["Content-Length: 0"], b""),
        ([CHUNKED], chunked(b"hello ", b"world")),
        ([CHUNKED], b"b;name=value\r\nhello world\r\n0\r\nTrailer: x\r\n\r\n"),
    ],
    ids=["length", "empty", "chunked", "extension and trailer"],
)
def test_body_reaches_the_app(server: RunningServer, lines: list[str], body: bytes) -> None:
    with Peer(server.port) as peer:
        peer.send(request("/post", *lines, method="POST", body=body))
        assert answer(peer)["body"] == ("hello world" if body else "")
        peer.send(request("/next"))
        assert answer(peer)["path"] == "/next"


def test_large_body_reaches_the_app(server: RunningServer) -> None:
    body = b"x" * 2**20
    with Peer(server.port) as peer:
        peer.send(request("/post", f"Content-Length: {len(body)}", method="POST") + body)
        assert len(answer(peer)["body"]) == len(body)


def test_body_is_asked_for_with_100_continue(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        lines = ["Content-Length: 4", "Expect: 100-continue"]
        peer.send(request("/post", *lines, method="POST"))
        assert peer.reply().status == 100
        peer.send(b"body")
        assert answer(peer)["body"] == "body"


@pytest.mark.row(4)
def test_http_1_0_client_gets_no_1xx(server: RunningServer) -> None:
    head = b"POST /post HTTP/1.0\r\nHost: here\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    with Peer(server.port) as peer:
        peer.send(head)
        peer.send(b"body")
        assert answer(peer)["body"] == "body"
        peer.read_end()


def test_head_has_no_body(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.send(request(method="HEAD") + request("/next"))
        assert peer.reply().status == 200
        assert answer(peer)["path"] == "/next"


@pytest.mark.parametrize("path", ["/echo", "/rooms/1"])
def test_plain_request_on_a_route_is_told_to_upgrade(server: RunningServer, path: str) -> None:
    """The app beside has the path, unless there is none: see the standalone test below."""
    with Peer(server.port) as peer:
        peer.send(request(path))
        assert answer(peer)["path"] == path


@pytest.mark.parametrize("close", ["GET / HTTP/1.0", "GET / HTTP/1.1\r\nConnection: close"])
def test_connection_is_closed_where_asked(server: RunningServer, close: str) -> None:
    with Peer(server.port) as peer:
        peer.send(f"{close}\r\nHost: here\r\n\r\n".encode() + request("/never"))
        assert answer(peer)["path"] == "/"
        peer.read_end()


def test_upgrade_to_something_else_is_ignored(server: RunningServer) -> None:
    lines = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"]
    with Peer(server.port) as peer:
        peer.send(request("/a", *lines))
        assert answer(peer)["path"] == "/a"
        peer.send(request("/b", *lines, "Content-Length: 2", method="POST", body=b"hi"))
        assert answer(peer)["body"] == "hi"
        peer.send(request("/c"))
        assert answer(peer)["path"] == "/c"


@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.0", "x"])
def test_body_behind_another_upgrade_is_no_request(server: RunningServer, upgrade: str) -> None:
    hidden = request("/hidden")
    lines = ["Connection: Upgrade", f"Upgrade: {upgrade}", f"Content-Length: {len(hidden)}"]
    with Peer(server.port) as peer:
        peer.send(request("/post", *lines, method="POST", body=hidden) + request("/next"))
        assert answer(peer)["body"] == hidden.decode()
        assert answer(peer)["path"] == "/next"


def test_connect_is_refused(server: RunningServer) -> None:
    hidden = request("/hidden")
    for target in ("/x", "here:80"):
        with Peer(server.port) as peer:
            peer.send(request(target, f"Content-Length: {len(hidden)}", method="CONNECT") + hidden)
            assert read_refusal(peer).status == 501


def test_preface_of_http2_is_refused(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        assert read_refusal(peer).status == 400


# --- a WebSocket behind plain requests ---


def test_kept_connection_can_still_become_a_websocket(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.send(request("/a"))
        answer(peer)
        peer.open("/echo").echo("behind plain HTTP")
        peer.close()


def test_handshake_pipelined_behind_a_body_becomes_a_websocket(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        body = request("/post", CHUNKED, method="POST", body=chunked(b"hello"))
        peer.send(body + peer.request("/echo"))
        assert answer(peer)["body"] == "hello"
        assert peer.reply().status == 101
        peer.echo("behind a body")


def test_refusal_behind_plain_requests_is_complete(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.send(request("/a") + request("/b", "Broken Name: x"))
        assert answer(peer)["path"] == "/a"
        assert read_refusal(peer).status == 400


# --- bodies nobody wants, bodies that break ---


def test_unread_body_is_no_request(server: RunningServer) -> None:
    hidden = request("/hidden")
    with Peer(server.port) as peer:
        peer.send(request("/unread", f"Content-Length: {len(hidden)}", method="POST"))
        assert answer(peer)["path"] == "/unread"
        peer.send(hidden + request("/next"))
        assert answer(peer)["path"] == "/next"


def test_body_that_comes_behind_its_response_does_not_hold_the_connection_for_ever(
    server: RunningServer,
) -> None:
    with Peer(server.port) as peer:
        peer.send(request("/unread", "Content-Length: 1000", method="POST"))
        answer(peer)
        peer.send(b"x")
        with pytest.raises((EOFError, ConnectionResetError)):
            peer.read(1)


def test_connection_idle_behind_an_unread_body_is_closed(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.send(request("/unread", "Content-Length: 1", method="POST"))
        answer(peer)
        peer.send(b"x")
        peer.read_end()


def test_second_head_has_a_deadline_too(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.send(request("/a") + b"GET /b HTTP/1.1\r\n")
        assert answer(peer)["path"] == "/a"
        peer.read_end()


BROKEN_CHUNKS = [b"zz\r\n", b"-1\r\nx", b"5\r\nhello!!", b"5 5\r\nhello\r\n", b"\r\n"]


@pytest.mark.parametrize("broken", BROKEN_CHUNKS)
def test_broken_body_is_answered_with_400(server: RunningServer, broken: bytes) -> None:
    with Peer(server.port) as peer:
        peer.send(request("/post", CHUNKED, method="POST", body=broken + request("/hidden")))
        reply = peer.reply()
        assert reply.status == 400
        peer.body(reply)
        peer.read_end()


@pytest.mark.parametrize("broken", [*BROKEN_CHUNKS, b"5;\x01\r\nhello\r\n"])
@pytest.mark.parametrize("path", ["/unread", "/early"])
def test_broken_body_behind_a_response_is_not_answered_again(
    server: RunningServer, path: str, broken: bytes
) -> None:
    with Peer(server.port) as peer:
        peer.send(request(path, CHUNKED, method="POST"))
        peer.read_until(b"{")
        peer.send(broken + request("/hidden"))
        rest = peer.read_rest()
        assert b"HTTP/1.1" not in rest, rest


@pytest.mark.parametrize("path", ["/post", "/unread"])
def test_endless_trailers_smuggle_nothing_past_the_guard(server: RunningServer, path: str) -> None:
    trailers = b"".join(b"X-%d: %b\r\n" % (number, b"y" * 1000) for number in range(200))
    with Peer(server.port) as peer:
        peer.send(request(path, CHUNKED, method="POST", body=b"0\r\n" + trailers))
        peer.send(b"\r\n" + request("/hidden"))
        rest = peer.read_rest()
        assert rest.count(b"HTTP/1.1") <= 1
        assert b"/hidden" not in rest


@pytest.mark.row(46, 47)
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Content-Length: 5", CHUNKED], 400),
        (["Content-Length: 5", "Content-Length: 6"], 400),
        (["Content-Length: 5, 6"], 400),
        (["Content-Length: -5"], 400),
        (["Content-Length: +5"], 400),
        (["Content-Length: 0x5"], 400),
        (["Content-Length: 99999999999999999999999"], 400),
        (["Content-Length:"], 400),
        (["Transfer-Encoding: gzip, chunked"], 501),
        (["Transfer-Encoding: chunked, chunked"], 501),
        (["Transfer-Encoding: xchunked"], 501),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], 501),
        (["Transfer-Encoding : chunked"], 400),
        (["Transfer-Encoding: \x0bchunked"], 400),
    ],
)
def test_ambiguous_framing_is_refused(server: RunningServer, lines: list[str], status: int) -> None:
    with Peer(server.port) as peer:
        peer.send(request("/post", *lines, method="POST", body=b"5\r\nhello\r\n0\r\n\r\n"))
        reply = peer.reply()
        assert reply.status == status
        peer.body(reply)
        peer.read_end()


@pytest.mark.parametrize(
    "line",
    ["PRI * HTTP/2.0", "GET / HTTP/2.0", "OPTIONS * HTTP/1.1", "GET http:// HTTP/1.1"],
)
def test_odd_request_is_answered_once_and_closed(server: RunningServer, line: str) -> None:
    with Peer(server.port) as peer:
        peer.send(f"{line}\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
        reply = peer.reply()
        assert reply.status in (200, 400)
        peer.body(reply)
        peer.read_end()


def test_app_is_told_when_the_peer_leaves_in_the_middle_of_a_body(server: RunningServer) -> None:
    before = server.descriptors
    for leave in (Peer.reset, Peer.finish):
        with Peer(server.port) as peer:
            peer.send(request("/post", "Content-Length: 10", method="POST", body=b"12"))
            leave(peer)
    eventually(lambda: server.descriptors <= before)


# --- other servers ---


def test_routes_alone_refuse_plain_requests_completely(tmp_path: Any) -> None:
    with (
        run_server(tmp_path / "log", "tests.servers.policies:ws") as server,
        Peer(server.port) as peer,
    ):
        body = b"not wanted"
        peer.send(request("/echo", f"Content-Length: {len(body)}", method="POST", body=body))
        reply = peer.reply()
        assert (reply.status, reply.fields["upgrade"]) == (426, "websocket")
        assert reply.fields["connection"].lower() == "upgrade"
        peer.body(reply)
        peer.send(request("/nowhere"))
        reply = peer.reply()
        assert reply.status == 404
        peer.body(reply)
        peer.open("/echo").echo("still there")


def test_wsgi_app_answers_beside_the_routes(tmp_path: Any) -> None:
    targets = ("tests.servers.policies:ws", "tests.servers.policies:wsgi")
    with run_server(tmp_path / "log", *targets) as server, Peer(server.port) as peer:
        for body in (b"", b"hello"):
            length = f"Content-Length: {len(body)}"
            peer.send(request("/wsgi", length, method="POST", body=body))
            reply = peer.reply()
            assert peer.body(reply) == b"POST /wsgi " + body
        peer.send(request("/wsgi", CHUNKED, method="PUT", body=chunked(b"a", b"b")))
        assert peer.body(peer.reply()) == b"PUT /wsgi ab"
        peer.open("/echo").echo("a route beside")
        with Peer(server.port) as other:
            other.send(other.request("/nowhere"))
            assert read_refusal(other).status == 403
        server.terminate()
        assert server.wait(PATIENCE) == 0
        assert "Traceback" not in server.log
