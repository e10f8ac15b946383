"""The one order of checks: the first breach is the answer, and nothing is agreed on before."""

from __future__ import annotations

from typing import Any

import pytest

from ws_middleware.core.handshake import RequestHead
from ws_middleware.errors import HandshakeError
from ws_middleware.options import Options
from ws_middleware.request import Request
from ws_middleware.routing import Route, Router
from ws_middleware.upgrade import Upgrade, decide_at_once, find_route

GOOD = {
    "Host": "test:8000",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def make(
    target: str = "/",
    *more: tuple[str, str],
    method: str = "GET",
    version: str = "1.1",
    secure: bool = False,
    **changes: str | None,
) -> Request:
    """Make a good request but for `changes`: fields, with underscores; None leaves one out."""
    fields = {**GOOD, **{name.replace("_", "-"): value for name, value in changes.items()}}
    kept = [(name, value) for name, value in fields.items() if value is not None]
    return Request(RequestHead(method, target, version, [*kept, *more]), secure=secure)


def nothing(connection: object) -> None:
    """Be a handler."""


def prepare(request: Request, options: Options) -> Upgrade:
    route = Route("/", nothing, options)
    served, upgrade = decide_at_once(Router(options), request, route)
    assert served is route
    return upgrade


def refusal(request: Request, **options: Any) -> HandshakeError:
    with pytest.raises(HandshakeError) as error:
        prepare(request, Options(**options))
    return error.value


# --- the route ---


def test_route_is_found_and_its_parameters_are_noted() -> None:
    router = Router(Options())
    router.add("/<room>", lambda connection, room: None)
    request = make("/a%20b?c")
    route = find_route(router, request)
    assert route is not None
    assert route.rule == "/<room>"
    assert request.path_params == {"room": "a b"}


def test_path_without_a_route_is_404() -> None:
    request, router = make("/secret"), Router(Options())
    assert find_route(router, request) is None
    with pytest.raises(HandshakeError, match="there is no WebSocket at this path") as error:
        decide_at_once(router, request, None)
    assert error.value.status == 404
    assert request.path_params == {}


# --- what is agreed on ---


def test_good_request_is_accepted() -> None:
    upgrade = prepare(make(), Options())
    assert upgrade.subprotocol is None
    assert list(upgrade.agreements) == []
    assert dict(upgrade.fields) == {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    }


@pytest.mark.parametrize(
    ("offered", "spoken", "chosen"),
    [
        (None, ["a"], None),
        ("a", [], None),
        ("b", ["a"], None),
        ("a, b", ["b", "a"], "b"),
        ("a,b", ["a", "b"], "a"),
        ("A", ["a"], None),
    ],
)
def test_subprotocol_is_the_servers_choice(
    offered: str | None, spoken: list[str], chosen: str | None
) -> None:
    upgrade = prepare(make(Sec_WebSocket_Protocol=offered), Options(subprotocols=spoken))
    assert upgrade.subprotocol == chosen
    assert dict(upgrade.fields).get("Sec-WebSocket-Protocol") == chosen


@pytest.mark.parametrize("agreed", [True, False])
def test_extensions_are_those_of_the_options(agreed: bool) -> None:
    options = Options() if agreed else Options(extensions=())
    upgrade = prepare(make(Sec_WebSocket_Extensions="unknown, permessage-deflate"), options)
    assert len(upgrade.agreements) == agreed
    assert ("Sec-WebSocket-Extensions" in dict(upgrade.fields)) == agreed


# --- hosts ---


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("test:8000", ["test"]),
        ("TEST:8000", ["test:8000"]),
        ("test", ["Test"]),
        ("[::1]:8000", ["[::1]"]),
        ("b", ["a", "b"]),
        ("anything", None),
    ],
)
def test_host_that_is_served(host: str, allowed: list[str] | None) -> None:
    prepare(make(Host=host), Options(hosts=allowed))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("test:8000", ["test:8001"]),
        ("test", ["test:8000"]),
        ("test.evil", ["test"]),
        ("[::1]", ["[::2]"]),
        ("test", []),
    ],
)
def test_host_that_is_not_served_is_421(host: str, allowed: list[str]) -> None:
    error = refusal(make(Host=host), hosts=allowed)
    assert error.status == 421
    assert error.reason == f"the host {host!r} is not served here (setting: hosts)"


