"""permessage-deflate: what is agreed on, and that both ends keep to it (RFC 7692)."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from tests.core.endpoints import receive
from tests.core.pair import ConnectionPair, Ending
from tests.core.wire import INVALID_TEXT, chopped, close_of, read_frames
from tests.extensions.inflating import TAIL, StrictInflater, deflate, far_repeats
from tests.peer import BINARY, CONTINUATION, PING, PONG, TEXT, Received, frame
from ws_middleware.core.endpoint import Endpoint
from ws_middleware.core.extensions import Agreement, accept_offers, confirm_response
from ws_middleware.core.frames import Frame, Opcode
from ws_middleware.core.headers import format_extension, parse_extensions
from ws_middleware.core.messages import BinaryMessage, SharedMessage, TextMessage
from ws_middleware.errors import ConnectionClosed
from ws_middleware.extensions.deflate_frame import DeflateFrame
from ws_middleware.extensions.permessage_deflate import PermessageDeflate
from ws_middleware.options import Options

NAME = "permessage-deflate"
#: Asks for nothing, so that responses hold what offers asked for.
WIDE = PermessageDeflate(server_max_window_bits=15, client_max_window_bits=15, threshold=0)


def accept(offer: str, extension: PermessageDeflate = WIDE) -> str | None:
    """Answer an offer's parameters; returns those of the response, None where it is declined."""
    header = f"{NAME}; {offer}" if offer else NAME
    agreements = accept_offers(parse_extensions(header), [extension])
    assert len(agreements) <= 1
    return str(agreements[0]).removeprefix(NAME).removeprefix("; ") if agreements else None


def confirm(response: str, extension: PermessageDeflate = WIDE) -> Agreement:
    header = f"{NAME}; {response}" if response else NAME
    (agreement,) = confirm_response(parse_extensions(header), [extension])
    return agreement


def server(offer: str = "", extension: PermessageDeflate = WIDE, **options: Any) -> Endpoint:
    """Make a server's endpoint that accepted this offer."""
    header = f"{NAME}; {offer}" if offer else NAME
    (agreement,) = accept_offers(parse_extensions(header), [extension])
    return Endpoint("server", Options(**options), [agreement.activate("server")])


def client(response: str = "", extension: PermessageDeflate = WIDE) -> Endpoint:
    return Endpoint("client", Options(), [confirm(response, extension).activate("client")])


def failure(endpoint: Endpoint, *data: bytes) -> int | None:
    """Check that `data` fails the connection; returns the code that is sent."""
    items = receive(endpoint, *data)
    assert [type(item) for item in items] == [ConnectionClosed], items
    return close_of(endpoint.data_to_send())[0]


def sent(endpoint: Endpoint, *, masked: bool = False) -> list[Received]:
    return read_frames(endpoint.data_to_send(), masked=masked)


# --- a server answers an offer ---


@pytest.mark.parametrize(
    ("offer", "response"),
    [
        ("", ""),
        ("server_no_context_takeover", "server_no_context_takeover"),
        ("client_no_context_takeover", "client_no_context_takeover"),
        (
            "client_no_context_takeover; server_no_context_takeover",
            "server_no_context_takeover; client_no_context_takeover",
        ),
        *((f"server_max_window_bits={bits}",) * 2 for bits in range(8, 16)),
        *((f"client_max_window_bits={bits}",) * 2 for bits in range(8, 15)),
        ("client_max_window_bits", ""),
        ("client_max_window_bits=15", ""),
        (
            "client_max_window_bits=9; server_max_window_bits=10",
            "server_max_window_bits=10; client_max_window_bits=9",
        ),
        ('server_max_window_bits="10"', "server_max_window_bits=10"),
    ],
)
@pytest.mark.row(62, 157, 165, 167, 168, 169, 171)
def test_offer_is_accepted_as_it_is(offer: str, response: str) -> None:
    assert accept(offer) == response


