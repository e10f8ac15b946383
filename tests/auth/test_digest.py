"""Digest authentication (RFC 7616), the server's side: proofs, nonces, counts, replays."""

from __future__ import annotations

import threading
from typing import Any
from unittest.mock import Mock

import pytest

from tests.auth.asking import answer, ask, make_request, refusal
from ws_middleware.auth.answers import digest_response, digest_secret
from ws_middleware.auth.digest import Digest
from ws_middleware.auth.identity import Admitted
from ws_middleware.auth.schemes import parse_challenges, parse_credentials
from ws_middleware.auth.spent import Spent
from ws_middleware.errors import Unauthorized

USERS = {"alice": "secret", "J\xe4s\xf8n": "p\xe4ss", 'a"b\\': "x"}
KEY = b"k" * 16
ALL = ["MD5", "sha-256-SESS", "SHA-512-256", "SHA-256"]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def challenges_of(found: Any) -> list[dict[str, str]]:
    values = found.challenges if isinstance(found, Unauthorized) else found.challenges()
    return [dict(one.parameters) for one in parse_challenges(values)]


def is_stale(error: Any) -> bool:
    assert isinstance(error, Unauthorized)
    return all(one.get("stale") == "true" for one in challenges_of(error))


# --- challenges ---


@pytest.mark.row(198, 203, 204)
def test_challenge_has_all_that_is_needed_quoted_as_it_should_be() -> None:
    [challenge] = Digest(USERS, realm='the "attic"').challenges()
    [given] = challenges_of(Digest(USERS, realm='the "attic"'))
    assert given["realm"] == 'the "attic"'
    assert given["qop"] == "auth"
    assert len(given["nonce"]) > 40
    assert given["opaque"]
    for quoted in ('realm="the \\"attic\\""', 'qop="auth"', 'nonce="', 'opaque="'):
        assert quoted in challenge
    for token in ("algorithm=SHA-256,", "charset=UTF-8,", "userhash=false"):
        assert token in challenge
    assert "stale" not in given


@pytest.mark.row(205)
@pytest.mark.fault(42)
def test_algorithms_come_the_strongest_first_and_md5_only_when_asked_for() -> None:
    assert [one["algorithm"] for one in challenges_of(Digest(USERS))] == ["SHA-256"]
    assert [one["algorithm"] for one in challenges_of(Digest(USERS, algorithms=ALL))] == [
        "SHA-512-256",
        "SHA-256-sess",
        "SHA-256",
        "MD5",
    ]


@pytest.mark.parametrize("algorithms", [[], "MD5", ["SHA-1"], ["SHA-256", ""]])
def test_algorithms_are_a_list_of_known_ones(algorithms: list[str]) -> None:
    with pytest.raises(ValueError, match="algorithm"):
        Digest(USERS, algorithms=algorithms)


@pytest.mark.row(226)
@pytest.mark.fault(45)
def test_challenges_take_no_memory() -> None:
    spent = Spent()
    digest = Digest(USERS, spent=spent)
    before = {name: repr(value) for name, value in vars(digest).items()}
    for _ in range(1000):
        assert refusal(digest, make_request()).status == 401
    assert {name: repr(value) for name, value in vars(digest).items()} == before
    assert len(spent) == 0


# --- proofs ---


@pytest.mark.row(203, 215, 216, 222)
@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("user", sorted(USERS))
def test_right_password_gets_in_with_each_algorithm(user: str, number: int) -> None:
    digest = Digest(USERS, algorithms=ALL)
    sent = answer(digest, user, USERS[user], number)
    found = ask(digest, make_request(sent))
    assert isinstance(found, Admitted)
    assert found.identity == user
    [(name, info)] = found.headers
    assert name == "Authentication-Info"
    check_own_proof(info, sent, digest_secret(ALGORITHMS[number], user, "WebSocket", USERS[user]))


ALGORITHMS = ["SHA-512-256", "SHA-256-sess", "SHA-256", "MD5"]


def check_own_proof(info: str, sent: str, secret: str) -> None:
    given = parse_credentials(sent).parameters
    ours = parse_credentials(f"X {info}").parameters
    common = {name: given[name] for name in ("nc", "cnonce", "qop")}
    expected = digest_response(
        secret,
        method="",
        **{name: given[name] for name in ("algorithm", "uri", "nonce")},
        **common,
    )
    assert ours == {**common, "rspauth": expected}


