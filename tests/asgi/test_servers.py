"""What every ASGI server does with our handlers: the same, but for the facts of its kind."""

from __future__ import annotations

import importlib.metadata
import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.asgi.conftest import Connect, connect
from tests.asgi.kinds import KINDS, SHAPES, Kind, Served, serve, shapes
from tests.asgi.oldest import oldest
from tests.peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Peer, Reply, frame
from tests.running import Log, eventually
from tests.wsgi.apps import CLOSE_CODE

LARGE = b"\xff" * 300_000
JSON = dict[str, object]


def answer_close(peer: Peer) -> tuple[int, str]:
    """Read the server's close, and answer it."""
    told = peer.read_close()
    peer.send_frame(CLOSE, told[0].to_bytes(2, "big"))
    return told


def leave(peer: Peer, code: int = 1000) -> None:
    """Close; the code that is answered is the server's business."""
    peer.send_frame(CLOSE, code.to_bytes(2, "big") + b"bye")
    peer.read_close()
    peer.socket.close()


def request(peer: Peer, path: str, **fields: str | None) -> Reply:
    """Ask for a WebSocket, and read the head of the answer."""
    peer.send(peer.request(path, fields={n.replace("_", "-"): v for n, v in fields.items()}))
    return peer.reply()


def test_version_is_the_one_that_is_meant(server: Served) -> None:
    name = server.kind.module
    meant = oldest(name) if server.kind.oldest else importlib.metadata.version(name)
    eventually(lambda: f"[{name} {meant}" in server.log)


# --- conversations ---


@shapes
def test_messages_come_back(server: Served, peer: Peer, shape: str) -> None:
    peer.open(f"/{shape}")
    for message in ("text, ö, 🙂", bytes(range(256)), "x" * 70_000, LARGE):
        peer.echo(message)
    leave(peer)


@pytest.mark.support("empty")
def test_empty_messages(server: Served, peer: Peer) -> None:
    peer.open("/async").send(frame(TEXT) + frame(BINARY) + frame(TEXT, "behind"))
    if server.kind.sends_empty:
        assert peer.read_message() == ""
        assert peer.read_message() == b""
    assert peer.read_message() == "behind"
    leave(peer)


@shapes
def test_fragments_are_put_together_with_pings_between(
    server: Served, peer: Peer, shape: str
) -> None:
    peer.open(f"/{shape}")
    peer.send(frame(TEXT, "one ", fin=False) + frame(PING, "now"))
    received = peer.read_frame()
    assert (received.opcode, received.payload) == (PONG, b"now")
    peer.send(frame(CONTINUATION, "two ", fin=False) + frame(CONTINUATION, "three"))
    assert peer.read_message() == "one two three"
    leave(peer)


@pytest.mark.support("frames")
@pytest.mark.parametrize("path", ["/pinging", "/blocking-ping"])
def test_ping_needs_frames(server: Served, peer: Peer, path: str) -> None:
    peer.open(path)
    if server.kind.frames:
        received = peer.read_frame()
        assert received.opcode == PING
        peer.send_frame(PONG, received.payload)
    told = str(peer.read_message())
    assert told.startswith("latency" if server.kind.frames else "unsupported: ping() needs frames")


@pytest.mark.support("extensions")
def test_extensions_are_ours_where_frames_are(server: Served, peer: Peer, log: Log) -> None:
    peer.open("/telling", fields={"Sec-WebSocket-Extensions": "permessage-deflate"})
    agreed = peer.fields.get("sec-websocket-extensions", "") if server.kind.frames else ""
    assert ("permessage-deflate" in agreed) is server.kind.frames
    eventually(lambda: f"[extensions: {agreed}]" in str(log))


def test_many_at_once(server: Served, new_peer: Connect) -> None:
    peers = [new_peer().open(f"/{shape}") for shape in SHAPES * 5]
    for peer in peers:
        peer.send_frame(TEXT, "each of many")
    for peer in peers:
        assert peer.read_message() == "each of many"
    for peer in peers:
        leave(peer)


