"""What the how-to pages say that happens, happens: their routes are served and talked to."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.middleware.sessions import SessionMiddleware

from tests.asgi.handshaking import request_bytes
from tests.docs.pages import blocks_of, execute, read
from tests.interop.chromium import run_chromium
from tests.peer import CLOSE, CONTINUATION, PATIENCE, PONG, TEXT, Peer
from tests.running import ROOT, eventually
from ws_middleware import Frame, FrameSocket, Password, Server, WebSockets, connect
from ws_middleware.auth.answers import basic_credentials

HOWTO = ROOT / "docs" / "howto"

Fields = dict[str, str | None]
Talk = Callable[[int], None]


def serve_page(name: str, talk: Talk) -> None:
    """Serve the routes that a page defines, and talk to them."""
    asyncio.run(serve(execute(HOWTO / f"{name}.md")["ws"], talk))


async def serve(ws: WebSockets, talk: Talk) -> None:
    """Serve routes, and talk to them."""
    async with Server(ws, port=0) as server:
        await asyncio.to_thread(talk, server.port)


def status_of(port: int, path: str, fields: Fields) -> int:
    with Peer(port) as peer:
        peer.send(peer.request(path, fields=fields))
        return peer.reply().status


def said_by(port: int, path: str, fields: Fields | None = None) -> str | bytes:
    with Peer(port) as peer:
        return peer.open(path, fields=fields).read_message()


def test_every_page_of_the_folder_is_in_the_index() -> None:
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", read(HOWTO / "README.md")))
    assert listed == {path.name for path in HOWTO.glob("*.md")} - {"README.md"}


def test_three_shapes_of_a_handler_answer_alike() -> None:
    def talk(port: int) -> None:
        for shape in ("async", "blocking", "callbacks"):
            with Peer(port) as peer:
                peer.open(f"/{shape}/ada")
                assert peer.read_message() == "hello ada"
                peer.echo("text")
                peer.close()
        with Peer(port) as peer:
            peer.open("/login").send_frame(TEXT, "ada")
            assert peer.read_message() == '{"welcome": "ada"}'
            peer.send_frame(TEXT, "bye")
            assert peer.expect_failure(4000) == "as you wish"

    serve_page("handlers", talk)


def test_thread_sends_through_the_loop() -> None:
    namespace = execute(HOWTO / "handlers.md")
    sent: list[str] = []

    class Connection:
        async def send(self, message: str) -> None:
            sent.append(message)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(namespace["send_from_thread"], Connection(), loop, "hi")

    asyncio.run(run())
    assert sent == ["hi"]


def test_limit_of_a_route_replaces_the_general_one() -> None:
    def talk(port: int) -> None:
        with Peer(port) as peer:
            peer.open("/upload").send_frame(TEXT, "x" * 100_000)
            assert peer.read_message() == "100000"
        with Peer(port) as peer:
            peer.open("/echo").send_frame(TEXT, "x" * 100_000)
            assert "max_message_size=65536" in peer.expect_failure(1009)

    serve_page("limits", talk)


def test_origins_and_hosts_decide_who_connects() -> None:
    shop: Fields = {"Origin": "https://shop.example"}
    other: Fields = {"Origin": "https://evil-shop.example"}

    def talk(port: int) -> None:
        assert status_of(port, "/widget", shop) == 101
        assert status_of(port, "/widget", other) == 403
        assert status_of(port, "/widget", {"Origin": f"http://127.0.0.1:{port}"}) == 403
        assert status_of(port, "/widget", {"Origin": "null"}) == 403
        assert status_of(port, "/widget", {}) == 101
        assert status_of(port, "/widget", {"Sec-Fetch-Site": "cross-site"}) == 403
        assert status_of(port, "/public", other) == 101
        assert status_of(port, "/private", {"Host": "chat.example"}) == 101
        assert status_of(port, "/private", {"Host": "chat.example:99"}) == 101
        assert status_of(port, "/private", {"Host": "localhost:8000"}) == 101
        assert status_of(port, "/private", {"Host": "localhost:8001"}) == 421

    serve_page("origins", talk)


def test_policy_for_a_proxy_that_hides_the_host_works() -> None:
    options = execute(HOWTO / "nginx.md")["ws"].options
    assert options.origin_policy()(("https", "chat.example", 443), "127.0.0.1:8000", False)


def test_subprotocol_is_the_servers_preference() -> None:
    def talk(port: int) -> None:
        offer: Fields = {"Sec-WebSocket-Protocol": "v1.rpc.example, v2.rpc.example"}
        assert said_by(port, "/rpc", offer) == "speaking v2.rpc.example"
        with Peer(port) as peer:
            peer.open("/rpc", fields={"Sec-WebSocket-Protocol": "other"})
            assert "sec-websocket-protocol" not in peer.fields
            assert peer.read_close()[0] == 1002

    serve_page("subprotocols", talk)


def test_compression_is_as_the_page_says() -> None:
    offer: Fields = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}

    def first_frame(port: int, path: str, say: str = "") -> tuple[str, int]:
        with Peer(port) as peer:
            peer.open(path, fields=offer)
            if say:
                peer.send_frame(TEXT, say)
            return peer.fields.get("sec-websocket-extensions", ""), peer.read_frame().rsv

    def talk(port: int) -> None:
        agreed, rsv = first_frame(port, "/default")
        assert "server_max_window_bits=12" in agreed
        assert rsv == 0  # below the threshold
        assert first_frame(port, "/account", "x" * 500)[1] == 0
        assert first_frame(port, "/secrets") == ("", 0)
        agreed, rsv = first_frame(port, "/many")
        assert "server_no_context_takeover; client_no_context_takeover" in agreed
        assert rsv == 4
        assert first_frame(port, "/long") == ("permessage-deflate", 4)

    serve_page("compression", talk)


def test_rooms_are_forgotten_with_their_last_member() -> None:
    namespace = execute(HOWTO / "broadcast.md")

    def talk(port: int) -> None:
        with Peer(port) as ada, Peer(port) as bob:
            ada.open("/rooms/tea").echo("ada is a member once she is answered")
            bob.open("/rooms/tea").echo("so is bob")
            assert ada.read_message() == "so is bob"
        eventually(lambda: namespace["rooms"] == {})

    asyncio.run(serve(namespace["ws"], talk))


def test_view_reaches_those_who_are_connected() -> None:
    namespace = execute(HOWTO / "broadcast.md")

    def talk(port: int) -> None:
        namespace["publish"]("to nobody")
        with Peer(port) as peer:
            peer.open("/news")
            eventually(lambda: len(namespace["readers"]) == 1)
            namespace["publish"]("news")
            assert peer.read_message() == "news"

    asyncio.run(serve(namespace["ws"], talk))


def test_iterables_are_sent_as_fragments() -> None:
    def talk(port: int) -> None:
        with Peer(port) as peer:
            peer.open("/report")
            frames = [peer.read_frame() for _ in range(3)]
            assert [one.opcode for one in frames] == [TEXT, CONTINUATION, CONTINUATION]
            assert [one.fin for one in frames] == [False, False, True]
            assert frames[2].payload == b"line 2\n"
        assert said_by(port, "/blocks") == b"\0" * 5000

    serve_page("streaming", talk)


def test_frames_made_by_hand_arrive_as_they_are() -> None:
    def talk(port: int) -> None:
        with Peer(port) as peer:
            peer.open("/frames")
            assert peer.read_message() == "hello"
            assert [len(peer.read_frame().payload) for _ in range(3)] == [4, 4, 2]
            assert peer.read_frame() == (PONG, b"unasked", True, 0)

    serve_page("own-extension", talk)


def test_end_of_the_server_ends_the_handlers_loop() -> None:
    namespace = execute(HOWTO / "shutdown.md")

    def join(port: int) -> Peer:
        peer = Peer(port)
        peer.open("/chat").echo("hi")
        return peer

    async def run() -> None:
        async with Server(namespace["ws"], port=0) as server:
            peer = await asyncio.to_thread(join, server.port)
            assert len(namespace["members"]) == 1
            stopping = asyncio.create_task(server.stop())
            assert await asyncio.to_thread(peer.read_close) == (1001, "the server is shutting down")
            peer.send_frame(CLOSE, (1001).to_bytes(2, "big"))
            peer.socket.close()
            await stopping
        assert namespace["members"] == set()

    asyncio.run(run())


def test_page_stays_connected(need: Callable[[str], str], tmp_path: Path) -> None:
    (page_block,) = blocks_of(HOWTO / "browser.md", "html")
    ws: WebSockets = execute(HOWTO / "browser.md")["ws"]

    async def page_app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            fields = [(b"content-type", b"text/html")]
            await send({"type": "http.response.start", "status": 200, "headers": fields})
            await send({"type": "http.response.body", "body": page_block.text.encode()})

    def browse(port: int) -> None:
        with (
            run_chromium(need("chromium"), tmp_path) as browser,
            browser.page(f"http://127.0.0.1:{port}/") as page,
        ):
            eventually(lambda: page.text("ul") == "welcome")
            assert ws.close_where(lambda connection: True, code=1012) == 1
            eventually(lambda: page.text("ul") == "welcomewelcome")
            assert page.evaluate("send({ text: 'hello' })") is True
            eventually(lambda: page.text("ul").endswith("HELLO"))
            assert ws.close_where(lambda connection: True, code=4403) == 1
            eventually(lambda: page.evaluate("send({ text: 'lost' })") is False)

    async def run() -> None:
        async with Server(ws.asgi(page_app), port=0) as server:
            await asyncio.to_thread(browse, server.port)

    asyncio.run(run())


@pytest.mark.parametrize(
    "name",
    [
        "test_shout_is_loud",
        "test_unknown_path_is_refused",
        "test_full_room_says_so",
        "test_shout_answers_each_message",
    ],
)
def test_tests_of_the_testing_page_pass(name: str) -> None:
    test: Any = execute(HOWTO / "testing.md")[name]
    test()


@pytest.mark.filterwarnings("ignore:Using `httpx` with")
def test_test_client_of_starlette_reaches_our_routes() -> None:
    page = HOWTO / "testing.md"
    (block,) = (block for block in blocks_of(page, "python") if "TestClient" in block.text)
    namespace = execute(page)
    exec(block.text, namespace)
    namespace["test_shout_through_the_app"]()


def test_server_inside_a_program_runs_as_long_as_its_block(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asyncio.run(execute(HOWTO / "shutdown.md")["serve_for_a_while"]())
    assert capsys.readouterr().out.startswith("listening on ws://127.0.0.1:")


def test_wrapped_app_gets_what_is_not_ours() -> None:
    app = execute(HOWTO / "mount-asgi.md")["app"]
    scopes: list[str] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing is received")

    async def send(event: object) -> None:
        raise AssertionError("nothing is sent")

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope["type"])

    app.app = inner
    asyncio.run(app({"type": "lifespan"}, receive, send))
    assert scopes == ["lifespan"]


def test_nginx_time_outs_are_longer_than_our_pings() -> None:
    config = "".join(block.text for block in blocks_of(HOWTO / "nginx.md", "nginx"))
    timeouts = re.findall(r"(?:proxy|uwsgi)_(?:read|send)_timeout (\d+)s;", config)
    ping_interval = execute(HOWTO / "nginx.md")["ws"].options.ping_interval
    assert len(timeouts) == 4
    assert all(int(timeout) > ping_interval for timeout in timeouts)


def test_client_asks_and_follows() -> None:
    namespace = execute(HOWTO / "connect.md")

    def talk(port: int) -> None:
        url = f"ws://127.0.0.1:{port}/async/ada"
        assert namespace["ask"](url, "x") == "hello ada"
        assert asyncio.run(namespace["ask_async"](url, "x")) == "hello ada"
        shown: list[Any] = []

        def show(message: Any) -> None:
            shown.append(message)
            raise EOFError

        with pytest.raises(EOFError):
            asyncio.run(namespace["follow"](url, show))
        assert shown == ["hello ada"]

    serve_page("handlers", talk)


def test_connected_sockets_are_served() -> None:
    namespace = execute(HOWTO / "sockets.md")
    ours, theirs = socket.socketpair()
    with theirs, socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [
            threading.Thread(target=namespace[serve], args=(sock,), daemon=True)
            for serve, sock in (("serve_one", ours), ("serve", listener))
        ]
        for thread in threads:
            thread.start()
        with connect(f"ws://127.0.0.1:{listener.getsockname()[1]}", proxy=None) as connection:
            connection.send("a")
            assert connection.recv(PATIENCE) == "a"
        theirs.settimeout(PATIENCE)
        theirs.sendall(request_bytes("/"))
        assert theirs.recv(12) == b"HTTP/1.1 101"
        while not theirs.recv(65536).endswith(b"\r\n\r\n"):
            pass
        frames = FrameSocket(theirs, "client")
        seen: list[Frame] = []
        namespace |= {"FrameSocket": lambda sock, role: frames, "print": seen.append}
        namespace["send_in_pieces"](theirs)
        echo = seen[0] if seen else frames.recv(PATIENCE)  # before the pong or behind it
        assert echo.payload == b"half a message"
        frames.send(Frame(CLOSE, b"\x03\xe8"))
        assert frames.recv(PATIENCE).opcode == CLOSE
        theirs.close()
        listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_routes_are_protected() -> None:
    alice, bob = (
        {"Authorization": basic_credentials(user, password)}
        for user, password in (("alice", "open sesame"), ("bob", "abracadabra"))
    )

    def talk(port: int) -> None:
        assert said_by(port, "/weather") == "rain"
        for path in ("/diary", "/hashed", "/any", "/admin"):
            assert said_by(port, path, {**alice}) == "Dear alice,"
        assert status_of(port, "/diary", {}) == 401
        assert status_of(port, "/diary", {"Authorization": basic_credentials("eve", "")}) == 401
        assert status_of(port, "/admin", {**bob}) == 403
        account = basic_credentials("bob", "in a real app: ask")
        assert "'is_admin': False" in str(said_by(port, "/account", {"Authorization": account}))
        assert said_by(port, "/api", {"Authorization": "Bearer t0ken"}) == "Dear alice,"
        assert status_of(port, "/api", {"Authorization": "Bearer x"}) == 401
        for path in ("/camera", "/shared"):
            password = Password("alice", "open sesame")
            for _ in range(2):
                with connect(f"ws://127.0.0.1:{port}{path}", credentials=password) as connection:
                    assert connection.recv() == "Dear alice,"

    serve_page("protect-one-route", talk)


def test_authenticator_of_ones_own_finds_out_who_it_is() -> None:
    def talk(port: int) -> None:
        key: Fields = {"X-API-Key": "k-1"}
        for path in ("/orders", "/trial", "/both"):
            assert said_by(port, path, key) == "orders of ada"
        assert status_of(port, "/orders", {}) == 401
        assert status_of(port, "/orders", {"X-API-Key": "x"}) == 403
        with Peer(port) as peer:
            assert peer.open("/trial", fields=key).fields["x-plan"] == "trial"

    serve_page("own-authenticator", talk)


def test_browsers_log_in() -> None:
    namespace = execute(HOWTO / "login-from-a-browser.md")
    flask_app = namespace["flask_app"]
    signed = flask_app.session_interface.get_signing_serializer(flask_app)
    flask_session = f"session={signed.dumps({'user': 'ada'})}"
    starlette_session = f"session={sign_as_starlette(namespace['SECRET'])}"

    def fetch_ticket(origin: str, cookie: str = flask_session) -> str:
        environ = {"REQUEST_METHOD": "POST", "QUERY_STRING": "path=/with-ticket"}
        environ |= {"HTTP_ORIGIN": origin, "HTTP_COOKIE": cookie}
        answer: dict[str, str] = json.loads(
            b"".join(namespace["tickets"](environ, lambda status, fields: None))
        )
        return answer.get("ticket", "")

    def talk(port: int) -> None:
        page: Fields = {"Origin": f"http://127.0.0.1:{port}"}
        for path, cookie in (("/flask", flask_session), ("/starlette", starlette_session)):
            assert said_by(port, path, {"Cookie": cookie, **page}) == "hello ada"
            assert status_of(port, path, {"Cookie": cookie}) == 403
            assert status_of(port, path, {"Cookie": cookie[:-1], **page}) == 401
            assert status_of(port, path, {"Cookie": "session=x", **page}) == 401
        ticket = fetch_ticket(f"http://127.0.0.1:{port}")
        assert said_by(port, f"/with-ticket?ticket={ticket}", page) == "hello ada"
        assert status_of(port, f"/with-ticket?ticket={ticket}", page) == 401
        assert fetch_ticket("", cookie="session=x") == ""
        offer: Fields = {"Sec-WebSocket-Protocol": "chat, bearer.dDBrZW4"}
        for path in ("/with-token", "/readable"):
            assert said_by(port, path, {**offer, **page}) == "hello ada"
        with Peer(port) as peer:
            peer.open("/readable", fields=page)
            assert peer.read_close()[0] == 4401
        with Peer(port) as peer:
            peer.open("/with-message").send_frame(TEXT, '{"token": "t0ken"}')
            assert peer.read_message() == "hello ada"
        with Peer(port) as peer:
            peer.open("/with-message").send_frame(TEXT, "[]")
            assert peer.expect_failure(4403) == "this is no token"

    asyncio.run(serve(namespace["ws"], talk))


def sign_as_starlette(secret: str) -> str:
    """Let Starlette's own middleware write a session's cookie."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["user"] = "ada"
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {"type": "http", "headers": []}
    asyncio.run(SessionMiddleware(app, secret)(scope, None, send))  # type: ignore[arg-type]
    cookie = dict(sent[0]["headers"])[b"set-cookie"].decode()
    return str(cookie.partition("session=")[2].partition(";")[0])


