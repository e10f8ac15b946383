"""What holds at every door, on every kind of server: each check is a test in each of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

import pytest

from tests.admission.doors import CHALLENGES
from tests.peer import CLOSE, TEXT, Peer, Received
from tests.running import eventually
from tests.wsgi.asking import ask

__all__ = ["CHECKS", "SHAPES", "SHAPE_CHECKS", "Server"]

SHAPES = ["async", "def", "callbacks"]

Fields = dict[str, str | None]


class Server(Protocol):
    """Be whatever runs the doors."""

    port: int

    @property
    def log(self) -> str: ...


def key(name: str) -> Fields:
    return {"Authorization": f"Key {name}"}


def enter(peer: Peer, path: str, fields: Fields | None = None) -> dict[str, Any]:
    """Open a door; gives what the handler tells."""
    peer.open(path, fields=fields)
    told: dict[str, Any] = json.loads(peer.read_message())
    return told


def status_of(server: Server, path: str, fields: Fields | None = None) -> int:
    with Peer(server.port) as peer:
        return ask(peer, peer.request(path, fields=fields)).status


def leave(peer: Peer) -> None:
    peer.close()


def closed(peer: Peer) -> tuple[int, str]:
    """Answer a close frame, and give what it said."""
    code, reason = peer.read_close()
    peer.send_frame(CLOSE, code.to_bytes(2, "big"))
    peer.read_end()
    return code, reason


def our_origin(server: Server) -> Fields:
    return {"Origin": f"http://127.0.0.1:{server.port}"}


# --- in each shape of a handler ---


def check_identity_comes_with_the_key(server: Server, shape: str) -> None:
    for door in ("key", "later", "at-once"):
        with Peer(server.port) as peer:
            assert enter(peer, f"/door/{shape}/{door}", key("ann"))["identity"] == "ann"
            peer.echo("hello")
            leave(peer)
        assert status_of(server, f"/door/{shape}/{door}", key("mallory")) == 401
        assert status_of(server, f"/door/{shape}/{door}") == 401


def check_first_message_is_the_word(server: Server, shape: str) -> None:
    for door in ("word", "word-later"):
        with Peer(server.port) as peer:
            peer.open(f"/door/{shape}/{door}")
            peer.send_frame(TEXT, "open sesame")
            assert json.loads(peer.read_message())["identity"] == "ali"
            peer.echo("hello")
            leave(peer)
        with Peer(server.port) as peer:
            peer.open(f"/door/{shape}/{door}")
            peer.send_frame(TEXT, "open barley")
            assert closed(peer) == (4403, "this is not the word")


def check_first_message_has_a_deadline(server: Server, shape: str) -> None:
    with Peer(server.port) as peer:
        peer.open(f"/door/{shape}/word-soon")
        assert closed(peer) == (4401, "no credentials came within 0.2 s")


def check_peer_may_leave_instead_of_the_first_message(server: Server, shape: str) -> None:
    with Peer(server.port) as peer:
        peer.open(f"/door/{shape}/word")
        leave(peer)
    with Peer(server.port) as peer:
        peer.open(f"/door/{shape}/word")
        peer.reset()


def check_connection_ends_when_credentials_expire(server: Server, shape: str) -> None:
    with Peer(server.port) as peer:
        peer.open(f"/door/{shape}/moment", fields=key("ann"))
        assert peer.fields["x-rest"] == "1"
        check_expired(peer)
    with Peer(server.port) as peer:
        peer.open(f"/door/{shape}/word-for-a-moment")
        peer.send_frame(TEXT, "open sesame")
        check_expired(peer)


def check_expired(peer: Peer) -> None:
    """Check how a connection ends, if the handler was in time to say something or not."""
    received = peer.read_frame()
    if received.opcode == TEXT:
        assert json.loads(received.payload)["expires"]
        received = peer.read_frame()
    assert received == Received(CLOSE, b"\x11\x31the credentials have expired", True, 0)
    peer.send_frame(CLOSE, b"\x11\x31")
    peer.read_end()


def check_revoked_connections_are_closed(server: Server, shape: str) -> None:
    with Peer(server.port) as victim, Peer(server.port) as other, Peer(server.port) as admin:
        enter(victim, f"/door/{shape}/key", key("bob"))
        enter(other, f"/door/{shape}/key", key("ann"))
        enter(admin, "/door/async/open")
        admin.send_frame(TEXT, "revoke bob")
        assert admin.read_message() == "closed 1"
        assert closed(victim) == (4401, "you were revoked")
        other.echo("still here")
        leave(other)
        leave(admin)


def check_refused_handshakes_hold_no_place(server: Server, shape: str) -> None:
    """The cap of 2 is never reached by those who are refused, nor by those who are gone."""
    path = f"/door/{shape}/two-per-address"
    for _ in range(3):
        assert status_of(server, path, {"Origin": "http://evil.example"}) == 403
    for _ in range(3):
        for peer in entered(server, path):
            peer.reset()


def check_cap_of_an_address(server: Server, shape: str) -> None:
    path = f"/door/{shape}/two-per-address"
    peers = entered(server, path)
    with Peer(server.port) as late:
        answer = ask(late, late.request(path))
        assert (answer.status, answer.fields["retry-after"]) == (429, "5")
        assert b"max_connections_per_address=2" in answer.body
    for peer in peers:
        with peer:
            peer.echo("unharmed")
            leave(peer)


def entered(server: Server, path: str, fields: Fields | None = None, count: int = 2) -> list[Peer]:
    """Open so many connections at once, as soon as those of before have given up their places."""
    peers: list[Peer] = []

    def is_complete() -> bool:
        peer = Peer(server.port)
        peer.send(peer.request(path, fields=fields))
        if peer.reply().status == 101:
            peer.read_message()
            peers.append(peer)
        else:
            peer.socket.close()
        return len(peers) == count

    eventually(is_complete)
    return peers


_SHAPE_CHECKS: list[Callable[[Server, str], None]] = [
    check_identity_comes_with_the_key,
    check_first_message_is_the_word,
    check_first_message_has_a_deadline,
    check_peer_may_leave_instead_of_the_first_message,
    check_connection_ends_when_credentials_expire,
    check_revoked_connections_are_closed,
    check_refused_handshakes_hold_no_place,
    check_cap_of_an_address,
]

# --- once for each server ---


def check_challenges_are_one_field_each(server: Server) -> None:
    with Peer(server.port) as peer:
        peer.send(peer.request("/door/async/key"))
        head = peer.read_until(b"\r\n\r\n").decode()
    lines = [line.partition(": ") for line in head.split("\r\n")]
    told = [value for name, _, value in lines if name.lower() == "www-authenticate"]
    # A server may join the lines (RFC 9110 §5.3), in their order.
    assert ", ".join(told) == ", ".join(CHALLENGES)
    assert " 401 " in head.partition("\r\n")[0]


def check_unknown_users_look_like_wrong_keys(server: Server) -> None:
    answers = []
    for fields in (key("mallory"), key("annn"), key("")):
        with Peer(server.port) as peer:
            answer = ask(peer, peer.request("/door/async/key", fields=fields))
            kept = {name: value for name, value in answer.fields.items() if name != "date"}
            answers.append((answer.status, kept, answer.body))
    assert answers[0] == answers[1] == answers[2]


def check_whoever_is_not_known_is_refused(server: Server) -> None:
    assert status_of(server, "/door/async/nobody") == 403
    assert status_of(server, "/door/def/nobody", key("ann")) == 403


def check_mistake_is_a_500(server: Server) -> None:
    size = len(server.log)
    with Peer(server.port) as peer:
        answer = ask(peer, peer.request("/door/async/mistake"))
    assert (answer.status, answer.body) == (500, b"internal error\n")
    eventually(lambda: "on purpose" in server.log[size:])


def check_mistake_behind_the_first_message_closes(server: Server) -> None:
    with Peer(server.port) as peer:
        peer.open("/door/async/word")
        peer.send_frame(TEXT, "raise")
        code, _ = closed(peer)
        assert code in (1011, 4500)


def check_answer_that_never_comes_is_cut(server: Server) -> None:
    assert status_of(server, "/door/async/hang") == 503


def check_hook_gives_its_own_response(server: Server) -> None:
    with Peer(server.port) as peer:
        answer = ask(peer, peer.request("/door/async/reject"))
    assert (answer.status, answer.body) == (402, b'{"pay": true}')
    assert answer.fields["content-type"] == "application/json"
    assert answer.fields["x-why"] == "trial"


def check_hook_decides_behind_the_authenticator(server: Server) -> None:
    assert status_of(server, "/door/async/ann-only", key("bob")) == 403
    assert status_of(server, "/door/async/ann-only") == 401
    with Peer(server.port) as peer:
        enter(peer, "/door/async/ann-only", key("ann"))


def check_cookie_needs_an_origin(server: Server) -> None:
    cookie: Fields = {"Cookie": "session=ann"}
    assert status_of(server, "/door/async/cookie", cookie) == 403
    evil = {**cookie, "Origin": "http://evil.example"}
    assert status_of(server, "/door/async/cookie", evil) == 403
    with Peer(server.port) as peer:
        told = enter(peer, "/door/async/cookie", {**cookie, **our_origin(server)})
        assert told["identity"] == "ann"


def check_secrets_are_taken_out(server: Server) -> None:
    size = len(server.log)
    offer: Fields = {"Sec-WebSocket-Protocol": "bearer.s3cret, chat"}
    with Peer(server.port) as peer:
        told = enter(peer, "/door/async/ticket?ticket=s3cret&x=1", offer)
        leave(peer)
    assert (told["subprotocol"], told["identity"]) == ("chat", "ann")
    assert "x=1" in told["seen"]
    assert "s3cret" not in told["seen"], told["seen"]
    assert status_of(server, "/door/async/wrong-ticket?ticket=s3cret") == 403
    assert status_of(server, "/door/async/key?a=b", {"Authorization": "Key s3cret"}) == 401

    def ours() -> list[str]:
        # Some servers have a log of their own, made of the bytes that came.
        lines = server.log[size:].splitlines()
        return [line for line in lines if " refused with " in line or " identity=" in line]

    eventually(lambda: len(ours()) >= 3)  # of the end of a connection they tell in their own time
    assert "s3cret" not in "".join(ours())


def check_refusal_is_readable_by_scripts(server: Server) -> None:
    with Peer(server.port) as peer:
        peer.open("/door/async/readable", fields=our_origin(server))
        assert closed(peer) == (4403, "you may not connect here")
    with Peer(server.port) as peer:
        peer.open("/door/def/readable", fields={"Origin": "http://evil.example"})
        code, reason = closed(peer)
        assert (code, "(setting: origins)" in reason) == (4403, True)
    assert status_of(server, "/door/async/readable") == 403


def check_readable_refusal_chooses_what_was_offered_first(server: Server) -> None:
    with Peer(server.port) as peer:
        fields = {**our_origin(server), "Sec-WebSocket-Protocol": "log, chat"}
        peer.open("/door/async/readable", fields=fields)
        assert peer.fields["sec-websocket-protocol"] == "log"
        assert closed(peer)[0] == 4403


def check_cap_of_all(server: Server) -> None:
    path = "/door/async/full"
    peers = entered(server, path)
    with Peer(server.port) as late:
        answer = ask(late, late.request(path))
        assert (answer.status, answer.fields["retry-after"]) == (503, "5")
        assert b"max_connections=2" in answer.body
    with Peer(server.port) as late:
        late.open("/door/async/full-readable", fields=our_origin(server))
        code, reason = closed(late)
        assert (code, reason[-17:]) == (4503, "; retry after 5 s")
    for peer in peers:
        with peer:
            peer.echo("unharmed")
            leave(peer)


def check_cap_of_an_identity(server: Server) -> None:
    path = "/door/async/one-each"
    for _ in range(2):
        (ann,) = entered(server, path, key("ann"), count=1)
        with Peer(server.port) as again:
            answer = ask(again, again.request(path, fields=key("ann")))
            assert (answer.status, answer.fields["retry-after"]) == (429, "5")
        (bob,) = entered(server, path, key("bob"), count=1)
        for peer in (ann, bob):
            with peer:
                leave(peer)


def check_rate_of_handshakes(server: Server) -> None:
    with Peer(server.port) as first, Peer(server.port) as second:
        enter(first, "/door/async/slowly")
        answer = ask(second, second.request("/door/async/slowly"))
        assert answer.status == 429
        assert 1 <= int(answer.fields["retry-after"]) <= 10
        assert b"max_handshakes_per_second=0.1" in answer.body
        first.echo("unharmed")


def check_guesses_are_counted(server: Server) -> None:
    path = "/door/async/guessed"
    for _ in range(10):
        assert status_of(server, path) == 401  # a first, bare request is no guess
    for _ in range(3):
        assert status_of(server, path, key("mallory")) == 401
    with Peer(server.port) as peer:
        answer = ask(peer, peer.request(path, fields=key("ann")))
        assert answer.status == 429
        assert 1 <= int(answer.fields["retry-after"]) <= 60
    with Peer(server.port) as peer:
        enter(peer, "/door/async/key", key("ann"))


FORWARDED: Fields = {
    "X-Forwarded-For": "6.6.6.6, 192.0.2.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "chat.example",
}


def check_trusted_proxy_speaks_for_others(server: Server) -> None:
    origin: Fields = {"Origin": "https://chat.example"}
    size = len(server.log)
    with Peer(server.port) as peer:
        told = enter(peer, "/door/async/proxied", {**FORWARDED, **origin})
        leave(peer)
    assert told["address"] == ["192.0.2.7", 0]
    assert (told["secure"], told["host"]) == (True, "chat.example")
    eventually(lambda: "192.0.2.7:0 '/door/async/proxied'" in server.log[size:])
    plain = {**FORWARDED, "Origin": "http://chat.example"}
    assert status_of(server, "/door/async/proxied", plain) == 403


def check_proxies_that_contradict_are_refused(server: Server) -> None:
    fields = {**FORWARDED, "Forwarded": "for=6.6.6.6"}
    assert status_of(server, "/door/async/proxied", fields) == 400
    broken = {**FORWARDED, "X-Forwarded-Host": "no host"}
    assert status_of(server, "/door/async/proxied", broken) == 400


def check_other_proxies_are_not_heard(server: Server) -> None:
    with Peer(server.port) as peer:
        told = enter(peer, "/door/async/open", {**FORWARDED, "Forwarded": "for=6.6.6.6"})
    assert told["address"][0] == "127.0.0.1"
    assert told["host"] == f"127.0.0.1:{server.port}"
    fields = {**FORWARDED, "Origin": "http://chat.example"}
    assert status_of(server, "/door/async/open", fields) == 403


def check_peer_that_leaves_while_it_is_asked_harms_nobody(server: Server) -> None:
    for _ in range(20):
        with Peer(server.port) as peer:
            peer.send(peer.request("/door/async/later", fields=key("ann")))
            peer.reset()
    with Peer(server.port) as peer:
        enter(peer, "/door/async/later", key("ann"))


def check_challenge_is_answered_on_the_same_connection(server: Server) -> None:
    with Peer(server.port) as peer:
        answer = ask(peer, peer.request("/door/async/key"))
        assert answer.status == 401
        if not answer.closes:
            assert enter(peer, "/door/async/key", key("ann"))["identity"] == "ann"
            peer.echo("hello")


_CHECKS: list[Callable[[Server], None]] = [
    check_challenges_are_one_field_each,
    check_unknown_users_look_like_wrong_keys,
    check_whoever_is_not_known_is_refused,
    check_mistake_is_a_500,
    check_mistake_behind_the_first_message_closes,
    check_answer_that_never_comes_is_cut,
    check_hook_gives_its_own_response,
    check_hook_decides_behind_the_authenticator,
    check_cookie_needs_an_origin,
    check_secrets_are_taken_out,
    check_refusal_is_readable_by_scripts,
    check_readable_refusal_chooses_what_was_offered_first,
    check_cap_of_all,
    check_cap_of_an_identity,
    check_rate_of_handshakes,
    check_guesses_are_counted,
    check_trusted_proxy_speaks_for_others,
    check_proxies_that_contradict_are_refused,
    check_other_proxies_are_not_heard,
    check_peer_that_leaves_while_it_is_asked_harms_nobody,
    check_challenge_is_answered_on_the_same_connection,
]

#: Which rows of the tables a check proves.
_PROOFS: dict[Callable[..., None], pytest.MarkDecorator] = {
    check_mistake_is_a_500: pytest.mark.fault(28, 46),
    check_answer_that_never_comes_is_cut: pytest.mark.fault(28, 46),
    check_other_proxies_are_not_heard: pytest.mark.fault(24),
    check_unknown_users_look_like_wrong_keys: pytest.mark.fault(38),
    check_revoked_connections_are_closed: pytest.mark.fault(49),
    check_cap_of_all: pytest.mark.fault(98),
    check_cap_of_an_address: pytest.mark.fault(98),
    check_challenges_are_one_field_each: pytest.mark.row(48, 198),
}
#: Checks that provoke a traceback.
_NOISY = {check_mistake_is_a_500, check_mistake_behind_the_first_message_closes}


def _as_parameter(check: Callable[..., None]) -> Any:
    marks = [_PROOFS[check]] if check in _PROOFS else []
    if check in _NOISY:
        marks.append(pytest.mark.tracebacks(1))
    return pytest.param(check, marks=marks, id=check.__name__.removeprefix("check_"))


#: For tests with a parameter `check`, and one `shape` beside the first.
SHAPE_CHECKS = [_as_parameter(check) for check in _SHAPE_CHECKS]
CHECKS = [_as_parameter(check) for check in _CHECKS]
