"""Who may connect from a browser, by the Origin that it sends (RFC 6455 §10.2, RFC 6454)."""

from __future__ import annotations

import pytest

from tests.peer import Peer
from tests.running import RunningServer
from tests.servers.asking import refused

TARGETS = ("tests.servers.policies:ws", "tests.servers.policies:app")

Fields = dict[str, str | None]


def answer(server: RunningServer, path: str, fields: Fields, extra: bytes = b"") -> int:
    """Give the status of the answer; a refusal is complete, a WebSocket echoes."""
    with Peer(server.port) as peer:
        peer.send(peer.request(path, fields=fields, extra=extra))
        reply = peer.reply()
        if reply.status == 101:
            peer.echo("let in")
            return 101
    refusal = refused(server, path, fields=fields, extra=extra)
    assert refusal.status == reply.status
    if refusal.status == 403:
        assert "origins" in refusal.text
    return refusal.status


HOST = "here.example"


# --- the same origin, which is the default ---


@pytest.mark.fault(29, 33)
@pytest.mark.row(19, 20, 21)
@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        (None, HOST, 101),
        ("http://here.example", HOST, 101),
        ("http://here.example:80", HOST, 101),
        ("http://here.example", f"{HOST}:80", 101),
        ("https://here.example", HOST, 101),  # a proxy may have ended TLS
        ("https://here.example:443", HOST, 101),
        ("https://here.example", f"{HOST}:443", 101),
        ("http://here.example:8000", f"{HOST}:8000", 101),
        ("HTTP://HERE.example", HOST, 101),
        ("http://[::1]:8000", "[::1]:8000", 101),
        ("http://127.0.0.1", "127.0.0.1", 101),
        ("null", HOST, 403),
        ("", HOST, 403),
        ("http://here.example:8000", HOST, 403),
        ("http://here.example", f"{HOST}:8000", 403),
        ("https://here.example:80", HOST, 403),
        ("http://here.example:443", HOST, 403),
        ("ftp://here.example", HOST, 403),
        ("ws://here.example", HOST, 403),
        ("file://", HOST, 403),
        ("here.example", HOST, 403),
        ("http:here.example", HOST, 403),
        ("http://localhost", "127.0.0.1", 403),
        ("http://127.0.0.1.evil.example", "127.0.0.1", 403),
    ],
)
def test_pages_of_the_same_origin_may_connect(
    server: RunningServer, origin: str | None, host: str, status: int
) -> None:
    assert answer(server, "/echo", {"Origin": origin, "Host": host}) == status


# --- a list ---

TRICKS = [
    "https://good.example.evil.example",  # suffix
    "https://evilgood.example",  # prefix
    "https://evil-good.example",
    "https://sub.good.example",
    "https://good.example@evil.example",  # user information
    "https://evil.example@good.example",
    "https://good.example:443@evil.example",
    "https://evil.example/good.example",  # a path
    "https://good.example/",
    "https://good.example/path",
    "https://good.example?",
    "https://good.example#",
    "https://evil.example#good.example",
    "https://evil.example\\good.example",
    "https://goodxexample",  # a dot is a dot
    "https://good.example.",
    "https://.good.example",
    "https://good..example",
    "https://good.example:444",
    "https://good.example:0443x",
    "https://good.example:-443",
    "http://good.example",
    "http://good.example:443",
    "wss://good.example",
    "https:good.example",
    "https:/good.example",
    "https:///good.example",
    "//good.example",
    "good.example",
    "https://good.example https://evil.example",
    "https://evil.example https://good.example",
    "https://good.example, https://evil.example",
    "https://good.example;evil",
    "'https://good.example'",
    "<https://good.example>",
    "https://good%2eexample",
    "https://good.example%00.evil.example",
    "https://g\xf3od.example",
    "https://g\xba\xbad.example",  # these signs are compatible with the letter o
    "https://\xef\xbb\xbfgood.example",
    "https://*.example",
    "*",
    "null",
    "",
]


@pytest.mark.fault(29, 30, 31, 32)
@pytest.mark.row(20, 21)
@pytest.mark.parametrize("origin", TRICKS)
def test_origins_that_look_like_a_listed_one_are_refused(
    server: RunningServer, origin: str
) -> None:
    assert answer(server, "/listed", {"Origin": origin, "Host": "good.example"}) == 403