@pytest.mark.parametrize(
    "offer",
    [
        "unknown",
        "unknown=1",
        "server_no_context_takeover; unknown",
        "Server_No_Context_Takeover",
        "max_window_bits=10",
    ],
)
@pytest.mark.row(160, 163)
def test_offer_with_an_unknown_parameter_is_declined(offer: str) -> None:
    assert accept(offer) is None


@pytest.mark.parametrize("window", ["server_max_window_bits", "client_max_window_bits"])
@pytest.mark.parametrize("value", ["7", "16", "0", "08", "-9", "+9", "9.0", "x", "128"])
@pytest.mark.row(161, 168)
def test_offer_with_an_impossible_window_is_declined(window: str, value: str) -> None:
    assert accept(f"{window}={value}") is None


@pytest.mark.row(161, 169)
def test_offer_of_a_server_window_without_a_value_is_declined() -> None:
    assert accept("server_max_window_bits") is None


@pytest.mark.parametrize("name", ["server_no_context_takeover", "client_no_context_takeover"])
@pytest.mark.parametrize("value", ["true", "1", '"x"'])
@pytest.mark.row(161, 165)
def test_offer_of_no_takeover_with_a_value_is_declined(name: str, value: str) -> None:
    assert accept(f"{name}={value}") is None


@pytest.mark.parametrize(
    "parameter",
    [
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits=10",
        "client_max_window_bits",
    ],
)
@pytest.mark.row(162)
def test_offer_with_a_parameter_twice_is_declined(parameter: str) -> None:
    assert accept(f"{parameter}; {parameter}") is None
    assert accept(parameter) is not None


@pytest.mark.parametrize("offered", range(8, 16))
@pytest.mark.parametrize("own", range(8, 16))
@pytest.mark.row(169, 171)
def test_windows_of_a_response_are_no_larger_than_offered(offered: int, own: int) -> None:
    extension = PermessageDeflate(server_max_window_bits=own, client_max_window_bits=own)
    smaller = min(offered, own)
    assert accept(f"server_max_window_bits={offered}", extension) == (
        f"server_max_window_bits={smaller}"
    )
    (agreement,) = accept_offers(
        parse_extensions(f"{NAME}; client_max_window_bits={offered}"), [extension]
    )
    chosen = dict(agreement.parameters)
    assert chosen.get("client_max_window_bits", "15") == str(smaller)


@pytest.mark.row(172)
def test_client_window_is_left_out_where_it_was_not_offered() -> None:
    small = PermessageDeflate(server_max_window_bits=9, client_max_window_bits=9)
    assert accept("", small) == "server_max_window_bits=9"
    assert accept("client_max_window_bits", small) == (
        "server_max_window_bits=9; client_max_window_bits=9"
    )


@pytest.mark.row(166, 167)
def test_server_asks_for_no_takeover_by_itself() -> None:
    alone = PermessageDeflate(
        server_no_context_takeover=True, client_no_context_takeover=True, server_max_window_bits=15
    )
    assert accept("", alone) == "server_no_context_takeover; client_no_context_takeover"


@pytest.mark.row(158)
def test_first_acceptable_offer_counts_and_offers_are_never_mixed() -> None:
    offers = (
        f"{NAME}; server_max_window_bits=99; client_no_context_takeover, "
        f"{NAME}; server_max_window_bits=10, "
        f"{NAME}; server_no_context_takeover; client_max_window_bits, "
        f"{NAME}"
    )
    (agreement,) = accept_offers(parse_extensions(offers), [WIDE])
    assert str(agreement) == f"{NAME}; server_max_window_bits=10"


@pytest.mark.parametrize("names", [(NAME, "deflate-frame"), ("deflate-frame", NAME)])
@pytest.mark.row(186)
def test_two_extensions_never_share_a_bit(names: tuple[str, str]) -> None:
    agreements = accept_offers(parse_extensions(", ".join(names)), [WIDE, DeflateFrame()])
    assert [agreement.extension.name for agreement in agreements] == [names[0]]