@pytest.mark.row(207, 217)
@pytest.mark.fault(38, 41, 43)
@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ({"password": "wrong"}, "wrong"),
        ({"password": ""}, "wrong"),
        ({"user": "Alice"}, "wrong"),
        ({"user": "nobody"}, "wrong"),
        ({"user": "x" * 6000}, "wrong"),
        ({"method": "POST"}, "wrong"),
    ],
)
def test_wrong_proofs_are_challenged_again(sent: dict[str, str], reason: str) -> None:
    digest = Digest(USERS)
    terms: dict[str, Any] = {"user": "alice", "password": "secret", **sent}
    error = refusal(digest, make_request(answer(digest, **terms)))
    assert isinstance(error, Unauthorized)
    assert reason in error.reason
    assert not is_stale(error)


@pytest.mark.row(197, 209, 210)
@pytest.mark.fault(35, 43)
@pytest.mark.parametrize(
    "value",
    [
        "Digest",
        "Digest abc",
        "Digest username=alice",
        'Digest username="alice',
        "Digest realm=a, realm=b",
        'Digest username="a\0b"',
    ],
)
def test_malformed_credentials_are_challenged_again(value: str) -> None:
    error = refusal(Digest(USERS), make_request(value))
    assert isinstance(error, Unauthorized)
    assert error.reason.startswith("the Digest credentials do not answer")
    assert "alice" not in error.reason


@pytest.mark.row(210)
@pytest.mark.fault(42, 43)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('username="alice"', 'username="alice", username="alice"'),
        ('username="alice"', "username=\"alice\", username*=UTF-8''alice"),
        ('opaque="', 'opaque="x'),
        ('realm="WebSocket"', 'realm="websocket"'),
        ("algorithm=SHA-256, ", "algorithm=MD5, "),
        ("algorithm=SHA-256, ", ""),
        ("algorithm=SHA-256, ", "algorithm=SHA-256-sess, "),
        ("qop=auth, ", ""),
        ("qop=auth, ", "qop=auth-int, "),
        ("qop=auth, ", "qop=x, "),
        ("nc=00000001, ", ""),
        ('cnonce="c0ffee"', 'x="y"'),
        ('nonce="', 'nonce="x'),
    ],
)
def test_changed_credentials_are_refused(old: str, new: str) -> None:
    digest = Digest(USERS)
    sent = answer(digest, "alice", "secret")
    assert old in sent
    error = refusal(digest, make_request(sent.replace(old, new, 1)))
    assert error.status == 401
    assert not is_stale(error)
    assert ask(digest, make_request(sent)).identity == "alice"


@pytest.mark.row(198)
@pytest.mark.parametrize("value", [None, "Basic YTpi", "Bearer abc"])
def test_whoever_says_nothing_is_challenged(value: str | None) -> None:
    error = refusal(Digest(USERS), make_request(value))
    assert error.reason == "authentication is required"


@pytest.mark.row(220)
@pytest.mark.fault(41)
@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("/other", "/chat"),
        ("/", "/chat"),
        ("/chat?x=1", "/chat"),
        ("/chat", "/chat?x=1"),
        ("/chat?x=%31", "/chat?x=1"),
        ("/chat/", "/chat"),
        ("/Chat", "/chat"),
    ],
)
def test_uri_is_that_of_the_request(uri: str, target: str) -> None:
    digest = Digest(USERS)
    request = make_request(answer(digest, "alice", "secret", uri=uri), target=target)
    assert refusal(digest, request).status == 400


@pytest.mark.row(220)
@pytest.mark.parametrize(
    ("uri", "target", "root_path"),
    [
        ("/chat?x=1", "/chat?x=1", ""),
        ("/ch%61t", "/chat", ""),
        ("http://a.example/chat?x", "/chat?x", ""),
        ("/chat", "http://a.example/chat", ""),
        ("/live/chat", "/chat", "/live"),
        ("/live/chat", "/live/chat", "/live"),
    ],
)
def test_spelling_of_the_uri_may_differ(uri: str, target: str, root_path: str) -> None:
    digest = Digest(USERS)
    request = make_request(answer(digest, "alice", "secret", uri=uri), target=target)
    request.root_path = root_path
    assert ask(digest, request).identity == "alice"