# --- origins ---


@pytest.mark.parametrize(
    ("origin", "origins", "secure"),
    [
        (None, "same-origin", False),
        ("http://test:8000", "same-origin", False),
        ("https://test:8000", "same-origin", False),  # behind a proxy that ends TLS
        ("https://test:8000", "same-origin", True),
        ("http://other", "*", False),
        ("null", "*", False),
        ("http://other", ["http://other"], False),
        ("http://OTHER:80", ["http://other"], False),
        ("null", ["null"], False),
    ],
)
def test_origin_that_may_connect(origin: str | None, origins: Any, secure: bool) -> None:
    prepare(make(Origin=origin, secure=secure), Options(origins=origins))


@pytest.mark.parametrize(
    ("origin", "origins", "secure"),
    [
        ("http://other", "same-origin", False),
        ("http://test", "same-origin", False),
        ("http://test:8000", "same-origin", True),
        ("null", "same-origin", False),
        ("nonsense", "same-origin", False),
        ("nonsense", "*", False),
        ("http://test:8000", ["http://other"], False),
        ("https://other", ["http://other"], False),
        ("null", ["http://other"], False),
    ],
)
def test_origin_that_may_not_connect_is_403(origin: str, origins: Any, secure: bool) -> None:
    error = refusal(make(Origin=origin, secure=secure), origins=origins)
    assert error.status == 403
    assert error.reason == f"the origin {origin!r} may not connect (setting: origins)"


def test_two_origins_are_400() -> None:
    request = make("/", ("origin", "http://test:8000"), Origin="http://test:8000")
    assert refusal(request).status == 400


def test_origin_is_quoted_escaped_and_shortened() -> None:
    reason = refusal(make(Origin="http://\xe9" + "x" * 100)).reason
    assert reason.startswith(r"the origin 'http://\xe9xxx")
    assert len(reason) < 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "unheard-of"])
def test_browser_from_elsewhere_that_hides_its_origin_is_403(site: str) -> None:
    request = make(Sec_Fetch_Site=site)
    error = refusal(request)
    assert error.status == 403
    assert "setting: origins" in error.reason
    prepare(request, Options(origins="*"))


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_browser_of_the_same_origin_may_leave_it_out(site: str) -> None:
    prepare(make(Sec_Fetch_Site=site), Options())


def test_origin_goes_before_what_the_browser_says_of_it() -> None:
    prepare(make(Origin="http://test:8000", Sec_Fetch_Site="cross-site"), Options())


# --- the order ---

#: Each breach with the status that answers it, the first checked first.
BREACHES: list[tuple[dict[str, Any], int]] = [
    ({"method": "POST"}, 405),
    ({"version": "1.0"}, 400),
    ({"Upgrade": "other"}, 426),
    ({"Connection": "close"}, 400),
    ({"Sec_WebSocket_Version": "8"}, 426),
    ({"Sec_WebSocket_Key": "short"}, 400),
    ({"Host": "elsewhere"}, 421),
    ({"Origin": "http://evil"}, 403),
]


@pytest.mark.parametrize("first", range(len(BREACHES)))
def test_first_breach_is_the_answer(first: int) -> None:
    changes: dict[str, Any] = {}
    for breach, _ in BREACHES[first:]:
        changes |= breach
    error = refusal(make(**changes), hosts=["test"])
    assert error.status == BREACHES[first][1]


@pytest.mark.parametrize(("breach", "status"), BREACHES)
def test_each_breach_alone_is_answered(breach: dict[str, Any], status: int) -> None:
    assert refusal(make(**breach), hosts=["test"]).status == status
