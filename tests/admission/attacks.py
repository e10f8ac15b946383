"""What is tried on the doors that the shipped authenticators guard, on every kind of server."""

from __future__ import annotations

import base64
import itertools
import threading
from collections.abc import Callable
from http.client import HTTPResponse
from typing import Any

import pytest

from tests.admission.checks import Fields, Server, enter, status_of
from tests.admission.doors import TICKET, USERS
from tests.peer import Peer
from tests.running import eventually
from ws_middleware.auth.answers import basic_credentials, digest_credentials
from ws_middleware.auth.schemes import Challenge, parse_challenges
from ws_middleware.auth.signing import encode_base64url

__all__ = ["ATTACKS"]

REFUSED = (400, 401)


def authorization(value: str) -> Fields:
    return {"Authorization": value}


def challenges_of(server: Server, path: str, value: str | None = None) -> list[Challenge]:
    """Give the challenges of the 401 that answers an Authorization field."""
    with Peer(server.port) as peer:
        peer.send(peer.request(path, fields={"Authorization": value}))
        response = HTTPResponse(peer.socket)
        response.begin()
        response.read()
        assert response.status == 401
        return parse_challenges(response.headers.get_all("WWW-Authenticate") or ())


def is_stale(server: Server, path: str, value: str) -> bool:
    found = {one.parameters.get("stale") for one in challenges_of(server, path, value)}
    assert len(found) == 1
    return found == {"true"}


def identity(server: Server, path: str, value: str | None) -> Any:
    with Peer(server.port) as peer:
        return enter(peer, path, {"Authorization": value})["identity"]


# --- Basic ---

BASIC = "/door/async/basic"


@pytest.mark.row(195, 200)
@pytest.mark.fault(36)
def check_basic_lets_in(server: Server) -> None:
    for user, password in USERS.items():
        assert identity(server, BASIC, basic_credentials(user, password)) == user


def _encode(pair: bytes) -> str:
    return "Basic " + base64.b64encode(pair).decode()


@pytest.mark.row(196, 197, 199)
@pytest.mark.fault(18, 35)
def check_basic_keeps_out(server: Server) -> None:
    right = basic_credentials("ann", "secret")
    pairs = [b"ann:", b"ann:secre", b"ann:secrets", b"ann:Secret", b"Ann:secret", b":", b"ann"]
    pairs += [b"ann:secret\0", b"ann\n:secret", b"\xff:\xff", b"eve:secret", b"ann:" + b"x" * 4000]
    values = [*map(_encode, pairs), "Basic", "Basic =", right[:-1], f"{right} x", "Key ann"]
    values += ['Basic "x"', "Basic \xe4\xf6", f"{right}, {right}", "\xff"]
    for value in values:
        assert status_of(server, BASIC, authorization(value)) in REFUSED, value
    with Peer(server.port) as peer:
        line = f"Authorization: {right}\r\n".encode()
        peer.send(peer.request(BASIC, extra=line * 2))
        assert peer.reply().status in REFUSED


# --- Digest ---

DIGEST, SHA_256 = "/door/async/digest", "/door/async/sha-256"


def answers(
    server: Server, user: str = "ann", password: str = "secret", *, path: str = SHA_256
) -> Callable[..., str]:
    """Give a function that answers one challenge any number of times."""
    challenge = challenges_of(server, path)[0]
    terms = {"uri": path, "cnonce": "c0ffee"}
    return lambda **changed: digest_credentials(challenge, user, password, **(terms | changed))


@pytest.mark.row(203, 215, 216, 222)
def check_digest_lets_in(server: Server) -> None:
    for number, user in itertools.product(range(3), ("ann", "J\xe4s\xf8n")):
        challenge = challenges_of(server, DIGEST)[number]
        value = digest_credentials(challenge, user, USERS[user], uri=DIGEST, cnonce="c")
        with Peer(server.port) as peer:
            assert enter(peer, DIGEST, authorization(value))["identity"] == user
            assert "rspauth=" in peer.fields["authentication-info"]


@pytest.mark.row(212, 213)
@pytest.mark.fault(39)
def check_digest_is_not_replayed(server: Server) -> None:
    sent = answers(server)
    for count in (1, 5, 3):
        assert identity(server, SHA_256, sent(count=count)) == "ann"
    for count, cnonce in itertools.product((1, 3, 5), ("c0ffee", "another")):
        assert not is_stale(server, SHA_256, sent(count=count, cnonce=cnonce))
    assert identity(server, SHA_256, sent(count=4)) == "ann"