# --- a client makes an offer, and checks the response ---


@pytest.mark.parametrize(
    ("settings", "offer"),
    [
        ({}, "server_max_window_bits=12; client_max_window_bits=12"),
        (
            {"server_max_window_bits": 15, "client_max_window_bits": 15},
            "client_max_window_bits=15",
        ),
        (
            {
                "server_no_context_takeover": True,
                "client_no_context_takeover": True,
                "server_max_window_bits": 15,
                "client_max_window_bits": 8,
            },
            "server_no_context_takeover; client_no_context_takeover; client_max_window_bits=8",
        ),
    ],
)
@pytest.mark.row(166, 169, 171)
def test_client_offers_its_settings(settings: dict[str, Any], offer: str) -> None:
    (parameters,) = PermessageDeflate(**settings).offers()
    assert format_extension(NAME, parameters) == f"{NAME}; {offer}"


@pytest.mark.parametrize(
    "response",
    [
        "",
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits=8",
        "client_max_window_bits=15; server_max_window_bits=15",
        'client_max_window_bits="9"',
    ],
)
@pytest.mark.row(157, 166)
def test_client_confirms_what_it_can_do(response: str) -> None:
    assert confirm(response).extension is WIDE


@pytest.mark.parametrize(
    ("response", "extension"),
    [
        ("unknown", WIDE),
        ("server_no_context_takeover=1", WIDE),
        ("client_no_context_takeover; client_no_context_takeover", WIDE),
        ("server_max_window_bits", WIDE),
        ("client_max_window_bits", WIDE),
        ("server_max_window_bits=7", WIDE),
        ("client_max_window_bits=16", WIDE),
        ("client_max_window_bits=09", WIDE),
        ("server_max_window_bits=11", PermessageDeflate(server_max_window_bits=10)),
        ("server_max_window_bits=13", PermessageDeflate()),
        (
            "server_max_window_bits=10; client_max_window_bits=13",
            PermessageDeflate(server_max_window_bits=10, client_max_window_bits=12),
        ),
    ],
)
@pytest.mark.row(159, 164, 168, 169, 171)
def test_client_fails_on_a_response_beyond_its_offer(
    response: str, extension: PermessageDeflate
) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        confirm(response, extension)


@pytest.mark.parametrize("bits", [7, 16, 0])
@pytest.mark.row(168)
def test_impossible_windows_cannot_be_configured(bits: int) -> None:
    with pytest.raises(ValueError, match="server_max_window_bits"):
        PermessageDeflate(server_max_window_bits=bits)
    with pytest.raises(ValueError, match="client_max_window_bits"):
        PermessageDeflate(client_max_window_bits=bits)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"level": -1}, "level is a number from 0 to 9 with zlib"),
        ({"level": 10}, "level is a number from 0 to 9 with zlib"),
        ({"library": "isal", "level": 4}, "level is a number from 0 to 3 with isal"),
        ({"library": "zip"}, "'zip' is neither"),
        ({"memory_level": 0}, "memory_level is a number from 1 to 9"),
        ({"memory_level": 10}, "memory_level is a number from 1 to 9"),
    ],
)
def test_impossible_compressors_cannot_be_configured(
    settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        PermessageDeflate(**settings)


def test_isal_has_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="isal is not installed"):
        PermessageDeflate(library="isal", level=1)


# --- windows and contexts are honoured ---


@pytest.mark.parametrize("bits", range(8, 16))
@pytest.mark.row(170, 185)
def test_server_keeps_within_the_window_it_agreed_to(bits: int) -> None:
    endpoint, strict = server(f"server_max_window_bits={bits}"), StrictInflater(bits)
    for piece in chopped(far_repeats(bits), 2000):
        endpoint.send_message(piece)
        (received,) = sent(endpoint)
        assert strict.inflate(received.payload) == piece


