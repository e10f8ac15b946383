"""Who is let in: authenticators and hooks of all kinds, their mistakes, and what is counted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.inprocess import in_real_time
from tests.test_upgrade import make, nothing
from ws_middleware.admission import Admission
from ws_middleware.asking import answers_at_once, ask_in_place, ask_on_loop, run_in_place
from ws_middleware.auth import Admitted, FirstMessage
from ws_middleware.errors import Forbidden, HandshakeError, Reject, Unauthorized
from ws_middleware.gate import Gate
from ws_middleware.logs import proxy_not_trusted
from ws_middleware.options import Options
from ws_middleware.request import Request
from ws_middleware.routing import Route, Router
from ws_middleware.upgrade import Upgrade, decide, decide_at_once, is_immediate

BASIC = ['Basic realm="attic"']


def route_of(**options: Any) -> tuple[Router, Route]:
    chosen = Options(**options)
    return Router(chosen), Route("/", nothing, chosen)


def admit(request: Request | None = None, **options: Any) -> Upgrade:
    router, route = route_of(**options)
    return decide_at_once(router, request or make(), route)[1]


def refusal(request: Request | None = None, **options: Any) -> HandshakeError:
    with pytest.raises(HandshakeError) as error:
        admit(request, **options)
    return error.value


def raising(error: Exception) -> Callable[..., Any]:
    def function(*arguments: object) -> None:
        raise error

    return function


# --- identities ---


def test_nobody_is_asked_where_no_authenticator_is_set() -> None:
    assert admit().admitted == Admitted(None)


@pytest.mark.parametrize("identity", ["ann", 7, 0, "", {"sub": "ann"}, True])
def test_answer_is_the_identity(identity: object) -> None:
    assert admit(authenticate=lambda request: identity).admitted == Admitted(identity)


def test_authenticator_sees_the_request() -> None:
    request = make("/a?b=c")
    assert admit(request, authenticate=lambda asked: asked).admitted.identity is request


@pytest.mark.parametrize("nobody", [None, False, Admitted(None), Admitted(False)])
def test_nobody_is_a_refusal(nobody: object) -> None:
    error = refusal(authenticate=lambda request: nobody)
    assert (error.status, error.reason) == (403, "you may not connect here")


@pytest.mark.row(48)
def test_refusal_of_an_authenticator_is_the_answer() -> None:
    refused = Unauthorized(BASIC)
    assert refusal(authenticate=raising(refused)) is refused
    rejected = Reject(402, "pay", [("Link", "</pay>")], body="{}")
    assert refusal(authenticate=raising(rejected)) is rejected


def test_further_fields_are_in_the_101() -> None:
    fields = admit(authenticate=lambda _: Admitted("ann", headers=[("X-Rest", "3")])).fields
    assert fields[-1] == ("X-Rest", "3")


def test_time_to_live_is_told_on() -> None:
    expires_at = time.time() + 60
    admitted = admit(authenticate=lambda _: Admitted("ann", expires_at=expires_at)).admitted
    assert admitted.expires_at == expires_at


def test_credentials_that_have_expired_are_none() -> None:
    error = refusal(authenticate=lambda _: Admitted("ann", expires_at=time.time() - 1))
    assert (error.status, error.reason) == (403, "the credentials have expired")


def test_what_a_browser_sends_by_itself_needs_an_origin() -> None:
    def cookie(request: Request) -> Admitted:
        return Admitted("ann", ambient=True)

    assert refusal(authenticate=cookie).status == 403
    same = make(Origin="http://test:8000")
    assert admit(same, authenticate=cookie).admitted.identity == "ann"


@pytest.mark.fault(28)
@pytest.mark.parametrize("setting", ["authenticate", "admit"])
def test_mistake_in_a_users_function_is_a_500_and_told_once(
    setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {setting: raising(LookupError("for the traceback alone"))}
    error = refusal(**options)
    assert (error.status, error.reason) == (500, "internal error")
    (record,) = caplog.records
    assert record.getMessage() == "raising.<locals>.function failed for '/'"
    assert record.exc_info is not None


def test_objects_are_named_by_their_class_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Wrong:
        blocking = False

        def __call__(self, request: Request) -> None:
            raise LookupError

        def __repr__(self) -> str:
            return "s3cret"

    assert refusal(authenticate=Wrong()).status == 500
    assert "Wrong failed for" in caplog.text
    assert "s3cret" not in caplog.text


# --- the hook ---


def test_hook_sees_request_and_identity() -> None:
    seen: list[object] = []
    request = make()
    admit(request, authenticate=lambda _: "ann", admit=lambda *both: seen.extend(both))
    assert seen == [request, "ann"]


def test_hook_is_asked_without_an_authenticator_too() -> None:
    refused = Reject(402, "pay")
    assert refusal(admit=raising(refused)) is refused


def test_hook_refuses_with_false_alone() -> None:
    assert refusal(admit=lambda request, identity: False).status == 403
    admit(admit=lambda request, identity: None)
    admit(admit=lambda request, identity: 0)


def test_identity_has_so_many_connections() -> None:
    router, route = route_of(authenticate=lambda _: "ann", max_connections_per_identity=1)
    _, upgrade = decide_at_once(router, make(), route)
    with pytest.raises(HandshakeError, match="max_connections_per_identity=1"):
        decide_at_once(router, make(), route)
    upgrade.ended()
    decide_at_once(router, make(), route)


# --- places ---


@pytest.mark.fault(98)
@pytest.mark.parametrize(
    "options",
    [
        {"authenticate": lambda _: None},
        {"authenticate": raising(LookupError())},
        {"admit": raising(Forbidden())},
        {"origins": []},
        {"hosts": []},
        {"authenticate": lambda _: "ann", "max_connections_per_identity": 1},
    ],
)
def test_refused_handshake_leaves_no_place_behind(options: dict[str, Any]) -> None:
    router, route = route_of(**options)
    if "max_connections_per_identity" in options:
        router.gate.count_identity("ann", 1)
    for _ in range(3):
        with pytest.raises(HandshakeError):
            decide_at_once(router, make(Origin="http://test:8000"), route)
    assert len(router.gate) == 0


def test_accepted_handshake_has_a_place_until_it_ends() -> None:
    router, route = route_of()
    _, upgrade = decide_at_once(router, make(), route)
    assert len(router.gate) == 1
    upgrade.ended()
    upgrade.ended()
    assert len(router.gate) == 0


def test_upgrade_without_a_place_ends_quietly() -> None:
    Upgrade(None, (), ()).ended()


# --- failures ---


def failures(request: Request, error: Exception | None) -> int:
    """Count what one failed authentication is counted for."""
    answer = raising(error) if error else lambda _: None
    router, route = route_of(authenticate=answer, max_failures_per_minute=1)
    request.remote_address = ("192.0.2.1", 5)
    with pytest.raises(HandshakeError):
        decide_at_once(router, request, route)
    return len(router.gate._failures)


def test_first_bare_request_is_no_failure() -> None:
    assert failures(make(), Unauthorized(BASIC)) == 0


def test_wrong_credentials_are_one() -> None:
    assert failures(make(Authorization="Basic x"), Unauthorized(BASIC)) == 1
    assert failures(make(), Forbidden()) == 1
    assert failures(make(), None) == 1


def test_wrong_ticket_is_one() -> None:
    def check(request: Request) -> None:
        request.withdraw_query("ticket")
        raise Unauthorized(BASIC)

    router, route = route_of(authenticate=check, max_failures_per_minute=1)
    request = make("/?ticket=1")
    for status in (401, 429):
        request.remote_address = ("192.0.2.1", 5)
        with pytest.raises(HandshakeError) as error:
            decide_at_once(router, request, route)
        assert error.value.status == status


def test_wrong_first_message_is_one() -> None:
    def check(message: str, request: Request) -> None:
        raise Unauthorized(BASIC)

    first = FirstMessage(check)
    options = Options(authenticate=first, max_failures_per_minute=1)
    request, gate = make(), Gate()
    request.remote_address = ("192.0.2.1", 5)
    admission = Admission(request, options, gate)
    with pytest.raises(Unauthorized):
        run_in_place(admission.by_message(first, "guess", ask_in_place))
    assert len(gate._failures) == 1


def test_stale_nonce_and_other_refusals_are_none() -> None:
    stale = Unauthorized(['Digest realm="a", stale=true'])
    assert failures(make(Authorization="Digest x"), stale) == 0
    assert failures(make(Authorization="Basic x"), Reject(402, "pay")) == 0
    assert failures(make(Authorization="Basic x"), LookupError()) == 0


# --- who is asked how ---


class Quick:
    blocking = False

    def __call__(self, request: Request) -> str:
        return "ann"


async def slow(request: Request) -> str:
    await asyncio.sleep(0)
    return "ann"


def test_only_quick_functions_are_asked_in_the_loops_own_time() -> None:
    assert answers_at_once(None)
    assert answers_at_once(Quick())
    assert not answers_at_once(lambda request: "ann")
    assert not answers_at_once(slow)
    assert is_immediate(None)
    assert is_immediate(route_of()[1])
    assert is_immediate(route_of(authenticate=Quick(), admit=Quick())[1])
    assert not is_immediate(route_of(authenticate=slow)[1])
    assert not is_immediate(route_of(authenticate=Quick(), admit=slow)[1])


@pytest.mark.parametrize("authenticate", [Quick(), slow, lambda _: "ann", lambda _: slow(_)])
def test_all_kinds_are_asked_on_a_loop(authenticate: Callable[..., Any]) -> None:
    @in_real_time
    async def ask() -> None:
        router, route = route_of(authenticate=authenticate)
        _, upgrade = await decide(router, make(), route, ask_on_loop)
        assert upgrade.admitted == Admitted("ann")

    ask()


@in_real_time
async def test_cancelled_handshake_leaves_no_place_behind() -> None:
    async def hang(request: Request) -> None:
        await asyncio.Event().wait()

    router, route = route_of(authenticate=hang)
    task = asyncio.ensure_future(decide(router, make(), route, ask_on_loop))
    await asyncio.sleep(0.01)
    assert len(router.gate) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(router.gate) == 0


def test_what_suspends_cannot_be_run_in_place() -> None:
    with pytest.raises(RuntimeError, match="nothing can wait"):
        run_in_place(slow(make()))


# --- the first message ---


def test_question_may_be_put_off() -> None:
    first = FirstMessage(len)
    for authenticate in (first, lambda request: first):
        upgrade = admit(authenticate=authenticate)
        assert upgrade.introduction is not None
        assert upgrade.admitted == Admitted(None)


# --- refusals that scripts can read ---


def farewell(request: Request, **options: Any) -> Route:
    router, route = route_of(readable="browser", **options)
    served, upgrade = decide_at_once(router, request, route)
    assert served is not route
    assert served.options is route.options
    assert (upgrade.place, len(router.gate)) == (None, 0)
    return served


def test_refusal_of_a_browser_is_a_connection(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    farewell(make(Origin="http://evil.example"))
    farewell(make(Origin="http://test:8000"), authenticate=lambda _: None)
    assert caplog.text.count("refused with 403") == 2


def test_unknown_path_is_readable_too() -> None:
    router = Router(Options(readable="browser"))
    decide_at_once(router, make(Origin="http://test:8000"), None)


def test_refusal_of_others_is_a_response() -> None:
    assert refusal(readable="browser", authenticate=lambda _: None).status == 403
    request = make(Origin="http://test:8000", Sec_WebSocket_Version="12")
    assert refusal(request, readable="browser").status == 426


def test_refusal_of_a_browser_chooses_what_it_offered_first() -> None:
    router, _ = route_of(readable="browser")
    request = make(Origin="http://test:8000", Sec_WebSocket_Protocol="a, b")
    _, upgrade = decide_at_once(router, request, None)
    assert upgrade.subprotocol == "a"


# --- subprotocols ---


def test_offer_of_which_nothing_is_spoken_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    route = Route("/once", nothing, Options(subprotocols=["chat"]))
    router = Router(route.options)
    for _ in range(3):
        decide_at_once(router, make(Sec_WebSocket_Protocol="log"), route)
        decide_at_once(router, make(Sec_WebSocket_Protocol="chat"), route)
    (record,) = caplog.records
    assert "browsers fail such a connection" in record.getMessage()
    assert "subprotocols=['chat']" in record.getMessage()


def test_gates_do_not_share() -> None:
    first, second = Gate(), Gate()
    first.enter(None, Options())
    assert (len(first), len(second)) == (1, 0)


# --- what breaks responses apart, and hints ---


@pytest.mark.fault(17, 28)
def test_fields_that_break_the_101_apart_are_a_mistake() -> None:
    fields = [("X-Name", "ann\r\nSet-Cookie: a=b")]
    assert refusal(authenticate=lambda _: Admitted("ann", headers=fields)).status == 500


def test_proxy_that_is_not_trusted_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    proxy_not_trusted.cache_clear()
    for _ in range(3):
        admit(make(X_Forwarded_For="192.0.2.7"))
        assert caplog.records == []
    for _ in range(3):
        admit(make(X_Forwarded_For="192.0.2.7"), authenticate=lambda _: "ann")
    (record,) = caplog.records
    assert "trusted_proxies" in record.getMessage()
