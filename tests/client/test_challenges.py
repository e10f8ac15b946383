"""What a client answers to challenges: by which scheme, how often, and to whom."""

from __future__ import annotations

import hashlib
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.client.scripted import Asked, accepting, refusing, scripted
from tests.client.ways import Open, both_ways
from ws_middleware.auth.schemes import parse_challenges
from ws_middleware.client import Password, Token
from ws_middleware.client.plan import make_plan
from ws_middleware.errors import HandshakeRefused

BASIC = 'WWW-Authenticate: Basic realm="r", charset="UTF-8"'
#: "user:secret" in base64.
BASIC_ANSWER = "Basic dXNlcjpzZWNyZXQ="


def digest(nonce: str = "n", algorithm: str = "SHA-256", more: str = "") -> str:
    """Write a challenge of Digest."""
    return (
        f'WWW-Authenticate: Digest realm="r", nonce="{nonce}", qop="auth, auth-int", '
        f"algorithm={algorithm}{more}"
    )


def answered(
    asked: Asked, hash_name: str = "sha256", field: str = "Authorization"
) -> dict[str, str]:
    """Check an answer to Digest with code of our own; gives its parameters."""
    value = asked.field(field) or ""
    assert value.startswith("Digest ")
    pairs = re.findall(r'([a-z]+)=(?:"([^"]*)"|([^ ,"]+))', value.removeprefix("Digest "))
    given = {name: quoted or plain for name, quoted, plain in pairs}
    method, target, _ = asked.line.split(" ")

    def hashed(*parts: str) -> str:
        return hashlib.new(hash_name, ":".join(parts).encode()).hexdigest()

    assert given["uri"] == target
    assert given["username"] == "user"
    numbered = (given["nonce"], given["nc"], given["cnonce"], given["qop"])
    secret = hashed("user", given["realm"], "secret")
    assert given["response"] == hashed(secret, *numbered, hashed(method, target))
    return given


# --- over the wire ---


@both_ways
@pytest.mark.parametrize("keeps", [True, False])
def test_password_answers_basic_on_the_same_connection_where_that_stays(
    open_: Open, keeps: bool
) -> None:
    lines = [BASIC] if keeps else [BASIC, "Connection: close"]
    with scripted(refusing(401, *lines, body="log in"), accepting()) as server:
        open_(server.url, credentials=Password("user", "secret"))
    first, second = server.asked
    assert first.field("Authorization") is None
    assert second.field("Authorization") == BASIC_ANSWER
    assert (second.connection == first.connection) == keeps


@both_ways
@pytest.mark.parametrize(
    ("algorithm", "hash_name"),
    [("SHA-512-256", "sha512_256"), ("SHA-256", "sha256"), ("MD5", "md5")],
)
def test_password_answers_digest(open_: Open, algorithm: str, hash_name: str) -> None:
    challenge = digest(algorithm=algorithm, more=', opaque="o"')
    with scripted(refusing(401, challenge), accepting()) as server:
        open_(f"{server.url}/x?y=1", credentials=Password("user", "secret"))
    given = answered(server.asked[1], hash_name)
    assert (given["nc"], given["qop"], given["opaque"]) == ("00000001", "auth", "o")


@both_ways
def test_user_and_password_of_the_url_are_a_password(open_: Open) -> None:
    with scripted(refusing(401, BASIC), accepting()) as server:
        open_(server.url.replace("://", "://user:secret@"))
    assert server.asked[1].field("Authorization") == BASIC_ANSWER


@both_ways
def test_netrc_is_read_on_request(open_: Open, tmp_path: Path) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login user password secret\n")
    path.chmod(0o600)
    with scripted(refusing(401, BASIC), accepting()) as server:
        open_(server.url, netrc=str(path))
    assert server.asked[1].field("Authorization") == BASIC_ANSWER


def test_netrc_file_may_be_missing_and_is_told_apart_where_it_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "broken"
    assert make_plan("ws://a/", {"netrc": True}).credentials is None
    with pytest.raises(FileNotFoundError):
        make_plan("ws://a/", {"netrc": str(path)})
    path.write_text("machine a nonsense")
    with pytest.raises(ValueError, match="netrc"):
        make_plan("ws://a/", {"netrc": str(path)})
    path.write_text("machine b login user password secret\n")
    path.chmod(0o600)
    assert make_plan("ws://a/", {"netrc": str(path)}).credentials is None


@both_ways
def test_token_is_sent_at_once_and_not_again(open_: Open) -> None:
    with (
        scripted(refusing(401, "WWW-Authenticate: Bearer")) as server,
        pytest.raises(HandshakeRefused, match="401"),
    ):
        open_(server.url, credentials=Token("abc.def=="))
    assert [asked.field("Authorization") for asked in server.asked] == ["Bearer abc.def=="]