@pytest.mark.fault(29, 30, 33)
@pytest.mark.row(19, 21)
@pytest.mark.parametrize(
    "origin",
    [
        None,
        "https://good.example",
        "https://good.example:443",
        "https://good.example:",
        "https://GOOD.Example",
        "HTTPS://good.example",
        "http://good.example:8080",
    ],
)
def test_listed_origins_may_connect_whatever_the_host(
    server: RunningServer, origin: str | None
) -> None:
    """Behind a proxy the Host may be any."""
    assert answer(server, "/listed", {"Origin": origin, "Host": "10.0.0.1:8000"}) == 101


@pytest.mark.fault(33)
def test_list_replaces_the_same_origin(server: RunningServer) -> None:
    assert answer(server, "/listed", {"Origin": "https://here.example", "Host": HOST}) == 403


@pytest.mark.fault(31)
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://xn--bcher-kva.example", 101),
        ("https://XN--BCHER-KVA.example", 101),
        ("https://bucher.example", 403),
        ("https://xn--bchr-kva.example", 403),
        ("https://b\xfccher.example", 403),  # browsers send A-labels
        ("https://b\xc3\xbccher.example", 403),
        ("https://b\xd0\xb5cher.example", 403),
    ],
)
def test_international_names_are_compared_as_a_labels(
    server: RunningServer, origin: str, status: int
) -> None:
    assert answer(server, "/idn", {"Origin": origin}) == status


@pytest.mark.fault(29)
@pytest.mark.parametrize(
    ("origin", "status"),
    [("null", 101), ("NULL", 403), ("null, null", 403), ("http://null", 403), (None, 101)],
)
def test_null_is_let_in_only_where_it_is_listed(
    server: RunningServer, origin: str | None, status: int
) -> None:
    assert answer(server, "/null", {"Origin": origin}) == status


# --- malformed, twice, for any ---


@pytest.mark.fault(32)
@pytest.mark.row(21, 65)
@pytest.mark.parametrize("path", ["/echo", "/listed", "/any"])
@pytest.mark.parametrize("second", [b"https://good.example", b"https://evil.example", b"null", b""])
def test_two_origins_are_refused(server: RunningServer, path: str, second: bytes) -> None:
    fields: Fields = {"Origin": "https://good.example", "Host": "good.example"}
    assert answer(server, path, fields, b"origin: " + second + b"\r\n") == 400


@pytest.mark.fault(17, 32)
@pytest.mark.parametrize(
    "control", ["\r", "\n", "\0", "\x01", "\x0b", "\x1b", "\x7f", "\x85", "\t"]
)
def test_control_characters_in_an_origin_are_refused(server: RunningServer, control: str) -> None:
    for origin in (f"https://good.example{control}x", f"https://good{control}.example"):
        assert answer(server, "/listed", {"Origin": origin}) in (400, 403)


@pytest.mark.fault(29)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://here.example:1"])
def test_star_lets_any_origin_in(server: RunningServer, origin: str) -> None:
    assert answer(server, "/any", {"Origin": origin, "Sec-Fetch-Site": "cross-site"}) == 101


# --- no Origin, but a browser ---


@pytest.mark.fault(34)
@pytest.mark.parametrize(
    ("site", "status"),
    [
        (None, 101),
        ("none", 101),
        ("same-origin", 101),
        ("same-site", 403),
        ("cross-site", 403),
        ("Cross-Site", 403),
        ("", 403),
        ("other", 403),
    ],
)
def test_browser_that_leaves_out_its_origin_may_not_connect_across_sites(
    server: RunningServer, site: str | None, status: int
) -> None:
    for path in ("/echo", "/listed"):
        assert answer(server, path, {"Sec-Fetch-Site": site}) == status
    assert answer(server, "/any", {"Sec-Fetch-Site": site}) == 101


@pytest.mark.fault(34)
def test_second_sec_fetch_site_does_not_hide_the_first(server: RunningServer) -> None:
    extra = b"Sec-Fetch-Site: same-origin\r\n"
    assert answer(server, "/echo", {"Sec-Fetch-Site": "cross-site"}, extra) == 403


@pytest.mark.fault(34)
def test_origin_decides_where_it_is_there(server: RunningServer) -> None:
    fields: Fields = {"Origin": "https://good.example", "Sec-Fetch-Site": "cross-site"}
    assert answer(server, "/listed", fields) == 101
    assert answer(server, "/echo", fields) == 403
