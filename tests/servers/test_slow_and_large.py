"""Handshakes that are slow, large, broken off or come with more than a handshake.

The server here has an `open_timeout` of 3 s and a `close_timeout` of 2 s.
"""

from __future__ import annotations

import contextlib
import re
import selectors
import ssl
import time
from collections.abc import Iterator

import pytest

from tests.peer import BINARY, TEXT, Peer, frame
from tests.running import PATIENCE, RunningServer, eventually, run_server
from tests.servers.asking import (
    MEBIBYTE,
    Refusal,
    innocent,
    read_refusal,
    refused,
    stays_small,
)
from tests.tls import Certificate, make_certificate

TARGETS = ("tests.servers.policies:ws", "tests.servers.policies:app")
OPEN_TIMEOUT = 3.0
#: How late a deadline may ring on a busy machine, in seconds.
LATE = 5.0


def open_peers(server: RunningServer, count: int, stack: contextlib.ExitStack) -> list[Peer]:
    return [stack.enter_context(Peer(server.port)) for _ in range(count)]


def has_ended(peer: Peer) -> bool:
    """Take what has come without waiting; tell whether the server has ended its stream."""
    peer.socket.setblocking(False)
    try:
        peer.read_rest()
    except BlockingIOError:
        return False
    except ConnectionResetError:
        pass
    finally:
        peer.socket.settimeout(PATIENCE)
    return True


# --- slow ---


@pytest.mark.fault(1)
@pytest.mark.row(52)
def test_heads_that_trickle_are_cut_by_one_deadline(server: RunningServer) -> None:
    with contextlib.ExitStack() as stack:
        begin = time.monotonic()
        peers = open_peers(server, 50, stack)
        head = peers[0].request("/echo", fields={"X-Long": "x" * 1000})
        with innocent(server) as client:
            for byte in head:
                for peer in peers:
                    peer.send(bytes([byte]))
                if select_readable(peers, 0.5):
                    break
                client.echo()
            for peer in peers:
                refusal = read_refusal(peer)
                assert refusal.status == 408
                assert "open_timeout" in refusal.text
        assert OPEN_TIMEOUT - 0.5 < time.monotonic() - begin < OPEN_TIMEOUT + LATE


def select_readable(peers: list[Peer], timeout: float) -> bool:
    """Wait until one of the peers has something to read, or the end."""
    with selectors.DefaultSelector() as selector:
        for peer in peers:
            selector.register(peer.socket, selectors.EVENT_READ)
        return bool(selector.select(timeout))


@pytest.mark.fault(2)
def test_connections_that_say_nothing_are_cut(server: RunningServer) -> None:
    with contextlib.ExitStack() as stack, innocent(server):
        begin = time.monotonic()
        for peer in open_peers(server, 50, stack):
            peer.read_end()
        assert OPEN_TIMEOUT - 0.5 < time.monotonic() - begin < OPEN_TIMEOUT + LATE