@pytest.mark.fault(38)
def test_users_cannot_be_guessed_from_the_answer() -> None:
    digest = Digest(USERS)

    def shape(user: str) -> Any:
        error = refusal(digest, make_request(answer(digest, user, "x")))
        [given] = challenges_of(error)
        return error.status, error.reason, error.body, {**given, "nonce": len(given["nonce"])}

    assert shape("alice") == shape("nobody")


@pytest.mark.row(218)
def test_userhash_hides_the_name() -> None:
    digest = Digest(USERS, userhash=True, algorithms=["SHA-256", "MD5"])
    for number in (0, 1):
        sent = answer(digest, "J\xe4s\xf8n", "p\xe4ss", number)
        assert "userhash=true" in sent
        assert "J%C3%A4" not in sent
        assert ask(digest, make_request(sent)).identity == "J\xe4s\xf8n"
    assert refusal(digest, make_request(answer(digest, "nobody", "x"))).status == 401


# --- nonces and counts ---


@pytest.mark.row(206, 207, 224)
@pytest.mark.fault(40)
def test_nonce_expires_and_only_the_right_password_is_told_so() -> None:
    clock = Clock()
    digest = Digest(USERS, lifetime=60.0, clock=clock)
    right, wrong = (answer(digest, "alice", password) for password in ("secret", "x"))
    clock.now += 60.0
    assert not is_stale(refusal(digest, make_request(wrong)))
    stale = refusal(digest, make_request(right))
    assert is_stale(stale)
    assert ask(digest, make_request(answer(stale, "alice", "secret"))).identity == "alice"


@pytest.mark.row(206, 227)
@pytest.mark.fault(40)
def test_nonce_of_another_process_is_stale_unless_they_share_a_key() -> None:
    sent = answer(Digest(USERS), "alice", "secret")
    assert is_stale(refusal(Digest(USERS), make_request(sent)))
    sent = answer(Digest(USERS, key=KEY), "alice", "secret")
    assert ask(Digest(USERS, key=[b"new" * 8, KEY]), make_request(sent)).identity == "alice"


@pytest.mark.row(222)
def test_old_nonce_gets_a_next_one() -> None:
    clock = Clock()
    digest = Digest(USERS, lifetime=60.0, clock=clock)
    sent = answer(digest, "alice", "secret")
    clock.now += 31.0
    [(_, info)] = ask(digest, make_request(sent)).headers
    nonce = parse_credentials(f"X {info}").parameters["nextnonce"]
    challenge = parse_challenges(digest.challenges())[0]
    challenge = challenge._replace(parameters={**challenge.parameters, "nonce": nonce})
    clock.now += 59.0

    class Next:
        @staticmethod
        def challenges() -> list[str]:
            values = ", ".join(f'{key}="{value}"' for key, value in challenge.parameters.items())
            return [f"Digest {values}"]

    assert ask(digest, make_request(answer(Next, "alice", "secret"))).identity == "alice"


@pytest.mark.row(212, 213)
@pytest.mark.fault(39)
def test_counts_may_skip_and_overtake_but_not_repeat() -> None:
    digest = Digest(USERS)
    challenged = refusal(digest, make_request())

    def sent(count: int, cnonce: str = "c0ffee") -> Any:
        return make_request(answer(challenged, "alice", "secret", count=count, cnonce=cnonce))

    for count in (1, 2, 5, 3, 4, 0xFFFF_FFFF):
        assert ask(digest, sent(count)).identity == "alice"
    for count in (1, 2, 3, 4, 5, 0xFFFF_FFFF):
        for cnonce in ("c0ffee", "another"):
            error = refusal(digest, sent(count, cnonce))
            assert error.reason == "the nonce was used with this count before"
            assert not is_stale(error)
    assert ask(digest, sent(6)).identity == "alice"


@pytest.mark.row(213)
@pytest.mark.fault(39)
def test_count_in_another_case_is_the_same_count() -> None:
    digest = Digest({"alice": "secret"})
    [given] = challenges_of(digest)

    def sent(nc: str) -> str:
        secret = digest_secret("SHA-256", "alice", "WebSocket", "secret")
        terms = {"algorithm": "SHA-256", "uri": "/chat", "nonce": given["nonce"], "nc": nc}
        response = digest_response(secret, method="GET", cnonce="c", **terms)
        names = {"realm": "WebSocket", "opaque": given["opaque"], "username": "alice"}
        terms |= names | {"cnonce": "c", "qop": "auth", "response": response}
        return "Digest " + ", ".join(f'{key}="{value}"' for key, value in terms.items())

    assert ask(digest, make_request(sent("0000000a"))).identity == "alice"
    assert refusal(digest, make_request(sent("0000000A"))).status == 401