@both_ways
def test_nonce_is_used_again_with_a_counted_nc(open_: Open) -> None:
    password = Password("user", "secret")
    with scripted(refusing(401, digest()), accepting(), accepting(), accepting()) as server:
        for _ in range(3):
            open_(server.url, credentials=password)
    assert [answered(asked)["nc"] for asked in server.asked[1:]] == [
        "00000001",
        "00000002",
        "00000003",
    ]
    assert len({answered(asked)["cnonce"] for asked in server.asked[1:]}) == 3


@both_ways
@pytest.mark.fault(50)
def test_stale_nonce_is_replaced_and_counted_from_one(open_: Open) -> None:
    password = Password("user", "secret")
    stale = digest("m", more=", stale=true")
    with scripted(
        refusing(401, digest()), accepting(), refusing(401, stale), accepting()
    ) as server:
        open_(server.url, credentials=password)
        open_(server.url, credentials=password)
    assert [(answered(asked)["nonce"], answered(asked)["nc"]) for asked in server.asked[1:]] == [
        ("n", "00000001"),
        ("n", "00000002"),
        ("m", "00000001"),
    ]


@both_ways
@pytest.mark.row(82)
@pytest.mark.fault(50)
@pytest.mark.parametrize(
    ("challenges", "requests"),
    [
        ([BASIC] * 5, 2),
        ([digest()] * 5, 2),
        ([digest(more=", stale=true")] * 5, 3),
        (["WWW-Authenticate: Negotiate"], 1),
        (['WWW-Authenticate: Digest realm="r", nonce="n", algorithm=SHA-1'], 1),
        (['WWW-Authenticate: Digest realm="r", nonce="n", qop="auth-int"'], 1),
        (["WWW-Authenticate: Digest realm=r"], 1),
        (['WWW-Authenticate: Basic realm="open'], 1),
        (["X: y"], 1),
    ],
)
def test_attempts_are_bounded(open_: Open, challenges: list[str], requests: int) -> None:
    answers = [refusing(401, challenge, body="no") for challenge in challenges]
    with scripted(*answers) as server:
        with pytest.raises(HandshakeRefused) as caught:
            open_(server.url, credentials=Password("user", "secret"))
        assert caught.value.status == 401
        assert caught.value.body == b"no"
        assert len(server.asked) == requests


@both_ways
def test_connection_that_is_closed_instead_of_kept_is_opened_anew(open_: Open) -> None:
    with scripted(refusing(401, BASIC), None, accepting()) as server:
        open_(server.url, credentials=Password("user", "secret"))
    assert [asked.connection for asked in server.asked] == [0, 0, 1]


# --- the choice ---


def _answer(*challenges: str, **refused: Any) -> str | None:
    return Password("user", "secret").answer(
        "space", "GET", "/", parse_challenges(challenges), refused.get("refused", False)
    )


@pytest.mark.row(223)
@pytest.mark.parametrize(
    ("challenges", "chosen"),
    [
        (["Basic realm=a", 'Digest realm="b", nonce="n"'], "b"),
        (['Digest realm="a", nonce="n"', 'Digest realm="b", nonce="n", algorithm=SHA-256'], "b"),
        (['Digest realm="a", nonce="n", algorithm=SHA-256, Digest realm="b", nonce="n"'], "a"),
        (['Digest realm="a", nonce="n", algorithm=SHA-1', 'Digest realm="b", nonce="n"'], "b"),
    ],
)
def test_strongest_scheme_is_chosen(challenges: list[str], chosen: str) -> None:
    answer = _answer(*challenges)
    assert answer is not None
    assert f'realm="{chosen}"' in answer


def test_realm_with_quotes_is_answered_as_it_is() -> None:
    answer = _answer(r'Digest realm="a \"b\" \\", nonce="n", qop="auth"')
    assert answer is not None
    assert r'realm="a \"b\" \\"' in answer


def test_basic_is_not_tried_again_and_unknown_schemes_are_left_alone() -> None:
    assert _answer("Basic realm=a", refused=True) is None
    assert _answer('Digest realm="a", nonce="n", stale=TRUE', refused=True) is not None
    assert _answer("Negotiate") is None
    assert _answer() is None


def test_threads_never_share_a_count() -> None:
    password = Password("user", "secret")
    challenges = parse_challenges(['Digest realm="a", nonce="n", qop="auth"'])
    password.answer("space", "GET", "/", challenges, False)
    values: list[str | None] = []

    def work() -> None:
        values.extend(password.anticipate("space", "GET", "/") for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = {re.search("nc=([0-9a-f]+)", value or "").group(1) for value in values}  # type: ignore[union-attr]
    assert len(counts) == len(values) == 400


def test_secrets_are_in_no_repr() -> None:
    assert "secret" not in repr(Password("user", "secret"))
    assert "secret" not in repr(Token("secret"))


@pytest.mark.parametrize("token", ["", "a b", "a\r\nb", "a,b", "\u20ac", "=a"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="not a bearer token"):
        Token(token)