@pytest.mark.fault(3)
def test_head_may_come_byte_by_byte(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        data = peer.request("/echo") + frame(TEXT, "slow but honest")
        for byte in data:
            peer.send(bytes([byte]))
        assert peer.reply().status == 101
        assert peer.read_message() == "slow but honest"


# --- slow to start with TLS ---


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secure_server(
    certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    log = tmp_path_factory.mktemp("secure") / "log"
    with run_server(log, *TARGETS, *certificate.arguments) as running:
        yield running
        # Failed handshakes leave nothing behind that stopping would have to wait for.
        running.terminate()
        assert running.wait() == 0
        assert "stopping: closing" not in running.log
        assert "Traceback" not in running.log


class Secured:
    """Speak TLS on a peer's connection, deciding what leaves in which segment."""

    def __init__(self, peer: Peer, context: ssl.SSLContext) -> None:
        self.peer = peer
        self._incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self.outgoing, server_hostname="localhost")

    def shake_hands(self) -> None:
        """Do the handshake; the last flight stays in `outgoing`."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                self._receive()
            else:
                return

    def hello(self) -> bytes:
        """Give a ClientHello."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self.outgoing.read()

    def write(self, data: bytes) -> None:
        self._tls.write(data)

    def flush(self) -> None:
        self.peer.send(self.outgoing.read())

    def read_until(self, mark: bytes) -> bytes:
        received = b""
        while mark not in received:
            try:
                received += self._tls.read(65536)
            except ssl.SSLWantReadError:
                self._receive()
        return received

    def _receive(self) -> None:
        data = self.peer.socket.recv(65536)
        if not data:
            raise EOFError("the stream ended")
        self._incoming.write(data)


def open_secured(server: RunningServer, certificate: Certificate) -> Peer:
    peer = Peer(server.port)
    context = certificate.client_context()
    peer.socket = context.wrap_socket(peer.socket, server_hostname="localhost")
    return peer.open("/echo")


@pytest.mark.fault(4)
@pytest.mark.row(50)
def test_websocket_over_tls(secure_server: RunningServer, certificate: Certificate) -> None:
    with open_secured(secure_server, certificate) as peer:
        peer.echo("secret")
        peer.close()
    with Peer(secure_server.port) as peer:
        context = certificate.client_context()
        peer.socket = context.wrap_socket(peer.socket, server_hostname="localhost")
        peer.open("/who")
        assert '"secure": true' in str(peer.read_message())
        peer.close()


@pytest.mark.fault(4, 12)
def test_request_in_the_segment_that_ends_the_tls_handshake_is_answered(
    secure_server: RunningServer, certificate: Certificate
) -> None:
    for _ in range(20):
        with Peer(secure_server.port) as peer:
            secured = Secured(peer, certificate.client_context())
            secured.shake_hands()
            secured.write(peer.request("/echo") + frame(TEXT, "at once"))
            secured.flush()
            assert secured.read_until(b"at once").startswith(b"HTTP/1.1 101 ")


@pytest.mark.fault(4)
def test_slow_tls_handshakes_are_cut_by_the_same_deadline(
    secure_server: RunningServer, certificate: Certificate
) -> None:
    before = secure_server.descriptors
    with contextlib.ExitStack() as stack:
        begin = time.monotonic()
        peers = open_peers(secure_server, 20, stack)  # of which ten never say a word
        hello = Secured(peers[0], certificate.client_context()).hello()
        for byte in hello[:100]:
            for peer in peers[10:]:
                with contextlib.suppress(OSError):
                    peer.send(bytes([byte]))
            with open_secured(secure_server, certificate) as other:
                other.echo("accepted meanwhile")
            if select_readable(peers, 0.5):
                break
        for peer in peers:
            eventually(lambda peer=peer: has_ended(peer))
        assert OPEN_TIMEOUT - 0.5 < time.monotonic() - begin < OPEN_TIMEOUT + LATE
    eventually(lambda: secure_server.descriptors <= before)


@pytest.mark.fault(4)
def test_slow_head_over_tls_is_cut_by_the_same_deadline(
    secure_server: RunningServer, certificate: Certificate
) -> None:
    with Peer(secure_server.port) as peer:
        begin = time.monotonic()
        context = certificate.client_context()
        peer.socket = context.wrap_socket(peer.socket, server_hostname="localhost")
        peer.send(b"GET / HTTP/1.1\r\n")
        assert peer.reply().status == 408
        assert OPEN_TIMEOUT - 0.5 < time.monotonic() - begin < OPEN_TIMEOUT + LATE


@pytest.mark.fault(4, 15)
@pytest.mark.parametrize("part", [0, 1, 100, None], ids=["none", "byte", "half", "whole hello"])
@pytest.mark.parametrize("leave", [Peer.finish, Peer.reset])
def test_leaving_in_the_middle_of_a_tls_handshake_leaves_nothing(
    secure_server: RunningServer, certificate: Certificate, leave: object, part: int | None
) -> None:
    assert callable(leave)
    before = secure_server.descriptors
    for _ in range(10):
        with Peer(secure_server.port) as peer:
            peer.send(Secured(peer, certificate.client_context()).hello()[:part])
            leave(peer)
    eventually(lambda: secure_server.descriptors <= before)


@pytest.mark.fault(4)
@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\0" * 100, b"\xff" * 9])
def test_what_is_not_tls_is_cut_at_once(secure_server: RunningServer, data: bytes) -> None:
    with Peer(secure_server.port) as peer:
        peer.send(data)
        eventually(lambda: has_ended(peer))
    eventually(lambda: "TLS handshake failed" in secure_server.log)


# --- large ---


def pour(peer: Peer, data: bytes, size: int) -> None:
    """Send `data` again and again, until it is `size` bytes or the server has had enough."""
    data *= max(1, 65536 // len(data))
    with contextlib.suppress(ConnectionError):
        for _ in range(0, size, len(data)):
            peer.send(data)


def poured(server: RunningServer, beginning: bytes, data: bytes) -> Refusal:
    """Pour 32 MiB into a connection; the server stays small, and answers others meanwhile."""
    with Peer(server.port) as peer, innocent(server), stays_small(server):
        peer.send(beginning)
        peer.send(data * (20_000 // len(data)))
        refusal = read_refusal(peer)
        pour(peer, data, 32 * MEBIBYTE)
        return refusal


@pytest.mark.fault(5)
@pytest.mark.row(45, 52)
@pytest.mark.parametrize("data", [b"x", b" ", b",", b"\xff"])
def test_endless_field_is_refused_with_431(server: RunningServer, data: bytes) -> None:
    refusal = poured(server, b"GET /echo HTTP/1.1\r\nHost: a\r\nX: ", data)
    assert refusal.status == 431
    assert "max_head_size=16384" in refusal.text


@pytest.mark.fault(6)
@pytest.mark.row(8)
@pytest.mark.parametrize("beginning", [b"GET /", b"GET /?", b"GET ", b""])
def test_endless_target_is_refused_with_414(server: RunningServer, beginning: bytes) -> None:
    refusal = poured(server, beginning, b"A")
    assert refusal.status == 414
    assert "max_target_size=8192" in refusal.text


@pytest.mark.fault(7)
@pytest.mark.row(45, 52)
@pytest.mark.parametrize("name", [b"X: 1", b"X-%d: 1", b"Sec-WebSocket-Protocol: p%d", b"x%d:"])
@pytest.mark.parametrize("count", [10_000, 100_000])
def test_too_many_fields_are_refused_with_431(
    server: RunningServer, name: bytes, count: int
) -> None:
    lines = [name % number if b"%" in name else name for number in range(count)]
    with Peer(server.port) as peer, innocent(server), stays_small(server):
        before = server.cpu_time
        with contextlib.suppress(ConnectionError):
            peer.send(peer.request("/echo", extra=b"\r\n".join(lines) + b"\r\n"))
        assert read_refusal(peer).status == 431
        assert server.cpu_time - before < 1.0


@pytest.mark.row(45, 52)
def test_limits_are_exact(server: RunningServer) -> None:
    """A head of 100 fields and of 16 KiB passes, one more of either does not."""
    with Peer(server.port) as peer:
        fields = peer.request("/echo").count(b"\r\n") - 2
        many = b"X: 1\r\n" * (100 - fields)
        large = b"X: %b\r\n" % (b"x" * (16_384 - len(peer.request("/echo")) - 5))
    for extra in (many, large):
        with Peer(server.port) as peer:
            peer.send(peer.request("/echo", extra=extra))
            assert peer.reply().status == 101
            peer.echo("fits")
    for extra in (many + b"X:\r\n", large[:-2] + b"x\r\n"):
        assert refused(server, extra=extra).status == 431


@pytest.mark.row(8)
def test_target_up_to_its_limit_is_served(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.open("/echo?" + "x" * (8192 - 6)).echo("fits")
    assert refused(server, "/echo?" + "x" * 8300).status == 414


@pytest.mark.fault(8)
@pytest.mark.parametrize("data", [b"\r\n", b"\n", b"\0", b" ", b"\x16\x03\x01", b"\xff"])
def test_request_that_never_begins_is_refused(server: RunningServer, data: bytes) -> None:
    assert poured(server, b"", data).status == 400


@pytest.mark.fault(9)
@pytest.mark.row(39, 40, 41, 42, 51)
@pytest.mark.parametrize(
    "line",
    [
        b"X no colon\r\n",
        b"nocolon\r\n",
        b": no name\r\n",
        b"X : space\r\n",
        b"X\t: tab\r\n",
        b"X Y: space inside\r\n",
        b"X\xe9: not ASCII\r\n",
        b"X(): not a token\r\n",
        b'"X": quoted\r\n',
        b"X: a\r\n folded\r\n",
        b"X: a\r\n\tfolded\r\n",
        b"X: a\rb\r\n",
        b"X: a\r\r\n",
        b"\rX: a\r\n",
        b"X: a\nY: b\r\n",
        b"X: a\n",
        b"X: a\n\n",
        b"X: a\0b\r\n",
        b"X\0: a\r\n",
        b"\0\r\n",
        b" X: a\r\n",
    ],
)
def test_broken_line_is_refused(server: RunningServer, line: bytes) -> None:
    """First, in the middle, and last of the fields."""
    assert refused(server, extra=line).status == 400
    with Peer(server.port) as peer:
        first, rest = peer.request("/echo").split(b"\r\n", 1)
        middle = rest.replace(b"Upgrade: ", line + b"Upgrade: ", 1)
    for data in (line + rest, middle):
        with Peer(server.port) as peer:
            peer.send(first + b"\r\n" + data)
            assert read_refusal(peer).status == 400


@pytest.mark.fault(9)
def test_head_with_bare_line_feeds_is_refused_at_once(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.send(peer.request("/echo").replace(b"\r\n", b"\n"))
        assert read_refusal(peer).status == 400


@pytest.mark.row(43, 44)
@pytest.mark.parametrize(
    "fields",
    [
        {"Upgrade": None, "uPGRADE": "websocket", "Host": None, "HOST": "h"},
        {
            "Upgrade": " \t websocket \t ",
            "Connection": "\tUpgrade\t",
            "Sec-WebSocket-Version": " 13\t",
        },
    ],
)
def test_case_of_names_and_space_around_values_do_not_matter(
    server: RunningServer, fields: dict[str, str | None]
) -> None:
    with Peer(server.port) as peer:
        peer.open("/echo", fields=fields).echo("fine")


# --- values made to cost time ---

BOMB = 14_000
BOMBS = {
    "commas": "," * BOMB,
    "spaces": "a" + " " * BOMB + "b",
    "tabs": ("\t" * 50 + ",") * (BOMB // 51),
    "tokens": ",".join(f"t{number}" for number in range(BOMB // 6)),
    "one token": "a" * BOMB,
    "semicolons": "a" + ";" * BOMB,
    "parameters": "a" + ";b=c" * (BOMB // 4),
    "offers": ",".join(["permessage-deflate"] * (BOMB // 19)),
    "bad offers": ",".join(["permessage-deflate;x"] * (BOMB // 21)),
    "both deflates": ",".join(["permessage-deflate,deflate-frame"] * (BOMB // 33)),
    "quotes": 'a;b="' + "\\a" * (BOMB // 2),
    "open quote": 'a;b="' + "c" * BOMB,
    "equals": "a;b" + "=" * BOMB,
    "digits": "Digest nc=" + "9" * BOMB,
    "base64": "Basic " + "A" * BOMB,
    "brackets": "[" * BOMB,
    "at signs": "http://" + "a@" * (BOMB // 2),
    "dots": "http://" + "a." * (BOMB // 2),
    "umlauts": "http://" + "\xfc." * (BOMB // 2),
    "cookies": ";".join(["a=b"] * (BOMB // 4)),
}
FIELDS = (
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Connection",
    "Upgrade",
    "Authorization",
    "Origin",
    "Cookie",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
)


@pytest.mark.fault(10)
@pytest.mark.row(66)
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_no_value_costs_much_time(server: RunningServer, bomb: str) -> None:
    """Less than 50 ms of processor time each, whichever field it is in."""
    before = server.cpu_time
    for name in FIELDS:
        with Peer(server.port) as peer:
            peer.send(peer.request("/deflates", fields={name: bomb}))
            status = peer.reply().status
            assert status == 101 or 400 <= status < 500, name
    assert server.cpu_time - before < 0.05 * len(FIELDS)


@pytest.mark.fault(10)
def test_long_query_costs_little_time(server: RunningServer) -> None:
    before = server.cpu_time
    for query in ("a=b&" * 2000, "%" * 8000, "%41" * 2600, "=" * 8000):
        with Peer(server.port) as peer:
            peer.open(f"/who/{query[:4000]}?{query[:4000]}")
            assert isinstance(peer.read_message(), str)
    assert server.cpu_time - before < 0.05 * 4


# --- more than a handshake ---


@pytest.mark.fault(11)
@pytest.mark.row(37)
@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (b"Content-Length: 5\r\n", b"hello"),
        (b"Content-Length: 11\r\n", frame(TEXT, "hello")),
        (b"Content-Length: 11\r\n", b""),
        (b"Content-Length: 37\r\n", b"GET /hidden HTTP/1.1\r\nHost: hidden\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", frame(TEXT, "hello")),
        (b"Transfer-Encoding: identity\r\n", frame(TEXT, "hello")),
        (b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        (b"Content-Length: 00\r\n", b""),
        (b"Content-Length: 18446744073709551616\r\n", b""),
        (b"Content-Length: -1\r\n", b""),
    ],
)
def test_handshake_with_a_body_is_refused(server: RunningServer, lines: bytes, body: bytes) -> None:
    assert refused(server, extra=lines, behind=body).status in (400, 501)


@pytest.mark.fault(11)
def test_empty_body_is_no_body(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.open("/echo", fields={"Content-Length": "0"}).echo("fine")


@pytest.mark.fault(12)
@pytest.mark.row(36, 53)
@pytest.mark.parametrize("path", ["/echo", "/deflates", "/app/accept"])
def test_frames_behind_the_request_are_not_lost(server: RunningServer, path: str) -> None:
    with Peer(server.port) as peer:
        frames = b"".join(frame(TEXT, str(number)) for number in range(100))
        peer.open(path, early=frames)
        assert [peer.read_message() for _ in range(100)] == [str(n) for n in range(100)]
        peer.close()


@pytest.mark.fault(12)
@pytest.mark.row(53)
def test_request_and_frame_may_be_cut_anywhere(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        size = len(peer.request("/echo") + frame(TEXT, "whole"))
    for cut in range(size - 40, size):
        with Peer(server.port) as peer:
            data = peer.request("/echo") + frame(TEXT, "whole")
            peer.send(data[:cut])
            peer.send(data[cut:])
            assert peer.reply().status == 101
            assert peer.read_message() == "whole"


@pytest.mark.fault(12)
@pytest.mark.row(53)
def test_a_lot_behind_the_request_is_not_lost(server: RunningServer) -> None:
    payload = bytes(range(256)) * 400
    with Peer(server.port) as peer:
        peer.open("/echo", early=frame(BINARY, payload) * 5)
        for _ in range(5):
            assert peer.read_message() == payload


@pytest.mark.fault(13)
@pytest.mark.row(36)
def test_request_behind_an_upgrade_is_no_request(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.open("/echo", early=peer.request("/echo"))
        assert peer.read_close()[0] == 1002
        assert peer.read_rest() == b""


@pytest.mark.fault(14)
@pytest.mark.row(49)
@pytest.mark.parametrize(
    "behind",
    [frame(TEXT, "frame") * 10, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\0" * 300_000],
    ids=["frames", "request", "zeros"],
)
@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/echo", {"Sec-WebSocket-Version": "8"}, 426),
        ("/echo", {"Host": None}, 400),
        ("/echo", {"Origin": "https://evil.example"}, 403),
        ("/app/refuse", {}, 403),
        ("/app/challenge", {}, 401),
    ],
)
def test_nothing_behind_a_refused_request_is_read(
    server: RunningServer, path: str, fields: dict[str, str | None], status: int, behind: bytes
) -> None:
    assert refused(server, path, fields=fields, behind=behind).status == status


# --- broken off ---


@pytest.mark.fault(15)
def test_resets_during_the_handshake_leave_nothing(server: RunningServer) -> None:
    before = server.descriptors
    with innocent(server), stays_small(server):
        for number in range(300):
            with Peer(server.port) as peer:
                path = ("/echo", "/app/hang", "/app/accept", "/nowhere")[number % 4]
                data = peer.request(path) + frame(TEXT, "x")
                peer.send(data[: len(data) * (number % 11) // 10])
                peer.reset()
    eventually(lambda: server.descriptors <= before)


@pytest.mark.fault(16)
@pytest.mark.parametrize("path", ["/echo", "/who", "/app/accept"])
def test_end_of_stream_behind_the_head(server: RunningServer, path: str) -> None:
    before = server.cpu_time
    with Peer(server.port) as peer:
        peer.send(peer.request(path))
        peer.finish()
        reply = peer.reply()
        assert reply.status == 101
        peer.read_rest()
    assert server.cpu_time - before < 1.0


@pytest.mark.fault(16)
def test_end_of_stream_behind_a_bad_head_is_refused(server: RunningServer) -> None:
    with Peer(server.port) as peer:
        peer.send(peer.request("/echo", fields={"Sec-WebSocket-Key": None}))
        peer.finish()
        assert read_refusal(peer).status == 400


@pytest.mark.fault(16)
@pytest.mark.parametrize("part", [1, 20, -1])
def test_end_of_stream_inside_a_head_is_the_end(server: RunningServer, part: int) -> None:
    with Peer(server.port) as peer:
        peer.send(peer.request("/echo")[:part])
        peer.finish()
        peer.read_end()


@pytest.mark.fault(16)
def test_end_of_stream_while_the_app_decides_is_told_to_it(server: RunningServer) -> None:
    before = server.descriptors
    with Peer(server.port) as peer:
        peer.send(peer.request("/app/hang"))
        peer.finish()
        peer.read_end()
    eventually(lambda: server.descriptors <= before)


def test_refusals_are_logged_in_one_line_that_names_the_setting(server: RunningServer) -> None:
    size = len(server.log)
    refused(server, extra=b"X: 1\r\n" * 200)
    lines = [line for line in server.log[size:].splitlines() if "refused" in line]
    assert len(lines) == 1
    assert re.search(r"refused with 431: .*max_head_fields=100", lines[0])
