"""deflate-frame under both of its names: the table of parameters, and frames one by one."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from tests.core.endpoints import receive
from tests.core.pair import ConnectionPair
from tests.core.wire import chopped, close_of, read_frames
from tests.extensions.inflating import StrictInflater, deflate, far_repeats
from tests.peer import BINARY, CONTINUATION, PING, PONG, TEXT, Received, frame
from ws_middleware.core.endpoint import Endpoint
from ws_middleware.core.extensions import accept_offers, confirm_response
from ws_middleware.core.headers import format_extension, parse_extensions
from ws_middleware.core.messages import SharedMessage, TextMessage
from ws_middleware.errors import ConnectionClosed
from ws_middleware.extensions.deflate_frame import DeflateFrame, XWebkitDeflateFrame
from ws_middleware.options import Options

BOTH_NAMES = pytest.mark.parametrize("kind", [DeflateFrame, XWebkitDeflateFrame])
CHUNKS = pytest.mark.parametrize("chunk", [0, 1, 2], ids=["whole", "bytes", "pairs"])


def accept(extension: DeflateFrame, offer: str) -> str | None:
    """Answer an offer's parameters; returns the whole response, None where it is declined."""
    header = f"{extension.name}; {offer}" if offer else extension.name
    agreements = accept_offers(parse_extensions(header), [extension])
    return str(agreements[0]) if agreements else None


def server(offer: str = "", *, max_message_size: int = 2**20, **settings: Any) -> Endpoint:
    """Make a server's endpoint that accepted this offer."""
    extension = DeflateFrame(**{"max_window_bits": 15, **settings})
    header = f"{extension.name}; {offer}" if offer else extension.name
    (agreement,) = accept_offers(parse_extensions(header), [extension])
    options = Options(max_message_size=max_message_size)
    return Endpoint("server", options, [agreement.activate("server")])


def failure(endpoint: Endpoint, *data: bytes) -> int | None:
    """Check that `data` fails the connection; returns the code that is sent."""
    items = receive(endpoint, *data)
    assert [type(item) for item in items] == [ConnectionClosed], items
    return close_of(endpoint.data_to_send())[0]


# --- parameters ---


@BOTH_NAMES
@pytest.mark.parametrize(
    "offer",
    [
        "",
        *(f"max_window_bits={bits}" for bits in range(8, 16)),
        'max_window_bits="9"',
        "no_context_takeover",
        "no_context_takeover; max_window_bits=8",
    ],
)
@pytest.mark.row(187, 188)
def test_offer_is_accepted_under_its_own_name(kind: type[DeflateFrame], offer: str) -> None:
    assert accept(kind(max_window_bits=15), offer) == kind.name


@BOTH_NAMES
@pytest.mark.parametrize(
    "offer",
    [
        "max_window_bits",
        "max_window_bits=7",
        "max_window_bits=16",
        "max_window_bits=08",
        "max_window_bits=-9",
        "max_window_bits=x",
        "no_context_takeover=1",
        "no_context_takeover; no_context_takeover",
        "max_window_bits=9; max_window_bits=9",
        "unknown",
        "unknown=1",
        "server_max_window_bits=10",
    ],
)
@pytest.mark.row(187)
def test_bad_parameters_are_declined(kind: type[DeflateFrame], offer: str) -> None:
    assert accept(kind(), offer) is None


@BOTH_NAMES
@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ({}, "max_window_bits=12"),
        ({"max_window_bits": 15, "no_context_takeover": True}, "no_context_takeover"),
        (
            {"max_window_bits": 8, "no_context_takeover": True},
            "max_window_bits=8; no_context_takeover",
        ),
    ],
)
@pytest.mark.row(187, 188)
def test_settings_are_what_is_asked_of_the_peer(
    kind: type[DeflateFrame], settings: dict[str, Any], parameters: str
) -> None:
    extension = kind(**settings)
    (offer,) = extension.offers()
    assert format_extension(kind.name, offer) == f"{kind.name}; {parameters}"
    assert accept(extension, "") == f"{kind.name}; {parameters}"


@pytest.mark.row(188)
def test_each_name_is_answered_by_its_own() -> None:
    both = [DeflateFrame(max_window_bits=15), XWebkitDeflateFrame(max_window_bits=15)]
    for name in ("deflate-frame", "x-webkit-deflate-frame"):
        (agreement,) = accept_offers(parse_extensions(name), both)
        assert str(agreement) == name


@pytest.mark.row(186)
def test_both_names_are_never_accepted_together() -> None:
    offers = parse_extensions("x-webkit-deflate-frame, deflate-frame")
    agreements = accept_offers(offers, [DeflateFrame(), XWebkitDeflateFrame()])
    assert [one.extension.name for one in agreements] == ["x-webkit-deflate-frame"]


