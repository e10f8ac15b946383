"""The grammar of fields: what is written can be read, and nothing but refusals is raised."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.properties.strategies import field_values, tokens
from ws_middleware.core.extensions import accept_offers
from ws_middleware.core.handshake import (
    RequestHead,
    ResponseHead,
    check_request,
    check_response,
    encode_request,
    encode_response,
    is_attempt,
    offered_extensions,
    offered_subprotocols,
)
from ws_middleware.core.headers import (
    Parameter,
    format_extension,
    is_token,
    parse_extensions,
    parse_host,
    parse_token_list,
    safe_text,
)
from ws_middleware.core.origins import make_origin_policy, parse_origin
from ws_middleware.errors import HandshakeError
from ws_middleware.extensions import DeflateFrame, PermessageDeflate

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
NAMES = [
    "Host",
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Accept",
    "Content-Length",
    "Transfer-Encoding",
]
GOOD = {
    "Host": "example.org",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
}
EXTENSIONS = [PermessageDeflate(), DeflateFrame()]

parameters = st.lists(st.tuples(tokens, st.one_of(st.none(), tokens)), max_size=3)
extensions = st.lists(st.tuples(tokens, parameters), min_size=1, max_size=3)


@contextlib.contextmanager
def only_refusals() -> Iterator[None]:
    """Let pass how a peer's mistake is refused, and nothing else."""
    with contextlib.suppress(HandshakeError, ValueError):
        yield


@st.composite
def fields(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Give the fields of a good handshake, some of them changed, doubled or left out."""
    good = [item for item in GOOD.items() if draw(st.integers(0, 9))]
    odd = draw(st.lists(st.tuples(st.sampled_from(NAMES), field_values), max_size=3))
    replaced = {name for name, _ in odd} if draw(st.booleans()) else set()
    return draw(st.permutations([item for item in good if item[0] not in replaced] + odd))


# --- what is written can be read ---


@given(extensions, st.sampled_from([", ", ",", " ,\t, ,"]))
@pytest.mark.row(55, 58)
def test_extensions_that_are_written_can_be_read(
    offered: list[tuple[str, list[Parameter]]], separator: str
) -> None:
    text = separator.join(format_extension(name, values) for name, values in offered)
    assert parse_extensions(text) == offered


@given(extensions, st.sampled_from(['"{}"', '"\\{}"']))
@pytest.mark.row(56, 59, 157)
def test_quoted_values_equal_tokens(
    offered: list[tuple[str, list[Parameter]]], quotes: str
) -> None:
    quoted = [
        (name, [(key, value and quotes.format(value)) for key, value in values])
        for name, values in offered
    ]
    text = ", ".join(format_extension(name, values) for name, values in quoted)
    assert parse_extensions(text) == offered


@given(st.lists(tokens, min_size=1, max_size=5), st.sampled_from([",", ", ", "\t,,"]))
@pytest.mark.row(58, 63)
def test_lists_of_tokens_can_be_read(listed: list[str], separator: str) -> None:
    assert parse_token_list([separator.join(listed)]) == listed
    assert parse_token_list(listed) == listed


@given(field_values)
@pytest.mark.row(55, 56, 57)
def test_what_is_read_as_extensions_consists_of_tokens(value: str) -> None:
    with only_refusals():
        for name, values in parse_extensions(value):
            assert is_token(name)
            for key, argument in values:
                assert is_token(key)
                assert argument is None or is_token(argument)


@given(field_values)
def test_what_is_read_as_a_host_can_be_read_again(value: str) -> None:
    with only_refusals():
        host, port = parse_host(value)
        assert parse_host(host if port is None else f"{host}:{port}") == (host, port)


@given(st.text())
def test_text_of_peers_is_printable_in_logs(text: str) -> None:
    quoted = safe_text(text)
    assert quoted.isascii()
    assert quoted.isprintable()
    assert len(quoted) < 1000


# --- nothing but refusals is raised ---


@given(field_values)
@example('"')
@example('a;b="')
@example('a;b="\\')
@pytest.mark.parametrize(
    "parse", [parse_extensions, parse_host, parse_origin, lambda value: parse_token_list([value])]
)
@pytest.mark.row(55, 57)
def test_parsers_refuse_with_value_errors(parse: Callable[[str], object], value: str) -> None:
    with contextlib.suppress(ValueError):
        parse(value)


@given(
    fields(),
    st.sampled_from(["GET", "POST", "get"]),
    st.sampled_from(["1.1", "1.0", "2"]),
    field_values,
)
@pytest.mark.row(57)
def test_requests_are_accepted_or_refused(
    given_fields: list[tuple[str, str]], method: str, version: str, target: str
) -> None:
    head = RequestHead(method, "/" + target, version, given_fields)
    is_attempt(head)
    with contextlib.suppress(HandshakeError):
        assert check_request(head) == KEY
        offered_subprotocols(given_fields)
        for agreement in accept_offers(offered_extensions(given_fields), EXTENSIONS):
            agreement.activate("server")


@given(fields(), st.sampled_from([101, 200, 404]))
def test_responses_are_accepted_or_refused(
    given_fields: list[tuple[str, str]], status: int
) -> None:
    head = ResponseHead(status, "", "1.1", given_fields)
    with contextlib.suppress(HandshakeError):
        subprotocol, agreements = check_response(head, KEY, ["chat"], EXTENSIONS)
        assert status == 101
        assert subprotocol in (None, "chat")
        for agreement in agreements:
            agreement.activate("client")


@given(field_values, field_values, st.booleans())
def test_origins_are_allowed_or_not(origin: str, host: str, encrypted: bool) -> None:
    with contextlib.suppress(ValueError):
        triple = parse_origin(origin)
        for policy in ("same-origin", "*", ["https://a.example", "null"]):
            assert make_origin_policy(policy)(triple, host, encrypted) in (True, False)


# --- heads that are written stay in one piece ---


@given(st.lists(st.tuples(st.one_of(tokens, field_values), st.text(max_size=10)), max_size=3))
@pytest.mark.row(92)
def test_fields_never_break_a_head_apart(written: list[tuple[str, str]]) -> None:
    heads = []
    with contextlib.suppress(ValueError):
        heads += [encode_response(403, written), encode_request("/chat", written)]
    for head in heads:
        assert head.endswith(b"\r\n\r\n")
        assert head.count(b"\r\n") == head.count(b"\r") == head.count(b"\n") == len(written) + 2


@given(field_values)
@pytest.mark.row(92)
def test_targets_never_break_a_head_apart(target: str) -> None:
    with contextlib.suppress(ValueError):
        first, *_ = encode_request(f"/{target}", []).split(b"\r\n")
        assert first.split(b" ") == [b"GET", b"/" + target.encode(), b"HTTP/1.1"]