@pytest.mark.row(213)
@pytest.mark.fault(44)
def test_32_threads_with_one_count_let_exactly_one_in() -> None:
    digest = Digest(USERS)
    for _ in range(20):
        request = make_request(answer(digest, "alice", "secret"))
        barrier = threading.Barrier(32)
        outcomes: list[bool] = []
        threads = [
            threading.Thread(target=_race, args=(digest, request, barrier, outcomes))
            for _ in range(32)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == [False] * 31 + [True]


def _race(digest: Digest, request: Any, barrier: Any, outcomes: list[bool]) -> None:
    barrier.wait()
    try:
        outcomes.append(bool(digest(request)))
    except Unauthorized:
        outcomes.append(False)


@pytest.mark.row(224)
@pytest.mark.fault(45)
def test_what_the_memory_lost_is_stale_never_replayed() -> None:
    digest = Digest(USERS, spent=Spent(capacity=3))
    challenged = refusal(digest, make_request())
    requests = [
        make_request(answer(challenged, "alice", "secret", count=count)) for count in range(1, 9)
    ]
    admitted = []
    for request in requests * 2:
        try:
            admitted.append(ask(digest, request))
        except Unauthorized as error:
            last = error
    assert 3 <= len(admitted) <= 8
    assert is_stale(refusal(digest, make_request(answer(challenged, "alice", "secret", count=99))))
    assert ask(digest, make_request(answer(last, "alice", "secret"))).identity == "alice"


# --- secrets and memories of one's own ---


def test_secrets_come_from_a_function_now_or_later() -> None:
    def secrets(user: str, realm: str, algorithm: str) -> str | None:
        return digest_secret(algorithm, user, realm, "secret") if user == "alice" else None

    async def secrets_later(user: str, realm: str, algorithm: str) -> str | None:
        return secrets(user, realm, algorithm)

    for function in (secrets, secrets_later):
        digest = Digest(function)
        assert ask(digest, make_request(answer(digest, "alice", "secret"))).identity == "alice"
        assert refusal(digest, make_request(answer(digest, "bob", "secret"))).status == 401


@pytest.mark.fault(37)
def test_someone_unknown_costs_the_same_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Mock(wraps=digest_response)
    digest = Digest(USERS)
    requests = [make_request(answer(digest, user, "wrong")) for user in ("alice", "nobody")]
    monkeypatch.setattr("ws_middleware.auth.proof.digest_response", spy)
    for request in requests:
        refusal(digest, request)
    assert spy.call_count == 2


def test_empty_secret_of_a_broken_store_admits_nobody() -> None:
    digest = Digest(lambda user, realm, algorithm: "")
    [given] = challenges_of(digest)
    terms = {"algorithm": "SHA-256", "uri": "/chat", "nonce": given["nonce"], "nc": "00000001"}
    response = digest_response("", method="GET", cnonce="c", **terms)
    terms |= {"realm": "WebSocket", "opaque": given["opaque"], "username": "alice"}
    terms |= {"cnonce": "c", "qop": "auth", "response": response}
    sent = "Digest " + ", ".join(f'{key}="{value}"' for key, value in terms.items())
    assert refusal(digest, make_request(sent)).status == 401


def test_memory_may_be_shared_and_answer_later() -> None:
    used: set[str] = set()

    async def spend(key: str, expires: float) -> bool:
        assert expires > 1e9
        first = key not in used
        used.add(key)
        return first

    one, other = (Digest(USERS, key=KEY, spent=spend) for _ in range(2))
    request = make_request(answer(one, "alice", "secret"))
    assert ask(one, request).identity == "alice"
    assert refusal(other, request).status == 401


def test_only_mappings_and_our_own_memory_are_known_to_answer_at_once() -> None:
    assert not Digest(USERS).blocking
    assert Digest(print).blocking
    assert Digest(USERS, spent=lambda key, expires: True).blocking