def test_handler_knows_its_request(server: Served, peer: Peer) -> None:
    fields: dict[str, str | None] = {"Cookie": "taste=sweet", "Sec-WebSocket-Protocol": "other"}
    peer.open("/told/a%20b?x=%31", fields=fields)
    told: JSON = json.loads(peer.read_message())
    assert told == {
        "name": "a b",
        "target": "/told/a%20b?x=%31",
        "query": "1",
        "cookie": "sweet",
        "host": peer.host,
        "secure": server.kind.tls,
        "version": "1.1",
        "address": "127.0.0.1",
        "subprotocol": None,
    }
    assert answer_close(peer) == (1000, "")


# --- endings ---


@pytest.mark.support("codes")
def test_peer_closes(server: Served, peer: Peer, log: Log) -> None:
    peer.open("/async").echo("before")
    leave(peer, 4242)
    seen = 4242 if server.kind.tells_codes else 1006
    eventually(lambda: f"closed with {seen} " in str(log))


@pytest.mark.support("reasons")
@shapes
def test_server_closes(server: Served, peer: Peer, shape: str) -> None:
    peer.open(f"/{shape}").send_frame(TEXT, "close")
    assert answer_close(peer) == (CLOSE_CODE, "enough" if server.kind.sends_reasons else "")


@shapes
def test_handler_that_returns(server: Served, peer: Peer, shape: str) -> None:
    peer.open(f"/{shape}").send_frame(TEXT, "return")
    assert answer_close(peer) == (1000, "")


@pytest.mark.support("our-codes")
@shapes
def test_handler_that_raises(server: Served, peer: Peer, log: Log, shape: str) -> None:
    peer.open(f"/{shape}").send_frame(TEXT, "raise")
    assert answer_close(peer)[0] == (1011 if server.kind.sends_codes else 4011)
    eventually(lambda: "LookupError: on purpose" in str(log))
    assert str(log).count("Traceback") == 1


@pytest.mark.support("limit")
def test_message_above_the_limit(server: Served, peer: Peer) -> None:
    peer.open("/async").send_frame(BINARY, bytes(2**20 + 1))
    if server.kind.limit is None:
        assert answer_close(peer) == (1009, "message of more than max_message_size=1048576 bytes")
    else:
        with pytest.raises((EOFError, ConnectionResetError)):
            peer.read_frame()


def test_peer_that_left_is_noticed_by_who_only_sends(server: Served, peer: Peer, log: Log) -> None:
    peer.open("/sending").read_message()
    peer.reset()
    eventually(lambda: "'/sending' identity=" in str(log))
    assert "Traceback" not in str(log)


# --- handshakes ---


@pytest.mark.parametrize(
    ("offered", "chosen"), [("chat.v1, chat.v2", "chat.v2"), ("chat.v1", "chat.v1"), ("x", None)]
)
def test_subprotocol(server: Served, peer: Peer, offered: str, chosen: str | None) -> None:
    peer.open("/spoken", fields={"Sec-WebSocket-Protocol": offered})
    assert peer.fields.get("sec-websocket-protocol") == chosen
    leave(peer)


@pytest.mark.support("denies")
def test_refusal_is_ours(server: Served, peer: Peer) -> None:
    reply = request(peer, "/guarded", Origin="https://evil.example")
    assert reply.status == 403
    if server.kind.denies:
        reason = b"the origin 'https://evil.example' may not connect (setting: origins)\n"
        assert peer.body(reply) == reason


@pytest.mark.support("denies")
def test_challenge_of_an_authenticator(server: Served, peer: Peer) -> None:
    reply = request(peer, "/known")
    assert reply.status == (401 if server.kind.denies else 403)
    if server.kind.denies:
        assert reply.fields["www-authenticate"] == 'Bearer realm="test"'
        assert peer.body(reply) == b"who are you?\n"


def test_identity_reaches_the_handler(server: Served, peer: Peer) -> None:
    peer.open("/known", fields={"Authorization": "Bearer good"})
    assert peer.read_message() == "you are ann"


