"""TLS of clients: whom they believe, what they say before that, and what they can be told."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.scripted import Script, accepting, scripted
from tests.client.ways import Open, both_ways, read_all
from tests.peer import CLOSE, PATIENCE, TEXT, frame
from tests.tls import Authority, make_certificate
from ws_middleware.client.plan import make_plan

pytestmark = [both_ways, pytest.mark.row(72)]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority: Authority) -> Iterator[Script]:
    with scripted(accepting(), tls=authority.issue("localhost").server_context()) as script:
        yield script


def at_localhost(script: Script) -> str:
    return f"wss://localhost:{script.port}/"


def test_certificate_and_name_are_verified(
    open_: Open, authority: Authority, server: Script
) -> None:
    connection = open_(at_localhost(server), ssl_context=authority.client_context())
    assert connection.request.secure
    assert server.asked[0].field("Host") == f"localhost:{server.port}"


def _is_not_believed(open_: Open, server: Script, url: str, **settings: object) -> str:
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        open_(url, **settings)
    server.stop()
    assert server.asked == []  # nothing was said to somebody else
    return caught.value.verify_message


def test_authority_that_nobody_knows_is_not_believed(open_: Open, server: Script) -> None:
    assert "unable to get local issuer" in _is_not_believed(open_, server, at_localhost(server))


def test_other_name_is_not_believed(open_: Open, authority: Authority, server: Script) -> None:
    url = f"wss://127.0.0.1:{server.port}/"
    told = _is_not_believed(open_, server, url, ssl_context=authority.client_context())
    assert "127.0.0.1" in told


def test_expired_certificate_is_not_believed(open_: Open, authority: Authority) -> None:
    tls = authority.issue("localhost", expired=True).server_context()
    with scripted(accepting(), tls=tls) as server:
        told = _is_not_believed(
            open_, server, at_localhost(server), ssl_context=authority.client_context()
        )
    assert "expired" in told


def test_self_signed_certificate_is_not_believed(
    open_: Open, authority: Authority, tmp_path: Path
) -> None:
    with scripted(accepting(), tls=make_certificate(tmp_path).server_context()) as server:
        told = _is_not_believed(
            open_, server, at_localhost(server), ssl_context=authority.client_context()
        )
    assert "self" in told


@pytest.mark.parametrize(
    ("host", "given", "named"),
    [
        ("localhost", None, "localhost"),
        ("127.0.0.1", None, None),
        ("127.0.0.1", "example.org", "example.org"),
    ],
)
def test_server_is_named_unless_it_is_an_address(
    open_: Open, authority: Authority, host: str, given: str | None, named: str | None
) -> None:
    names: list[str | None] = []
    tls = authority.issue("localhost", "127.0.0.1", "example.org").server_context()
    tls.sni_callback = lambda sock, name, context: names.append(name)
    with scripted(accepting(), tls=tls) as server:
        open_(
            f"wss://{host}:{server.port}/",
            ssl_context=authority.client_context(),
            server_hostname=given,
        )
    assert names == [named]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_are_spoken_and_early_frames_are_not_lost(
    open_: Open, authority: Authority, version: ssl.TLSVersion
) -> None:
    tls = authority.issue("localhost").server_context()
    tls.minimum_version = tls.maximum_version = version
    large = "x" * 100_000
    behind = frame(TEXT, large, key=None) + frame(CLOSE, b"\x03\xe8", key=None)
    with scripted(accepting(), tls=tls, behind=behind) as server:
        messages, code = read_all(
            open_, at_localhost(server), ssl_context=authority.client_context()
        )
    assert messages == [large]
    assert code == 1000


def test_server_may_ask_for_a_certificate(open_: Open, authority: Authority) -> None:
    tls = authority.issue("localhost").server_context()
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(authority.cafile)
    context = authority.client_context()
    context.load_cert_chain(*authority.issue("me"))
    with scripted(accepting(), tls=tls) as server:
        with pytest.raises(OSError, match=r"(?i)certificate|reset|without an answer|pipe|EOF"):
            open_(at_localhost(server), ssl_context=authority.client_context())
        open_(at_localhost(server), ssl_context=context)
    assert len(server.asked) == 1


def test_tls_goes_through_the_tunnel_of_a_proxy(open_: Open, authority: Authority) -> None:
    context = authority.client_context()
    tls = authority.issue("a.invalid").server_context()
    listener = _Tunnelling(socket.create_server(("127.0.0.1", 0)))
    with scripted(accepting(), tls=tls, listener=listener) as server:
        proxy = f"http://127.0.0.1:{server.port}"
        open_("wss://a.invalid/", ssl_context=context, proxy=proxy)
    assert listener.asked.startswith(b"CONNECT a.invalid:443 HTTP/1.1\r\n")
    assert server.asked[0].field("Host") == "a.invalid"


class _Tunnelling:
    """Be a listener whose connections came through a proxy at the same address."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.asked = b""

    def __getattr__(self, name: str) -> object:
        return getattr(self._listener, name)

    def accept(self) -> tuple[socket.socket, object]:
        sock, address = self._listener.accept()
        while not self.asked.endswith(b"\r\n\r\n"):
            self.asked += sock.recv(1)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        return sock, address


def test_handshake_that_does_not_go_on_is_given_up(open_: Open) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(TimeoutError, match="open_timeout"),
    ):
        open_(f"wss://127.0.0.1:{listener.getsockname()[1]}/", open_timeout=0.2)


def test_server_without_tls_is_told_apart(open_: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(1000)
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(ssl.SSLError, match=r"(?i)wrong.version"):
            open_(f"wss://127.0.0.1:{listener.getsockname()[1]}/")
        thread.join(PATIENCE)


def test_default_context_verifies_everything(open_: Open) -> None:
    context = make_plan("wss://a/", {}).tls()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