@pytest.mark.parametrize("bits", range(8, 16))
@pytest.mark.row(171, 185)
def test_client_keeps_within_the_window_it_agreed_to(bits: int) -> None:
    endpoint, strict = client(f"client_max_window_bits={bits}"), StrictInflater(bits)
    for piece in chopped(far_repeats(bits), 2000):
        endpoint.send_message(piece)
        (received,) = sent(endpoint, masked=True)
        assert strict.inflate(received.payload) == piece


@pytest.mark.row(171)
def test_client_keeps_to_its_own_window_where_the_response_names_none() -> None:
    extension = PermessageDeflate(server_max_window_bits=15, client_max_window_bits=9, threshold=0)
    endpoint, strict = client("", extension), StrictInflater(9)
    for piece in chopped(far_repeats(), 1000):
        endpoint.send_message(piece)
        (received,) = sent(endpoint, masked=True)
        assert strict.inflate(received.payload) == piece


@pytest.mark.parametrize("bits", [8, 12, 15])
def test_client_reads_the_largest_window_of_a_server_that_passed_over_its_offer(bits: int) -> None:
    extension = PermessageDeflate(server_max_window_bits=bits)
    response = "server_no_context_takeover; client_no_context_takeover"
    endpoint = client(response, extension)
    message = far_repeats(14)
    endpoint.receive_data(frame(BINARY, deflate(message), rsv=4, key=None), 0.0)
    assert endpoint.next_message() == message
    endpoint.send_message("Hello" * 50)
    (received,) = sent(endpoint, masked=True)
    assert StrictInflater(12).inflate(received.payload) == b"Hello" * 50


def test_client_reads_the_context_of_a_server_that_passed_over_its_offer() -> None:
    extension = PermessageDeflate(server_no_context_takeover=True)
    endpoint = client("server_max_window_bits=12", extension)
    first, second = b"Hello" * 50, b"Hello" * 51
    for payload in (deflate(first), deflate(second, dictionary=first)):
        endpoint.receive_data(frame(BINARY, payload, rsv=4, key=None), 0.0)
    assert [endpoint.next_message(), endpoint.next_message()] == [first, second]


@pytest.mark.row(165, 177)
def test_server_without_takeover_makes_messages_that_stand_alone() -> None:
    endpoint = server("server_no_context_takeover")
    for _ in range(3):
        endpoint.send_message("Hello" * 50)
        (received,) = sent(endpoint)
        assert StrictInflater(15).inflate(received.payload) == b"Hello" * 50


@pytest.mark.parametrize("own", [False, True], ids=["agreed", "own wish"])
@pytest.mark.row(167)
def test_client_without_takeover_makes_messages_that_stand_alone(own: bool) -> None:
    extension = PermessageDeflate(
        client_no_context_takeover=own, server_max_window_bits=15, threshold=0
    )
    endpoint = client("" if own else "client_no_context_takeover", extension)
    for _ in range(3):
        endpoint.send_message("Hello" * 50)
        (received,) = sent(endpoint, masked=True)
        assert StrictInflater(12).inflate(received.payload) == b"Hello" * 50


@pytest.mark.row(167, 182)
def test_client_that_breaks_the_agreement_on_takeover_fails() -> None:
    endpoint = server("client_no_context_takeover")
    assert receive(endpoint, frame(TEXT, bytes.fromhex("f248cdc9c90700"), rsv=4)) == ["Hello"]
    assert failure(endpoint, frame(TEXT, bytes.fromhex("f200110000"), rsv=4)) == 1007


@pytest.mark.row(177, 180)
def test_context_is_used_again_where_nothing_else_was_agreed() -> None:
    endpoint, strict = server(), StrictInflater(15)
    sizes = []
    for _ in range(2):
        endpoint.send_message(far_repeats())
        (received,) = sent(endpoint)
        assert strict.inflate(received.payload) == far_repeats()
        sizes.append(len(received.payload))
    assert sizes[1] * 20 < sizes[0]


# --- frames that are sent ---


