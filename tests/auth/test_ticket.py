"""Tickets: one use, a few seconds, one path, one origin."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest

from tests.auth.asking import ask, make_request, refusal
from ws_middleware.auth.signing import Signer
from ws_middleware.auth.spent import Spent
from ws_middleware.auth.ticket import Ticket
from ws_middleware.errors import Unauthorized
from ws_middleware.request import Request

KEY = b"k" * 16
ORIGIN = ("Origin", "https://a.example")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def in_query(text: str, *fields: tuple[str, str], path: str = "/chat") -> Request:
    return make_request(None, *fields, target=f"{path}?x=1&ticket={text}")


def in_subprotocol(text: str) -> Request:
    return make_request(None, ("Sec-WebSocket-Protocol", f"chat, ticket.{text}"))


@pytest.mark.parametrize("identity", ["alice", 7, {"id": [1, "\xe4"]}, True, ""])
def test_ticket_admits_whom_it_was_issued_for(identity: Any) -> None:
    ticket = Ticket()
    for place in (in_query, in_subprotocol):
        assert ask(ticket, place(ticket.issue(identity))) == identity


def test_ticket_is_withdrawn_from_the_request_whatever_comes_of_it() -> None:
    ticket = Ticket()
    for text in (ticket.issue("alice"), "nonsense"):
        for request in (in_query(text), in_subprotocol(text)):
            with contextlib.suppress(Unauthorized):
                ask(ticket, request)
            assert "ticket" not in str(request.head)


@pytest.mark.parametrize("place", [in_query, in_subprotocol])
def test_ticket_is_used_once(place: Any) -> None:
    ticket = Ticket()
    text = ticket.issue("alice")
    assert ask(ticket, place(text)) == "alice"
    for again in (in_query, in_subprotocol):
        assert refusal(ticket, again(text)).reason == "the ticket was used before"


def test_32_threads_use_a_ticket_once() -> None:
    ticket = Ticket()
    for _ in range(20):
        text = ticket.issue("alice")
        barrier = threading.Barrier(32)
        outcomes: list[bool] = []

        def run(text: str = text, barrier: Any = barrier, outcomes: Any = outcomes) -> None:
            request = in_query(text)
            barrier.wait()
            try:
                outcomes.append(ticket(request) == "alice")
            except Unauthorized:
                outcomes.append(False)

        threads = [threading.Thread(target=run) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == [False] * 31 + [True]


def test_ticket_expires() -> None:
    clock = Clock()
    ticket = Ticket(lifetime=30.0, clock=clock)
    texts = [ticket.issue("alice") for _ in range(2)]
    clock.now += 29.9
    assert ask(ticket, in_query(texts[0])) == "alice"
    clock.now += 0.1
    for text in texts:
        assert refusal(ticket, in_query(text)).reason == "the ticket has expired"


def test_memory_of_used_tickets_is_bounded_and_none_is_used_twice() -> None:
    spent = Spent(capacity=10)
    ticket = Ticket(spent=spent)
    texts = [ticket.issue(number) for number in range(100)]
    assert [ask(ticket, in_query(text)) for text in texts] == [*range(100)]
    assert len(spent) == 10
    for text in texts:
        assert refusal(ticket, in_query(text)).status == 401


@pytest.mark.parametrize(
    ("terms", "path", "origin", "reason"),
    [
        ({"path": "/chat"}, "/chat", ORIGIN, None),
        ({"path": "/a b"}, "/a%20b", ORIGIN, None),
        ({"path": "/chat"}, "/chat/", ORIGIN, "path"),
        ({"path": "/chat"}, "/other", ORIGIN, "path"),
        ({"origin": "https://a.example"}, "/", ORIGIN, None),
        ({"origin": "https://a.example"}, "/", ("Origin", "http://a.example"), "origin"),
        ({"origin": "https://a.example"}, "/", ("Origin", "null"), "origin"),
        ({"origin": "null"}, "/", ("Origin", "null"), None),
        ({"origin": "https://a.example"}, "/", ("X", "y"), "origin"),
    ],
)
def test_ticket_is_for_a_path_and_an_origin(
    terms: dict[str, str], path: str, origin: tuple[str, str], reason: str | None
) -> None:
    ticket = Ticket()
    request = in_query(ticket.issue("alice", **terms), origin, path=path)
    if reason is None:
        assert ask(ticket, request) == "alice"
    else:
        assert refusal(ticket, request).reason == f"the ticket is for another {reason}"


@pytest.mark.row(198)
@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (make_request(), 401),
        (in_query(""), 401),
        (in_query("x" * 6000), 401),
        (in_query("\xe4"), 401),
        (in_query(Ticket(KEY).issue("alice")), 401),
        (in_query(Signer(KEY, "nonce").sign(b"[]")), 401),
        (make_request(None, ("Sec-WebSocket-Protocol", "ticket.\xe4, , (;")), 401),
        (in_query("a&ticket=b"), 400),
        (make_request(None, ("Sec-WebSocket-Protocol", "ticket.a"), target="/?ticket=b"), 400),
    ],
)
def test_others_are_refused(request_: Request, status: int) -> None:
    error = refusal(Ticket(), request_)
    assert error.status == status
    if status == 401:
        assert error.headers == (("WWW-Authenticate", 'Ticket realm="WebSocket"'),)


def test_keys_can_be_shared_and_replaced() -> None:
    text = Ticket(KEY).issue("alice")
    assert ask(Ticket([b"new" * 8, KEY]), in_query(text)) == "alice"
    assert refusal(Ticket(b"new" * 8), in_query(text)).status == 401


def test_memory_may_be_shared_and_answer_later() -> None:
    used: set[str] = set()

    async def spend(key: str, expires: float) -> bool:
        first = key not in used
        used.add(key)
        return first

    one, other = (Ticket(KEY, spent=spend) for _ in range(2))
    text = one.issue("alice")
    assert ask(one, in_query(text)) == "alice"
    assert refusal(other, in_query(text)).status == 401
    assert one.blocking
    assert not Ticket().blocking


def test_lifetime_is_positive() -> None:
    with pytest.raises(ValueError, match="lifetime"):
        Ticket(lifetime=0)


def test_path_has_the_prefix_that_a_proxy_takes_away() -> None:
    ticket = Ticket()
    request = in_query(ticket.issue("alice", path="/live/chat"))
    request.root_path = "/live"
    assert ask(ticket, request) == "alice"


@pytest.mark.parametrize(
    "terms", [{"path": "chat"}, {"path": ""}, {"origin": "a.example"}, {"origin": "https://a/b"}]
)
def test_terms_that_could_never_match_are_errors(terms: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"slash|is not a"):
        Ticket().issue("alice", **terms)


def test_identity_has_to_be_json() -> None:
    with pytest.raises(TypeError, match="JSON"):
        Ticket().issue(object())


def test_views_issue_tickets_of_this_one() -> None:
    ticket = Ticket()
    started: list[Any] = []
    environ = {"REQUEST_METHOD": "POST", "QUERY_STRING": "path=/chat"}
    [body] = ticket.wsgi(lambda environ: "alice")(environ, lambda *given: started.append(given))
    text = body.decode().split('"')[3]
    assert ask(ticket, in_query(text)) == "alice"
    assert callable(ticket.asgi(lambda scope: None))
