"""Where a client lets itself be redirected to, and what it takes along."""

from __future__ import annotations

import pytest

from tests.client.scripted import accepting, refusing, scripted
from tests.client.ways import Open, both_ways
from ws_middleware.client import Password, Token
from ws_middleware.client.plan import make_plan
from ws_middleware.errors import HandshakeRefused


@both_ways
@pytest.mark.row(82)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_followed(open_: Open, status: int) -> None:
    with scripted(refusing(status, "Location: /b?c#d", "Connection: close"), accepting()) as server:
        connection = open_(f"{server.url}/a", headers={"X": "y"}, credentials=Token("t"))
    assert [asked.line for asked in server.asked] == ["GET /a HTTP/1.1", "GET /b?c HTTP/1.1"]
    assert server.asked[1].field("X") == "y"
    assert server.asked[1].field("Authorization") == "Bearer t"
    assert connection.request.target == "/b?c"


@both_ways
@pytest.mark.row(82)
@pytest.mark.fault(50)
@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_nothing_that_was_meant_for_one_origin_goes_to_another(open_: Open, scheme: str) -> None:
    challenge = 'WWW-Authenticate: Basic realm="r"'
    with scripted(refusing(401, challenge)) as other:
        location = f"Location: {scheme}://user:secret@127.0.0.1:{other.port}/b"
        with scripted(refusing(401, challenge), refusing(302, location)) as server:
            with pytest.raises(HandshakeRefused, match="401"):
                open_(
                    server.url,
                    headers={"X": "y"},
                    cookies={"a": "b"},
                    origin="https://a.example",
                    credentials=Password("user", "secret"),
                )
            assert server.asked[1].field("Authorization")
    (asked,) = other.asked
    assert asked.field("Host") == f"127.0.0.1:{other.port}"
    for name in ("X", "Cookie", "Origin", "Authorization"):
        assert asked.field(name) is None


@both_ways
@pytest.mark.fault(50)
def test_redirects_are_bounded(open_: Open) -> None:
    with scripted(*[refusing(302, "Location: /x")] * 9) as server:
        with pytest.raises(HandshakeRefused, match="max_redirects=5"):
            open_(server.url)
        assert len(server.asked) == 6
        server.asked.clear()
        with pytest.raises(HandshakeRefused, match="max_redirects=0"):
            open_(server.url, max_redirects=0)
        assert len(server.asked) == 1


@both_ways
@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["Location: ftp://example.org/"], "not followed"),
        (["Location: ws://[/"], "not followed"),
        (["Location: ws://a b/"], "not followed"),
        ([], "refused to open a WebSocket: 302"),
    ],
)
def test_redirect_that_leads_nowhere_is_a_refusal(
    open_: Open, lines: list[str], reason: str
) -> None:
    with scripted(refusing(302, *lines)) as server, pytest.raises(HandshakeRefused, match=reason):
        open_(server.url)


@pytest.mark.row(82)
@pytest.mark.parametrize("location", ["ws://a/b", "http://a/b", "//a/b", "http://other/"])
def test_redirect_from_wss_to_ws_is_refused(location: str) -> None:
    plan = make_plan("wss://a/", {})
    if location.startswith("//"):
        assert plan.redirected(location).uri.secure
    else:
        with pytest.raises(ValueError, match="from wss to ws"):
            plan.redirected(location)


def test_redirect_from_ws_to_wss_takes_nothing_along() -> None:
    plan = make_plan("ws://user:secret@a/", {"headers": {"X": "y"}, "unix": "/s"})
    redirected = plan.redirected("https://a/b")
    assert str(redirected.uri) == "wss://a/b"
    assert (redirected.credentials, redirected.fields, redirected.unix) == (None, (), None)