def test_first_message_is_the_word(server: Served, new_peer: Connect) -> None:
    for shape in ("async", "def", "callbacks"):
        peer = new_peer().open(f"/door/{shape}/word")
        peer.send_frame(TEXT, "open sesame")
        assert json.loads(peer.read_message())["identity"] == "ali"
        leave(peer)
        peer = new_peer().open(f"/door/{shape}/word")
        peer.send_frame(TEXT, "open barley")
        assert answer_close(peer)[0] == 4403


def test_connection_ends_when_credentials_expire(server: Served, peer: Peer) -> None:
    peer.open("/door/async/moment", fields={"Authorization": "Key ann"})
    received = peer.read_frame()
    if received.opcode == TEXT:  # else the credentials expired before
        received = peer.read_frame()
    assert received.payload[:2] == (4401).to_bytes(2, "big")


def test_refusal_is_readable_by_scripts(server: Served, peer: Peer) -> None:
    scheme = "https" if server.kind.tls else "http"
    origin: dict[str, str | None] = {"Origin": f"{scheme}://127.0.0.1:{server.port}"}
    peer.open("/door/async/readable", fields=origin)
    code, reason = answer_close(peer)
    assert code == 4403
    assert reason == ("you may not connect here" if server.kind.sends_reasons else "")


def test_path_of_nobody_is_refused_by_the_app(server: Served, peer: Peer) -> None:
    assert request(peer, "/nobody").status == 403


@pytest.mark.support("early")
def test_frame_in_the_requests_segment(server: Served, peer: Peer) -> None:
    peer.send(peer.request("/async") + frame(TEXT, "early"))
    reply = peer.reply()
    if server.kind.early == "refused":
        assert reply.status == 400
        return
    assert reply.status == 101
    if server.kind.early == "kept":
        assert peer.read_message() == "early"
    peer.echo("behind")
    leave(peer)


# --- what is not ours ---


@pytest.mark.support("fields")
def test_sockets_of_the_apps_own(server: Served, peer: Peer) -> None:
    peer.open("/own/echo", fields={"Sec-WebSocket-Protocol": "a, b"})
    assert peer.fields["sec-websocket-protocol"] == "b"
    assert peer.fields.get("x-own") == ("yes" if server.kind.sends_fields else None)
    peer.echo("hello")
    peer.echo("x" * 300_000)
    peer.send_frame(TEXT, "close")
    assert answer_close(peer)[0] == 4321


def test_socket_of_the_apps_own_is_told_why_we_failed_it(
    server: Served, peer: Peer, log: Log
) -> None:
    if server.kind.frames:
        peer.open("/own/listen").send_frame(TEXT, b"\xff")
        assert answer_close(peer)[0] == 1007
        eventually(lambda: "[own: 1007 text is not valid UTF-8" in str(log))


def test_denial_of_the_apps_own(server: Served, peer: Peer) -> None:
    reply = request(peer, "/own/deny")
    if server.kind.denies:
        assert (reply.status, reply.fields["www-authenticate"]) == (401, 'Basic realm="own"')
    else:
        assert reply.status == 500  # Starlette says that this server cannot do it


def test_plain_http_is_untouched(server: Served, peer: Peer) -> None:
    for line in ("GET /plain", "POST /posted"):
        body = b"abc" if line.startswith("POST") else b""
        head = f"{line} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n"
        peer.send(head.encode() + body)
        reply = peer.reply()
        assert reply.status == 200
        assert peer.body(reply) == (body[::-1] or b"plain page")


def test_log_tells_of_nothing_wrong(server: Served) -> None:
    assert server.log.count("Traceback") == server.log.count("LookupError: on purpose") + (
        server.log.count("RuntimeError: The server doesn't support the Websocket Denial")
    )


# --- the end of the server ---


@pytest.mark.support("sigterm")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_sigterm(kind: Kind, tmp_path: Path) -> None:
    with serve(kind, tmp_path) as server, ExitStack() as stack:
        peers = [stack.enter_context(connect(server)).open(f"/{shape}") for shape in SHAPES]
        for peer in peers:
            peer.echo("before")
        server.terminate()
        for peer in peers:
            if kind.stops_with is None:
                with pytest.raises((EOFError, ConnectionResetError)):
                    peer.read_frame()
            else:
                assert peer.read_close()[0] == kind.stops_with
            peer.socket.close()
        server.wait()