@pytest.mark.row(173, 177)
def test_reserved_bit_marks_a_compressed_message() -> None:
    endpoint = server()
    endpoint.send_message("Hello" * 50)
    endpoint.send_message(b"bytes" * 50)
    text, binary = sent(endpoint)
    assert (text.opcode, text.rsv, text.fin) == (TEXT, 4, True)
    assert (binary.opcode, binary.rsv, binary.fin) == (BINARY, 4, True)
    assert len(text.payload) < 50
    assert not text.payload.endswith(TAIL)


@pytest.mark.row(173, 174, 176)
def test_reserved_bit_stands_on_the_first_fragment_only() -> None:
    endpoint = server()
    endpoint.send_fragment("He", final=False)
    endpoint.ping(b"between", 0.0)
    endpoint.send_fragment("llo", final=False)
    endpoint.send_fragment("", final=True)
    frames = sent(endpoint)
    assert [(one.opcode, one.rsv) for one in frames] == [
        (TEXT, 4),
        (PING, 0),
        (CONTINUATION, 0),
        (CONTINUATION, 0),
    ]
    payload = b"".join(one.payload for one in frames if one.opcode != PING)
    assert StrictInflater(15).inflate(payload) == b"Hello"


@pytest.mark.row(181)
def test_empty_message_is_one_byte() -> None:
    endpoint = server()
    endpoint.send_message("")
    assert sent(endpoint) == [Received(TEXT, b"\0", True, 4)]


@pytest.mark.row(175)
def test_messages_below_the_threshold_are_left_alone() -> None:
    endpoint = server("", PermessageDeflate(threshold=10))
    endpoint.send_message("a" * 9)
    endpoint.send_message("a" * 10)
    assert [one.rsv for one in sent(endpoint)] == [0, 4]


@pytest.mark.row(175, 184)
def test_compression_can_be_switched_off_for_a_message() -> None:
    endpoint = server()
    endpoint.send_message(TextMessage("secret" * 50, compress=False))
    endpoint.send_fragment(BinaryMessage(b"secret", compress=False), final=False)
    endpoint.send_fragment(b"more of it", final=True)
    endpoint.send_message("open" * 50)
    assert [one.rsv for one in sent(endpoint)] == [0, 0, 0, 4]


@pytest.mark.row(174)
def test_control_frames_are_never_compressed() -> None:
    endpoint = server()
    endpoint.ping(b"a" * 100, 0.0)
    endpoint.pong(b"a" * 100)
    assert sent(endpoint) == [
        Received(PING, b"a" * 100, True, 0),
        Received(PONG, b"a" * 100, True, 0),
    ]


def test_fragments_behind_a_custom_frame_are_as_plain_as_it_is() -> None:
    endpoint = server()
    endpoint.send_message("compressed")
    endpoint.send_frame(Frame(Opcode.TEXT, b"a", fin=False))
    endpoint.send_fragment("b", final=True)
    assert sent(endpoint)[1:] == [
        Received(TEXT, b"a", False, 0),
        Received(CONTINUATION, b"b", True, 0),
    ]


# --- frames that are received ---

CHUNKS = pytest.mark.parametrize("chunk", [0, 1, 2], ids=["whole", "bytes", "pairs"])


@CHUNKS
@pytest.mark.row(108, 173, 176, 180)
def test_ping_inside_a_fragmented_compressed_message(chunk: int) -> None:
    compressed = deflate(b"Hello" * 20)
    data = (
        frame(TEXT, compressed[:3], rsv=4, fin=False)
        + frame(PING, b"!")
        + frame(CONTINUATION, compressed[3:5], fin=False)
        + frame(PING, b"!")
        + frame(CONTINUATION, compressed[5:])
    )
    endpoint = server()
    assert receive(endpoint, *chopped(data * 2, chunk)) == ["Hello" * 20] * 2
    assert sent(endpoint) == [Received(PONG, b"!", True, 0)] * 4


