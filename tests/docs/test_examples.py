"""Every example runs by the command that its docstring says, and is talked to.

The talk is raw frames from `tests.peer`: what an example needs of a client is visible here.
"""

from __future__ import annotations

import ast
import hashlib
import json
import shlex
import signal
import socket
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.scripted import Script, accepting, scripted
from tests.docs.commands import run_documented
from tests.interop.chromium import run_chromium
from tests.peer import BINARY, CLOSE, CONTINUATION, TEXT, Peer, frame
from tests.running import PATIENCE, ROOT, RunningServer, eventually, run_command
from tests.wsgi.asking import Answer, ask
from ws_middleware.auth.answers import basic_credentials, digest_credentials
from ws_middleware.auth.schemes import parse_challenges

#: A browser may take its time, while the other side waits without answering pings.
NO_PINGS = ["--ping-interval", "0"]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))

Talk = Callable[[RunningServer], None]
#: What is said to each example, and what it has to answer.
TALKS: dict[str, Talk] = {}


def talks_to(name: str) -> Callable[[Talk], Talk]:
    def note(talk: Talk) -> Talk:
        TALKS[name] = talk
        return talk

    return note


def command_of(name: str) -> list[str]:
    """Give the command that an example's docstring says."""
    docstring = ast.get_docstring(ast.parse((ROOT / "examples" / f"{name}.py").read_text()))
    assert docstring is not None
    return shlex.split(docstring.splitlines()[-1])


#: Run elsewhere: in `test_wsgi_examples`, and below.
ELSEWHERE = {"flask_chat", "django_wsgi", "bottle_echo", "own_driver", "follow"}


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - ELSEWHERE))
def test_example_does_what_it_says(name: str, tmp_path: Path) -> None:
    with run_documented(command_of(name), tmp_path / "log") as server:
        TALKS[name](server)
        server.terminate()
        server.wait()
        assert "Traceback" not in server.log


def test_own_driver_brings_a_message_there_and_back() -> None:
    program, *arguments = command_of("own_driver")
    assert program == "python"
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.stdout.splitlines()[0] == "the client got HELLO"
    assert "closed with 1000 by this side" in done.stdout
    assert done.stderr == ""


def test_follower_survives_its_server(tmp_path: Path) -> None:
    program, script, url = command_of("follow")
    assert program == "python"
    first = Script(accepting(), behind=frame(TEXT, "one", key=None))
    url = url.replace(":8000", f":{first.port}")
    with run_command([sys.executable, script, url], tmp_path / "log") as follower:
        eventually(lambda: "one" in follower.log)
        first.stop()
        listener = socket.create_server(("127.0.0.1", first.port))
        with scripted(accepting(), behind=frame(TEXT, "two", key=None), listener=listener):
            eventually(lambda: follower.log.split() == ["one", "two"])
            follower.terminate(signal.SIGINT)
            assert follower.wait() == 0, follower.log
    assert [asked.line for asked in first.asked] == ["GET /listen/news HTTP/1.1"]