@pytest.mark.row(206, 207)
@pytest.mark.fault(40)
def check_digest_nonces_are_our_own_and_expire(server: Server) -> None:
    challenge = challenges_of(server, SHA_256)[0]
    nonce = challenge.parameters["nonce"]
    for other in (nonce.swapcase(), "A" * len(nonce), nonce[:-1], "x"):
        forged = challenge._replace(parameters={**challenge.parameters, "nonce": other})
        for password, stale in (("secret", True), ("wrong", False)):
            value = digest_credentials(forged, "ann", password, uri=SHA_256, cnonce="c")
            assert is_stale(server, SHA_256, value) is stale
    brief = "/door/async/digest-briefly"
    sent, counts = answers(server, path=brief), itertools.count(1)

    def has_expired() -> bool:
        return status_of(server, brief, authorization(sent(count=next(counts)))) == 401

    eventually(has_expired)
    assert is_stale(server, brief, sent(count=next(counts)))


@pytest.mark.row(209, 210, 211, 214, 220)
@pytest.mark.fault(41, 42, 43)
def check_digest_keeps_out(server: Server) -> None:
    sent = answers(server)
    for changes in (
        {'realm="WebSocket"': 'realm="x"'},
        {'opaque="': 'opaque="x'},
        {"qop=auth, ": ""},
        {"qop=auth, ": "qop=auth-int, "},
        {"qop=auth, ": "qop=x, "},
        {"algorithm=SHA-256, ": "algorithm=MD5, "},
        {"algorithm=SHA-256, ": "algorithm=SHA-256-sess, "},
        {"algorithm=SHA-256, ": ""},
        {"nc=00000001, ": ""},
        {"nc=00000001, ": "nc=1, "},
        {'cnonce="c0ffee"': "x=y"},
        {'username="ann"': 'username="ann'},
        {'username="ann"': 'username="ann", username="ann"'},
        {'username="ann"': "username=\"ann\", username*=UTF-8''ann"},
        {'username="ann"': f'username="{"x" * 6000}"'},
        {'username="ann"': 'username="\xff"'},
    ):
        value = sent()
        for old, new in changes.items():
            assert old in value
            value = value.replace(old, new, 1)
        assert status_of(server, SHA_256, authorization(value)) in REFUSED, value
    for terms in ({"uri": "/"}, {"uri": f"{SHA_256}?x"}, {"method": "POST"}):
        assert status_of(server, SHA_256, authorization(sent(**terms))) in REFUSED, terms
    assert status_of(server, f"{SHA_256}?x", authorization(sent())) == 400
    assert identity(server, SHA_256, sent()) == "ann"