@CHUNKS
@pytest.mark.row(175, 180)
def test_messages_may_come_compressed_or_not(chunk: int) -> None:
    hello, again = bytes.fromhex("f248cdc9c90700"), bytes.fromhex("f200110000")
    data = frame(TEXT, hello, rsv=4) + frame(TEXT, "plain") + frame(BINARY, again, rsv=4)
    assert receive(server(), *chopped(data, chunk)) == ["Hello", "plain", b"Hello"]


@pytest.mark.parametrize("payload", [b"", b"\0"])
@CHUNKS
@pytest.mark.row(181)
def test_empty_compressed_message_is_empty(payload: bytes, chunk: int) -> None:
    fragments = frame(TEXT, b"", rsv=4, fin=False) + frame(CONTINUATION, payload)
    data = frame(TEXT, payload, rsv=4) + fragments + frame(TEXT, deflate(b"next"), rsv=4)
    assert receive(server(), *chopped(data, chunk)) == ["", "", "next"]


@CHUNKS
@pytest.mark.row(178, 179)
def test_final_blocks_are_no_end(chunk: int) -> None:
    blocks = deflate(b"Hello", final=True) + deflate(b" world", dictionary=b"Hello", final=True)
    data = frame(TEXT, blocks + b"\0", rsv=4) + frame(TEXT, deflate(b"!"), rsv=4)
    assert receive(server(), *chopped(data, chunk)) == ["Hello world", "!"]


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, "a", fin=False) + frame(CONTINUATION, deflate(b"b"), rsv=4),
        frame(TEXT, deflate(b"a"), rsv=4, fin=False) + frame(CONTINUATION, b"", rsv=4),
        frame(PING, rsv=4),
        frame(PONG, rsv=4),
        frame(8, rsv=4),
        frame(TEXT, deflate(b"a"), rsv=2),
        frame(TEXT, deflate(b"a"), rsv=6),
    ],
)
@pytest.mark.row(97, 174)
def test_reserved_bit_anywhere_else_fails(data: bytes) -> None:
    assert failure(server(), data) == 1002


@pytest.mark.parametrize("payload", [b"\x07", b"\xff\xff", bytes.fromhex("f200110000")])
@CHUNKS
@pytest.mark.row(182)
def test_corrupt_payload_fails(payload: bytes, chunk: int) -> None:
    assert failure(server(), *chopped(frame(BINARY, payload, rsv=4), chunk)) == 1007


@pytest.mark.parametrize(("text", "bad"), INVALID_TEXT)
@pytest.mark.row(118, 183)
def test_compressed_bad_text_fails_at_its_first_bad_byte(text: bytes, bad: int) -> None:
    endpoint = server()
    good, rest = deflate(text[:bad]) + TAIL, deflate(text[bad : bad + 1], dictionary=text[:bad])
    data = frame(TEXT, good + rest + TAIL, rsv=4, length=1000)
    split = len(data) - len(rest + TAIL)
    assert receive(endpoint, data[:split]) == []
    assert failure(endpoint, data[split:]) == 1007


@pytest.mark.parametrize(("text", "bad"), INVALID_TEXT)
@pytest.mark.row(116, 183)
def test_compressed_bad_text_fails(text: bytes, bad: int) -> None:
    assert failure(server(), frame(TEXT, deflate(text), rsv=4)) == 1007


# --- limits ---


@CHUNKS
@pytest.mark.row(126, 127, 183)
def test_limit_is_that_of_the_inflated_message(chunk: int) -> None:
    endpoint = server(max_message_size=1000)
    data = frame(BINARY, deflate(bytes(1000)), rsv=4)
    assert receive(endpoint, *chopped(data, chunk)) == [bytes(1000)]
    data = frame(BINARY, deflate(bytes(1001)), rsv=4)
    assert failure(endpoint, *chopped(data, chunk)) == 1009


@pytest.mark.row(126, 183)
def test_limit_is_that_of_all_fragments_together() -> None:
    compressed = deflate(bytes(600)) + TAIL
    endpoint = server(max_message_size=1000)
    assert receive(endpoint, frame(BINARY, compressed, rsv=4, fin=False)) == []
    assert failure(endpoint, frame(CONTINUATION, deflate(bytes(401)))) == 1009


