"""The way through proxies: which one is taken, what it is asked, and what it may answer."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.client.scripted import accepting, refusing, scripted
from tests.client.socks_server import socks_server
from tests.client.test_challenges import answered, digest
from tests.client.ways import Open, both_ways
from ws_middleware.client.proxies import find_proxy, parse_proxy
from ws_middleware.core.uri import parse_uri
from ws_middleware.errors import ProxyError

LOOPBACK = ["127.0.0.1", "::1"]
TUNNEL = "HTTP/1.1 200 Connected\r\n\r\n"

# --- through HTTP ---


@both_ways
@pytest.mark.row(71)
def test_proxy_is_asked_for_a_tunnel_and_the_handshake_goes_through_it(open_: Open) -> None:
    with scripted(TUNNEL, accepting()) as proxy:
        open_(
            "ws://example.invalid/x",
            proxy=f"http://127.0.0.1:{proxy.port}",
            headers={"X": "y"},
        )
    tunnel, request = proxy.asked
    assert tunnel.line == "CONNECT example.invalid:80 HTTP/1.1"
    assert tunnel.fields == [("Host", "example.invalid:80")]
    assert request.line == "GET /x HTTP/1.1"
    assert request.connection == tunnel.connection
    assert request.field("Proxy-Authorization") is None


@both_ways
@pytest.mark.row(71)
def test_proxy_of_the_environment_is_taken(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(TUNNEL, accepting()) as proxy:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy.port}")
        open_("ws://example.invalid/")
    assert len(proxy.asked) == 2


@both_ways
@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
def test_challenge_of_a_proxy_is_answered(open_: Open, scheme: str) -> None:
    challenge = (
        "Proxy-Authenticate: Basic realm=r" if scheme == "Basic" else "Proxy-" + digest()[4:]
    )
    with scripted(refusing(407, challenge, body="log in"), TUNNEL, accepting()) as proxy:
        open_("ws://example.invalid/", proxy=f"http://user:secret@127.0.0.1:{proxy.port}")
    _, tunnel, request = proxy.asked
    if scheme == "Basic":
        assert tunnel.field("Proxy-Authorization") == "Basic dXNlcjpzZWNyZXQ="
    else:
        assert answered(tunnel, field="Proxy-Authorization")["uri"] == "example.invalid:80"
    assert request.field("Proxy-Authorization") is None
    assert request.field("Authorization") is None


@both_ways
@pytest.mark.row(71)
@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (refusing(403, body="not there"), 403, "refused a tunnel: 403 No"),
        (refusing(407, "Proxy-Authenticate: Basic realm=r"), 407, "refused a tunnel: 407 No"),
        (refusing(502), 502, "refused a tunnel"),
        (TUNNEL + "early", 0, "before the server could"),
    ],
)
def test_error_of_a_proxy_fails_the_connection(
    open_: Open, answer: str, status: int, reason: str
) -> None:
    with scripted(answer) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        with pytest.raises(ProxyError, match=reason) as caught:
            open_("ws://example.invalid/", proxy=url)
        assert caught.value.status == status
        assert url in str(caught.value)


@both_ways
def test_proxy_that_is_not_there_is_named(open_: Open) -> None:
    with scripted() as proxy:
        url = f"http://user:secret@127.0.0.1:{proxy.port}"
    with pytest.raises(ProxyError, match="cannot be reached") as caught:
        open_("ws://example.invalid/", proxy=url)
    assert isinstance(caught.value, OSError)
    assert "secret" not in str(caught.value)


# --- the choice ---


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://a:1", "http://a:1"),
        ("http://a", "http://a:8080"),
        ("a:1", "http://a:1"),
        ("socks5://[::1]:9", "socks5://[::1]:9"),
        ("SOCKS5H://a", "socks5h://a:1080"),
    ],
)
def test_url_of_a_proxy_is_read(url: str, text: str) -> None:
    assert str(parse_proxy(url)) == text


def test_user_and_password_of_a_proxy_are_kept_apart() -> None:
    proxy = parse_proxy("http://us%40er:pass@a:1")
    assert (proxy.user, proxy.password) == ("us@er", "pass")
    assert "pass" not in f"{proxy} {proxy!r}"


@pytest.mark.parametrize("url", ["ftp://a", "https://a", "http://", "http://a:x", "socks4://a"])
def test_what_is_no_proxy_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".{10}"):
        parse_proxy(url)


@pytest.mark.parametrize(
    ("url", "variables", "found"),
    [
        ("ws://a/", {}, None),
        ("ws://a/", {"http_proxy": "http://p:1"}, "http://p:1"),
        ("wss://a/", {"http_proxy": "http://p:1"}, None),
        ("wss://a/", {"https_proxy": "http://p:1"}, "http://p:1"),
        ("wss://a/", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("ws://a/", {"ws_proxy": "http://p:1", "http_proxy": "http://q:1"}, "http://p:1"),
        ("wss://a/", {"wss_proxy": "http://p:1", "https_proxy": "http://q:1"}, "http://p:1"),
        ("ws://a/", {"all_proxy": "socks5h://p:1"}, "socks5h://p:1"),
        ("ws://a.b.c/", {"all_proxy": "http://p:1", "no_proxy": "x, b.c"}, None),
        ("ws://a.b.c/", {"all_proxy": "http://p:1", "NO_PROXY": ".b.c"}, None),
        ("ws://a.b.c/", {"all_proxy": "http://p:1", "no_proxy": "*"}, None),
        ("ws://a.b.c/", {"all_proxy": "http://p:1", "no_proxy": "d.c"}, "http://p:1"),
        ("ws://a:9/", {"all_proxy": "http://p:1", "no_proxy": "a:9"}, None),
        ("ws://a:9/", {"all_proxy": "http://p:1", "no_proxy": "a:8"}, "http://p:1"),
    ],
)
def test_environment_says_which_proxy(
    monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str], found: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    proxy = find_proxy(parse_uri(url))
    assert (None if proxy is None else str(proxy)) == found


# --- through SOCKS ---


@both_ways
@pytest.mark.parametrize(
    ("scheme", "host", "asked"),
    [("socks5h", "example.invalid", ["example.invalid"]), ("socks5", "localhost", LOOPBACK)],
)
def test_socks_proxy_leads_to_the_server(open_: Open, scheme: str, host: str, asked: str) -> None:
    with scripted(accepting()) as server, socks_server(server.port) as proxy:
        open_(f"ws://{host}:9/", proxy=f"{scheme}://127.0.0.1:{proxy.port}")
    ((name, port),) = proxy.asked
    assert name in asked
    assert port == 9
    assert server.asked[0].field("Host") == f"{host}:9"


@both_ways
def test_socks_proxy_is_told_user_and_password(open_: Open) -> None:
    with (
        scripted(accepting()) as server,
        socks_server(server.port, login=("user", "secret")) as proxy,
    ):
        open_("ws://a.invalid/", proxy=f"socks5h://user:secret@127.0.0.1:{proxy.port}")
    assert len(server.asked) == 1


@both_ways
@pytest.mark.parametrize(
    ("settings", "user"),
    [({"reply": 5}, ""), ({"login": ("user", "secret")}, ""), ({"login": ("a", "b")}, "c:d@")],
)
def test_error_of_a_socks_proxy_fails_the_connection(
    open_: Open, settings: dict[str, Any], user: str
) -> None:
    with socks_server(0, **settings) as proxy:
        url = f"socks5h://{user}127.0.0.1:{proxy.port}"
        with pytest.raises(ProxyError, match=f"127.0.0.1:{proxy.port} leads to no server"):
            open_("ws://a.invalid/", proxy=url)


@both_ways
def test_socks_proxy_that_says_nothing_is_given_up(open_: Open) -> None:
    with scripted("", stays_open=True) as proxy, pytest.raises(TimeoutError, match="open_timeout"):
        open_("ws://a.invalid/", proxy=f"socks5h://127.0.0.1:{proxy.port}", open_timeout=0.2)


@both_ways
def test_socks_proxy_that_is_not_there_is_named(open_: Open) -> None:
    with scripted() as proxy:
        url = f"socks5h://127.0.0.1:{proxy.port}"
    with pytest.raises(ProxyError, match=url):
        open_("ws://a.invalid/", proxy=url)


@both_ways
def test_missing_library_is_named(open_: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("python_socks", "python_socks.sync", "python_socks.async_.asyncio"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ProxyError, match=r"pip install 'ws-middleware\[socks\]'"):
        open_("ws://a.invalid/", proxy="socks5h://127.0.0.1:1")