@BOTH_NAMES
@pytest.mark.parametrize("response", ["unknown", "max_window_bits=16", "no_context_takeover=x"])
@pytest.mark.row(187)
def test_client_fails_on_a_bad_response(kind: type[DeflateFrame], response: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        confirm_response(parse_extensions(f"{kind.name}; {response}"), [kind()])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"max_window_bits": 7}, "8 to 15"),
        ({"max_window_bits": 16}, "8 to 15"),
        ({"level": 10}, "0 to 9"),
        ({"memory_level": 0}, "1 to 9"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        DeflateFrame(**settings)


# --- frames that are sent ---


@pytest.mark.row(189, 190)
def test_every_data_frame_is_compressed_and_marked_by_itself() -> None:
    endpoint, strict = server(), StrictInflater(15)
    endpoint.send_message("Hello")
    endpoint.send_fragment(b"He", final=False)
    endpoint.ping(b"ping", 0.0)
    endpoint.send_fragment(b"llo", final=True)
    endpoint.send_message("")
    frames = read_frames(endpoint.data_to_send())
    assert [(one.opcode, one.rsv) for one in frames] == [
        (TEXT, 4),
        (BINARY, 4),
        (PING, 0),
        (CONTINUATION, 4),
        (TEXT, 4),
    ]
    data = [strict.inflate(one.payload) for one in frames if one.opcode != PING]
    assert data == [b"Hello", b"He", b"llo", b""]


@pytest.mark.row(184)
def test_compression_can_be_switched_off_for_a_message() -> None:
    endpoint = server()
    endpoint.send_message(TextMessage("secret", compress=False))
    assert read_frames(endpoint.data_to_send()) == [Received(TEXT, b"secret", True, 0)]


@pytest.mark.parametrize("bits", range(8, 16))
@pytest.mark.row(185, 187)
def test_window_is_the_one_that_the_peer_asked_for(bits: int) -> None:
    endpoint, strict = server(f"max_window_bits={bits}"), StrictInflater(bits)
    for piece in chopped(far_repeats(bits), 2000):
        endpoint.send_message(piece)
        (received,) = read_frames(endpoint.data_to_send())
        assert strict.inflate(received.payload) == piece


@pytest.mark.row(187, 190)
def test_without_takeover_each_frame_stands_alone() -> None:
    endpoint = server("no_context_takeover")
    endpoint.send_message("Hello" * 10)
    endpoint.send_fragment("Hello" * 10, final=False)
    endpoint.send_fragment("Hello" * 10, final=True)
    for received in read_frames(endpoint.data_to_send()):
        assert StrictInflater(15).inflate(received.payload) == b"Hello" * 10


# --- frames that are received ---


@CHUNKS
@pytest.mark.row(189, 190)
def test_frames_come_compressed_or_not_in_one_message(chunk: int) -> None:
    data = (
        frame(TEXT, deflate(b"He"), rsv=4, fin=False)
        + frame(PING, b"!")
        + frame(CONTINUATION, "llo ", fin=False)
        + frame(CONTINUATION, deflate(b"world", dictionary=b"He"), rsv=4)
        + frame(BINARY, b"plain")
    )
    endpoint = server()
    assert receive(endpoint, *chopped(data, chunk)) == ["Hello world", b"plain"]
    assert read_frames(endpoint.data_to_send()) == [Received(PONG, b"!", True, 0)]


@CHUNKS
@pytest.mark.row(190)
def test_window_is_kept_over_frames_and_messages(chunk: int) -> None:
    first = far_repeats()[:1000]
    again = deflate(first, dictionary=first)
    assert len(again) < 50
    data = frame(BINARY, deflate(first), rsv=4, fin=False) + frame(CONTINUATION, again, rsv=4)
    assert receive(server(), *chopped(data + frame(BINARY, again, rsv=4), chunk)) == [
        first + first,
        first,
    ]


@pytest.mark.row(190)
def test_peer_that_breaks_the_agreement_on_takeover_fails() -> None:
    first = far_repeats()[:1000]
    endpoint = server(no_context_takeover=True)
    assert receive(endpoint, frame(BINARY, deflate(first), rsv=4)) == [first]
    again = frame(BINARY, deflate(first, dictionary=first), rsv=4)
    assert failure(endpoint, again) == 1007


@CHUNKS
def test_empty_frames_leave_no_trace(chunk: int) -> None:
    data = frame(TEXT, b"", rsv=4) + frame(TEXT, b"\0", rsv=4) + frame(TEXT, deflate(b"x"), rsv=4)
    assert receive(server(), *chopped(data, chunk)) == ["", "", "x"]


@pytest.mark.parametrize("data", [frame(PING, rsv=4), frame(8, rsv=4), frame(TEXT, rsv=6)])
@pytest.mark.row(97, 189)
def test_reserved_bits_anywhere_else_fail(data: bytes) -> None:
    assert failure(server(), data) == 1002


@CHUNKS
def test_corrupt_frame_fails(chunk: int) -> None:
    assert failure(server(), *chopped(frame(TEXT, b"\xff\xff", rsv=4), chunk)) == 1007


@pytest.mark.row(183)
def test_bad_text_fails_after_inflating() -> None:
    assert failure(server(), frame(TEXT, deflate(b"\xff"), rsv=4, fin=False)) == 1007


# --- limits ---


@CHUNKS
@pytest.mark.row(191)
def test_limit_is_that_of_all_inflated_frames_together(chunk: int) -> None:
    endpoint = server(max_message_size=1000)
    begin = frame(BINARY, deflate(bytes(600)), rsv=4, fin=False)
    middle = frame(CONTINUATION, bytes(300), fin=False)
    end = frame(CONTINUATION, deflate(bytes(100), dictionary=bytes(600)), rsv=4)
    assert receive(endpoint, *chopped(begin + middle + end, chunk)) == [bytes(1000)]
    end = frame(CONTINUATION, deflate(bytes(101), dictionary=bytes(600)), rsv=4)
    assert failure(endpoint, *chopped(begin + middle + end, chunk)) == 1009


@CHUNKS
@pytest.mark.row(126, 191)
def test_bombs_are_stopped_with_little_memory(chunk: int) -> None:
    endpoint = server(max_message_size=50_000)
    bomb = frame(BINARY, deflate(bytes(2**24)), rsv=4, fin=False)
    tracemalloc.start()
    try:
        assert failure(endpoint, *chopped(bomb, chunk and chunk * 1000)) == 1009
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50_000 * 4 + 3 * 2**14


@pytest.mark.row(191)
def test_many_small_bombs_are_one_large_one() -> None:
    endpoint = server(max_message_size=50_000)
    small = deflate(bytes(1000))
    assert receive(endpoint, frame(BINARY, small, rsv=4, fin=False)) == []
    assert failure(endpoint, *[frame(CONTINUATION, small, rsv=4, fin=False)] * 50) == 1009


# --- both ends ---


@BOTH_NAMES
@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("bits", [8, 9, 15])
@CHUNKS
@pytest.mark.row(187, 190)
def test_dialogue_however_it_is_chopped(
    kind: type[DeflateFrame], takeover: bool, bits: int, chunk: int
) -> None:
    extension = kind(max_window_bits=bits, no_context_takeover=not takeover)
    pair = ConnectionPair(chunk=chunk, client_extensions=[extension])
    messages: list[str | bytes] = ["", "ab", "Hello" * 50, b"", far_repeats(8), "Hello" * 50]
    for endpoint in (pair.client, pair.server):
        for message in messages:
            endpoint.send_message(message)
        endpoint.send_fragment("He", final=False)
        endpoint.send_fragment("llo", final=True)
    pair.run()
    assert pair.at_server == pair.at_client == [*messages, "Hello"]


@pytest.mark.row(187)
def test_each_end_asks_for_its_own_window() -> None:
    wide, narrow = DeflateFrame(max_window_bits=15), DeflateFrame(max_window_bits=9)
    pair = ConnectionPair(client_extensions=[wide], server_extensions=[narrow])
    strict = StrictInflater(9)
    for piece in chopped(far_repeats(), 1000):
        pair.client.send_message(piece)
        (received,) = read_frames(pair.client.data_to_send(), masked=True)
        assert strict.inflate(received.payload) == piece


def test_silent_connection_remembers_nothing() -> None:
    pair = ConnectionPair(client_extensions=[DeflateFrame()], ping_interval=20)
    sizes = []
    for pings in (0, 1, 2):
        for _ in range(pings):
            pair.now = pair.server.next_deadline(pair.now) or pair.now
            pair.server.handle_timeout(pair.now)
            pair.run()
        pair.server.send_message("".join(map(str, range(300))))
        sizes.append(len(pair.server.data_to_send()))
    assert sizes[1] < sizes[0] == sizes[2]


@pytest.mark.parametrize("data", [b"", "a", 300 * "large "])
def test_peers_read_shared_messages_among_their_own(data: str | bytes) -> None:
    pair = ConnectionPair(client_extensions=[DeflateFrame()])
    own = 300 * "own "
    for message in (own, SharedMessage(data), own, SharedMessage(data)):
        pair.server.send_message(message)
    pair.run()
    assert pair.at_client == [own, data, own, data]