@talks_to("echo")
def talk_to_echo(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.open("/echo").echo("hello")
        peer.echo(b"\x00\xff")
        peer.close()


@talks_to("chat")
def talk_to_chat(server: RunningServer) -> None:
    with Peer(server.port) as ada, Peer(server.port) as bob:
        ada.open("/chat/lobby/ada")
        assert heard(ada) == ("ada", "is here")
        bob.open("/chat/lobby/bob")
        assert [heard(bob), heard(bob)] == [("ada", "is here"), ("bob", "is here")]
        assert heard(ada) == ("bob", "is here")
        bob.send_frame(TEXT, "hi")
        assert heard(ada) == heard(bob) == ("bob", "hi")
        bob.close()
        assert heard(ada) == ("bob", "is gone")
    with Peer(server.port) as lost:
        lost.send(lost.request("/chat/cellar/eve"))
        assert lost.reply().status == 403


def heard(peer: Peer) -> tuple[str, str]:
    message = json.loads(peer.read_message())
    return message["name"], message["text"]


@talks_to("broadcast")
def talk_to_broadcast(server: RunningServer) -> None:
    with Peer(server.port) as source, Peer(server.port) as early, Peer(server.port) as late:
        early.open("/listen/news")
        source.open("/publish/news").send_frame(TEXT, "one")
        assert early.read_message() == "one"
        late.open("/listen/news")
        assert late.read_message() == "one"
        source.send_frame(TEXT, "two")
        assert early.read_message() == late.read_message() == "two"
        early.close()
        source.close()


@talks_to("callbacks")
def talk_to_callbacks(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.open("/vote")
        assert peer.read_message() == "{}"
        peer.send_frame(TEXT, "tea")
        assert peer.read_message() == '{"tea": 1}'
        peer.send_frame(TEXT, "beer")
        assert peer.expect_failure(4000) == "tea or coffee"
    eventually(lambda: "a voter left with 4000" in server.log)


@talks_to("blocking")
def talk_to_blocking(server: RunningServer) -> None:
    with Peer(server.port) as ada, Peer(server.port) as bob:
        ada.open("/guests").send_frame(TEXT, "ada")
        assert ada.read_message() == '["ada"]'
        bob.open("/guests").send_frame(TEXT, "bob")
        assert bob.read_message() == '["ada", "bob"]'
        ada.close()
        bob.close()


@talks_to("starlette_app")
def talk_to_starlette_app(server: RunningServer) -> None:
    for path, reply in (("/shout", "HELLO"), ("/whisper", "hello")):
        with Peer(server.port) as peer:
            peer.open(path).send_frame(TEXT, "Hello")
            assert peer.read_message() == reply
            peer.close()
    with Peer(server.port) as peer:
        peer.send(f"GET / HTTP/1.1\r\nHost: {peer.host}\r\n\r\n".encode())
        assert peer.body(peer.reply()) == b"hello"


@talks_to("own_extension")
def talk_to_own_extension(server: RunningServer) -> None:
    offer: dict[str, str | None] = {"Sec-WebSocket-Extensions": "x-crc32"}
    with Peer(server.port) as peer:
        peer.open("/echo", fields=offer)
        assert peer.fields["sec-websocket-extensions"] == "x-crc32"
        payload = b"hello" + zlib.crc32(b"hello").to_bytes(4, "big")
        peer.send_frame(TEXT, payload)
        assert peer.read_frame().payload == payload
        peer.send_frame(TEXT, payload[:-1] + b"\x00")
        assert "checksum" in peer.expect_failure(1007)
    with Peer(server.port) as peer:
        peer.open("/echo", fields={"Sec-WebSocket-Extensions": "x-crc32; strong"})
        assert "sec-websocket-extensions" not in peer.fields
        peer.echo("plain")


@talks_to("streaming_upload")
def talk_to_streaming_upload(server: RunningServer) -> None:
    piece, count = b"\x00\x01\x02\x03" * 16_384, 64
    with Peer(server.port) as peer:
        peer.open("/upload")
        for number in range(count):
            opcode = CONTINUATION if number else BINARY
            peer.send_frame(opcode, piece, fin=number == count - 1, key=b"\0\0\0\0")
        reply = json.loads(peer.read_message())
        assert reply == {
            "size": len(piece) * count,
            "sha256": hashlib.sha256(piece * count).hexdigest(),
        }
        peer.close()


@talks_to("json_rpc")
def talk_to_json_rpc(server: RunningServer) -> None:
    def call(peer: Peer, request: str) -> object:
        peer.send_frame(TEXT, request)
        reply = json.loads(peer.read_message())
        return reply["result"] if "result" in reply else reply["error"]["code"]

    with Peer(server.port) as peer:
        peer.open("/rpc", fields={"Sec-WebSocket-Protocol": "jsonrpc.example"})
        assert peer.fields["sec-websocket-protocol"] == "jsonrpc.example"
        peer.send_frame(TEXT, '{"method": "add", "params": [1, 2]}')  # a notification
        assert call(peer, '{"method": "add", "params": [1, 2], "id": 1}') == 3
        assert call(peer, '{"method": "add", "params": [1], "id": 2}') == -32602
        assert call(peer, '{"method": "divide", "id": 3}') == -32601
        assert call(peer, "[") == -32600
        peer.close()
    with Peer(server.port) as peer:
        peer.open("/rpc")
        assert peer.read_frame().opcode == CLOSE


@talks_to("basic_auth")
def talk_to_basic_auth(server: RunningServer) -> None:
    def greeting(path: str, value: str | None = None) -> object:
        with Peer(server.port) as peer:
            return peer.open(path, fields={"Authorization": value}).read_message()

    assert greeting("/weather") == "rain"
    assert greeting("/diary", basic_credentials("alice", "open sesame")) == "Dear alice,"
    for value in (None, basic_credentials("alice", "open"), basic_credentials("eve", "")):
        with Peer(server.port) as peer:
            peer.send(peer.request("/diary", fields={"Authorization": value}))
            reply = peer.reply()
            assert reply.status == 401
            assert reply.fields["www-authenticate"] == 'Basic realm="diary", charset="UTF-8"'


@talks_to("digest_auth")
def talk_to_digest_auth(server: RunningServer) -> None:
    for algorithm in ("SHA-256", "MD5"):
        with Peer(server.port) as peer:
            peer.send(peer.request("/camera/7"))
            head = peer.read_until(b"\r\n\r\n").decode()
            peer.read(int(head.lower().partition("content-length: ")[2].partition("\r\n")[0]))
            lines = [line for line in head.split("\r\n") if f"algorithm={algorithm}," in line]
            [challenge] = parse_challenges([lines[0].partition(": ")[2]])
            value = digest_credentials(
                challenge, "alice", "open sesame", uri="/camera/7", cnonce="c0ffee"
            )
            peer.open("/camera/7", fields={"Authorization": value})
            assert peer.read_message() == "alice sees camera 7"


@talks_to("ticket")
def talk_to_ticket(server: RunningServer) -> None:
    def post(path: str, body: str = "", cookie: str = "") -> Answer:
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nCookie: {cookie}\r\n"
        request = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
        with Peer(server.port) as peer:
            return ask(peer, request)

    assert post("/tickets?path=/private").status == 403
    session = post("/login", "user=ada").fields["set-cookie"].partition(";")[0]
    ticket = json.loads(post("/tickets?path=/private", cookie=session).body)["ticket"]
    for number in range(2):
        with Peer(server.port) as peer:
            peer.send(peer.request(f"/private?ticket={ticket}"))
            if number:
                assert peer.reply().status == 401
            else:
                assert peer.reply().status == 101
                assert peer.read_message() == "Welcome, ada!"
    assert ticket not in server.log


def test_page_of_the_ticket_works_in_a_browser(need: Callable[[str], str], tmp_path: Path) -> None:
    with (
        run_documented([*command_of("ticket"), *NO_PINGS], tmp_path / "log") as server,
        run_chromium(need("chromium"), tmp_path) as browser,
        browser.page(f"http://127.0.0.1:{server.port}/") as page,
    ):
        eventually(lambda: page.text("p") == "log in first")
        page.fill("input", "ada")
        page.click("button")
        said = "document.querySelector('p')?.textContent"  # there is none between two pages
        eventually(lambda: page.evaluate(said) == "Welcome, ada!")


def test_wrapped_app_runs_under_our_own_command_too(tmp_path: Path) -> None:
    command = "python -m ws_middleware examples.starlette_app:app"
    with run_documented(shlex.split(command), tmp_path / "log") as server:
        talk_to_starlette_app(server)


def test_page_of_the_chat_works_in_a_browser(need: Callable[[str], str], tmp_path: Path) -> None:
    with (
        run_documented([*command_of("chat"), *NO_PINGS], tmp_path / "log") as server,
        run_chromium(need("chromium"), tmp_path) as browser,
        Peer(server.port) as bob,
    ):
        bob.open("/chat/garden/bob")
        assert heard(bob) == ("bob", "is here")
        with browser.page(f"http://127.0.0.1:{server.port}/?room=garden&name=ada") as page:
            assert heard(bob) == ("ada", "is here")
            eventually(lambda: not page.is_disabled("button"))
            page.fill("input", "<b>hello</b>")
            page.click("button")
            assert heard(bob) == ("ada", "<b>hello</b>")
            eventually(lambda: "ada: <b>hello</b>" in page.text("ul"))
            assert page.evaluate("document.querySelector('ul b')") is None
        assert heard(bob) == ("ada", "is gone")