@pytest.mark.row(126)
def test_incompressible_message_of_the_largest_size_is_fine() -> None:
    payload = far_repeats()[:1000]
    compressed = deflate(payload, bits=9)
    assert len(compressed) > 1000
    endpoint = server(max_message_size=1000)
    assert receive(endpoint, frame(BINARY, compressed, rsv=4)) == [payload]


@pytest.mark.parametrize("fin", [True, False])
@CHUNKS
@pytest.mark.row(126, 129, 183)
def test_bomb_is_stopped_with_little_memory(fin: bool, chunk: int) -> None:
    bomb = chopped(frame(BINARY, deflate(bytes(2**24)), rsv=4, fin=fin), chunk and chunk * 1000)
    endpoint = server(max_message_size=50_000)
    tracemalloc.start()
    try:
        assert failure(endpoint, *bomb) == 1009
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50_000 * 4 + 3 * 2**14


# --- both ends ---


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("bits", [8, 9, 15])
@CHUNKS
@pytest.mark.row(158, 165, 167, 170)
def test_dialogue_however_it_is_chopped(takeover: bool, bits: int, chunk: int) -> None:
    extension = PermessageDeflate(
        server_no_context_takeover=not takeover,
        client_no_context_takeover=not takeover,
        server_max_window_bits=bits,
        client_max_window_bits=bits,
        threshold=3,
    )
    pair = ConnectionPair(chunk=chunk, client_extensions=[extension])
    messages: list[str | bytes] = ["", "ab", "Hello" * 50, b"", far_repeats(8), "Hello" * 50]
    for endpoint in (pair.client, pair.server):
        for message in messages:
            endpoint.send_message(message)
        endpoint.send_fragment("He", final=False)
        endpoint.ping(b"?", pair.now)
        endpoint.send_fragment("llo", final=True)
    pair.run()
    assert pair.at_server == pair.at_client == [*messages, "Hello"]
    pair.client.close()
    pair.run()
    assert pair.server_end.ending == Ending(1000, "", by_peer=True)


def test_defaults_agree_on_small_windows() -> None:
    pair = ConnectionPair(client_extensions=[PermessageDeflate()])
    assert str(pair.accepted[0]) == f"{NAME}; server_max_window_bits=12; client_max_window_bits=12"
    assert pair.accepted[0].agreed == pair.confirmed[0].agreed


def test_silent_connection_remembers_nothing() -> None:
    pair = ConnectionPair(client_extensions=[PermessageDeflate()], ping_interval=20)
    sizes = []
    for pings in (0, 1, 2):
        for _ in range(pings):
            pair.now = pair.server.next_deadline(pair.now) or pair.now
            pair.server.handle_timeout(pair.now)
            pair.run()
        pair.server.send_message("".join(map(str, range(300))))
        sizes.append(len(pair.server.data_to_send()))
    assert sizes[1] < sizes[0] == sizes[2]


@pytest.mark.parametrize("data", [b"", "a", "small", 300 * "large "])
def test_peers_read_shared_messages_among_their_own(data: str | bytes) -> None:
    pair = ConnectionPair(client_extensions=[PermessageDeflate()])
    own = 300 * "own "
    for message in (own, SharedMessage(data), own, SharedMessage(data)):
        pair.server.send_message(message)
    pair.run()
    assert pair.at_client == [own, data, own, data]


def test_shared_message_stays_out_of_the_compressor_where_it_says_so() -> None:
    """What the length of a compressed secret tells is what an attacker is after (§8)."""
    pair = ConnectionPair(client_extensions=[PermessageDeflate()])
    secret = TextMessage(300 * "secret ", compress=False)
    pair.server.send_message(SharedMessage(secret))
    assert len(pair.server.data_to_send()) > len(secret.data)