DJANGO = """
import sys
import django
from django.conf import settings

settings.configure(
    SECRET_KEY="x",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
)
django.setup()

from django.contrib.auth import login
from django.contrib.auth.models import User
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.management import call_command
from django.http import HttpRequest

call_command("migrate", verbosity=0)
user = User.objects.create_user("ada", password="secret")
request = HttpRequest()
request.session = SessionStore()
login(request, user)
request.session.save()
cookie = request.session.session_key

class ws:
    add = staticmethod(lambda path, handler, authenticate: None)

Cookie, hello = lambda *given: None, None
exec(sys.argv[1])
print(django_user(cookie), django_user(cookie[:-1]), django_user("x"))
user.set_password("changed")
user.save()
print(django_user(cookie))
"""


def test_django_says_whose_session_it_is() -> None:
    page = HOWTO / "login-from-a-browser.md"
    [block] = [block for block in blocks_of(page, "python") if "django_user" in block.text]
    done = subprocess.run(
        [sys.executable, "-c", DJANGO, block.text],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout.splitlines() == ["ada None None", "None"], done.stderr


def test_admission_is_as_the_page_says() -> None:
    namespace = execute(HOWTO / "admission.md")

    def talk(port: int) -> None:
        ann: Fields = {"X-API-Key": "k-ann"}
        assert status_of(port, "/chat", {}) == 401
        assert status_of(port, "/chat", {"X-API-Key": "k-bob"}) == 402
        assert said_by(port, "/public") == "hello, world"
        with Peer(port) as peer:
            assert peer.open("/chat", fields=ann).read_message() == "hello ann"
            peer.send_frame(TEXT, "still me")
            assert namespace["ban"]("ann") == 1
            assert peer.read_close() == (4403, "you were banned")
        with Peer(port) as peer:
            origin: Fields = {"Origin": f"http://127.0.0.1:{port}"}
            peer.open("/chat", fields=origin)
            assert peer.read_close() == (4401, "authentication is required")

    async def run() -> None:
        async with Server(namespace["ws"], port=0) as server:
            await asyncio.to_thread(talk, server.port)

    asyncio.run(run())


def test_proxies_that_are_trusted_are_those_of_the_page() -> None:
    options = execute(HOWTO / "nginx.md")["behind_nginx"].options
    assert options.trusted_proxies == ["127.0.0.1", "10.0.0.0/8"]