@pytest.mark.fault(44)
def check_race_lets_one_in(server: Server) -> None:
    value = answers(server)()
    peers = [Peer(server.port) for _ in range(32)]
    barrier = threading.Barrier(len(peers))
    statuses: list[int] = []

    def run(peer: Peer) -> None:
        with peer:
            barrier.wait()
            peer.send(peer.request(SHA_256, fields=authorization(value)))
            statuses.append(peer.reply().status)

    threads = [threading.Thread(target=run, args=[peer]) for peer in peers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [101] + [401] * 31


@pytest.mark.row(201)
@pytest.mark.fault(38)
def check_users_are_not_told_apart(server: Server) -> None:
    def shape(path: str, value: str) -> Any:
        with Peer(server.port) as peer:
            peer.send(peer.request(path, fields=authorization(value)))
            reply = peer.reply()
            fields = {key: text for key, text in reply.fields.items() if key != "date"}
            [challenge] = parse_challenges([fields.pop("www-authenticate")])
            told = {name: "" if name == "nonce" else text for name, text in challenge[1].items()}
            return reply.status, fields, told, peer.body(reply)

    wrong, unknown = (shape(BASIC, basic_credentials(user, "x")) for user in ("ann", "eve"))
    assert wrong == unknown
    wrong, unknown = (shape(SHA_256, answers(server, user, "x")()) for user in ("ann", "eve"))
    assert wrong == unknown


# --- Bearer and tickets ---

BEARER, TICKETS = "/door/async/bearer", "/door/async/tickets"


@pytest.mark.row(228, 229, 230, 231, 232)
@pytest.mark.fault(46)
def check_bearer(server: Server) -> None:
    token: Fields = {"Authorization": "Bearer t0ken"}
    offer: Fields = {"Sec-WebSocket-Protocol": "chat, bearer." + encode_base64url(b"t0ken")}
    query = f"{BEARER}?x=1&access_token=t0ken"
    for path, fields in ((BEARER, token), (BEARER, offer), (query, None)):
        with Peer(server.port) as peer:
            told = enter(peer, path, fields)
            assert told["identity"] == "ann"
            assert encode_base64url(b"t0ken") not in told["seen"]
            assert "access_token" not in told["seen"]
    for path, given, status in (
        (BEARER, {}, 401),
        (BEARER, {"Authorization": "Bearer t0k"}, 401),
        (BEARER, {"Authorization": "Bearer T0KEN"}, 401),
        (BEARER, {"Authorization": 'Bearer "t0ken"'}, 400),
        (BEARER, {"Authorization": "Bearer \xff"}, 400),
        (BEARER, {"Sec-WebSocket-Protocol": "chat, bearer.YQ"}, 401),
        (f"{BEARER}?access_token=%ff", {}, 401),
        (BEARER, token | offer, 400),
        (query, token, 400),
    ):
        assert status_of(server, path, dict(given)) == status, given


def check_ticket(server: Server) -> None:
    """It lets in once, at its path, and nobody sees it."""
    size = len(server.log)
    in_query = TICKET.issue("ann", path=TICKETS)
    in_offer = TICKET.issue("ann", path=TICKETS)
    offer: Fields = {"Sec-WebSocket-Protocol": f"chat, ticket.{in_offer}"}
    for text, path, fields in (
        (in_query, f"{TICKETS}?ticket={in_query}&x=1", {}),
        (in_offer, TICKETS, offer),
    ):
        with Peer(server.port) as peer:
            told = enter(peer, path, dict(fields))
            assert told["identity"] == "ann"
            assert text not in told["seen"]
        assert status_of(server, path, dict(fields)) == 401
    other = TICKET.issue("ann", path="/elsewhere")
    for text in ("", "x", in_query[:-1], other):
        assert status_of(server, f"{TICKETS}?ticket={text}") == 401
    assert in_offer not in server.log[size:]


# --- ways around ---


@pytest.mark.fault(47)
def check_no_spelling_leads_around(server: Server) -> None:
    for path in (
        "/door/async/basic/",
        "//door/async/basic",
        "/door//async/basic",
        "/./door/async/basic",
        "/x/../door/async/basic",
        "/door/async/open/../basic",
        "/door/async%2fbasic",
        "/door/async/%62asic",
        "/door/async/basic;x",
        "/door/async/BASIC",
        "/door/async\\basic",
        "/door/async/basic%00",
        "/door/async/basic?x",
        f"http://127.0.0.1:{server.port}/door/async/basic",
    ):
        with Peer(server.port) as peer:
            peer.send(peer.request(path))
            status = int(peer.read_until(b"\r\n").split()[1])
        assert status != 101, path
        assert status < 500, path


@pytest.mark.fault(48)
def check_no_field_leads_around(server: Server) -> None:
    fields: Fields = {
        "X-HTTP-Method-Override": "CONNECT",
        "X-Original-URL": "/door/async/open",
        "X-Rewrite-URL": "/door/async/open",
        "X-Remote-User": "ann",
        "Remote-User": "ann",
        "X-Forwarded-User": "ann",
    }
    assert status_of(server, BASIC, fields) == 401
    assert status_of(server, SHA_256, fields) == 401


@pytest.mark.row(194, 198)
def check_challenges_of_several_ways(server: Server) -> None:
    challenges = challenges_of(server, "/door/async/any")
    schemes = ["digest"] * 3 + ["basic", "bearer"]
    assert [one.scheme for one in challenges] == schemes
    assert identity(server, "/door/async/any", basic_credentials("ann", "secret")) == "ann"
    assert identity(server, "/door/async/any", "bearer t0ken") == "ann"


#: For tests with a parameter `check`; the rows are those of its marks.
ATTACKS = [
    pytest.param(check, marks=getattr(check, "pytestmark", ()), id=name.removeprefix("check_"))
    for name, check in list(globals().items())
    if name.startswith("check_")
]
