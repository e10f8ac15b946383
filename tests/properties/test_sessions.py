"""Whole sessions, right and wrong: what is delivered, what leaves, what is held in memory."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.core.endpoints import receive
from tests.core.pair import ConnectionPair
from tests.core.wire import read_frames
from tests.extensions.inflating import deflate
from tests.peer import CLOSE, CONTINUATION, PING, PONG, TEXT, Received, frame
from tests.properties.strategies import chunked, good_sessions, messages, sessions
from ws_middleware.core.endpoint import Endpoint, Item
from ws_middleware.core.extensions import ActiveExtension, accept_offers
from ws_middleware.core.headers import Parameter
from ws_middleware.errors import ConnectionClosed
from ws_middleware.extensions.deflate_frame import DeflateFrame
from ws_middleware.extensions.permessage_deflate import PermessageDeflate
from ws_middleware.options import Options

NOW = 100.0
#: Plain, and with each of the compressions, whose windows are small.
KINDS = ["plain", "permessage-deflate", "deflate-frame"]


def activate(kind: str) -> list[ActiveExtension]:
    offers: list[tuple[str, list[Parameter]]] = [
        ("permessage-deflate", [("client_max_window_bits", None)]),
        ("deflate-frame", []),
    ]
    available = [PermessageDeflate(client_max_window_bits=9), DeflateFrame(max_window_bits=9)]
    agreements = accept_offers([offer for offer in offers if offer[0] == kind], available)
    return [agreement.activate("server") for agreement in agreements]


def make(kind: str, **options: Any) -> Endpoint:
    return Endpoint("server", Options(extensions=(), **options), activate(kind), now=NOW)


class Outcome:
    """Hold what a session led to: messages, frames that left, and the close code sent."""

    def __init__(self, endpoint: Endpoint, pieces: list[bytes]) -> None:
        self.messages: list[Item] = []
        written = b""
        for piece in pieces:
            endpoint.receive_data(piece, NOW)
            items = receive(endpoint)
            self.messages += [item for item in items if not isinstance(item, ConnectionClosed)]
            written += endpoint.data_to_send()
        self.frames = read_frames(written)
        self.sent_code = endpoint.closed.sent_code

    @property
    def summary(self) -> tuple[list[Item], list[Received], bool]:
        answers = [received for received in self.frames if received.opcode == PONG]
        return self.messages, answers, self.sent_code is None


# --- good sessions ---


@pytest.mark.parametrize("max_queue", [1, 16])
@given(good_sessions(), st.data())
@pytest.mark.row(104, 106, 111, 116, 120, 124)
def test_messages_arrive_however_they_are_fragmented_and_chunked(
    max_queue: int, session: tuple[list[str | bytes], bytes], data: st.DataObject
) -> None:
    sent, written = session
    outcome = Outcome(make("plain", max_queue=max_queue), data.draw(chunked(written)))
    assert outcome.messages == sent
    assert outcome.sent_code is None


@pytest.mark.parametrize("max_queue", [1, 16])
@given(good_sessions(compress=True), st.data())
@pytest.mark.row(173, 175, 176, 178, 180)
def test_compressed_messages_arrive_however_they_are_fragmented_and_chunked(
    max_queue: int, session: tuple[list[str | bytes], bytes], data: st.DataObject
) -> None:
    sent, written = session
    endpoint = make("permessage-deflate", max_queue=max_queue)
    outcome = Outcome(endpoint, data.draw(chunked(written)))
    assert outcome.messages == sent
    assert outcome.sent_code is None


@given(good_sessions(), st.data())
def test_pieces_of_messages_make_the_messages(
    session: tuple[list[str | bytes], bytes], data: st.DataObject
) -> None:
    sent, written = session
    endpoint = make("plain")
    received: list[str | bytes] = []
    pieces: list[Any] = []
    for chunk in data.draw(chunked(written)):
        endpoint.receive_data(chunk, NOW)
        while (item := endpoint.next_fragment()) is not None:
            pieces.append(item.data)  # type: ignore[union-attr]
            if item.final:  # type: ignore[union-attr]
                received.append(pieces[0][:0].join(pieces))
                pieces.clear()
    assert received == sent


# --- any session ---


@pytest.mark.parametrize("kind", KINDS)
@given(sessions(), st.data())
@example(frame(TEXT, b"a", fin=False) + frame(CLOSE, b"\x03\xe8"), None)
@example(frame(TEXT, b"\xed\xa0\x00"), None)  # half a surrogate is bad already
@pytest.mark.row(124, 128)
def test_chunks_make_no_difference(kind: str, session: bytes, data: st.DataObject | None) -> None:
    pieces = [session[at : at + 1] for at in range(len(session))]
    if data is not None:
        pieces = data.draw(chunked(session))
    whole, chopped = Outcome(make(kind), [session] if session else []), Outcome(make(kind), pieces)
    assert whole.summary == chopped.summary
    if kind == "plain":
        assert whole.sent_code == chopped.sent_code
        assert whole.frames == chopped.frames


@pytest.mark.parametrize("kind", KINDS)
@given(sessions(), sessions(), st.data())
@pytest.mark.row(122, 128, 142, 143)
def test_nothing_raises_and_only_a_close_frame_leaves_at_the_end(
    kind: str, session: bytes, more: bytes, data: st.DataObject
) -> None:
    endpoint = make(kind)
    outcome = Outcome(endpoint, data.draw(chunked(session)))
    opcodes = [received.opcode for received in outcome.frames]
    assert set(opcodes[:-1]) <= {PONG}
    assert set(opcodes[-1:]) <= {PONG, CLOSE}
    assert all(received.rsv == 0 and received.fin for received in outcome.frames)
    assert (CLOSE in opcodes) is (outcome.sent_code is not None)
    if CLOSE in opcodes:
        later = Outcome(endpoint, [more or b"more"])
        assert (later.messages, later.frames) == ([], [])
        assert isinstance(endpoint.next_message(), ConnectionClosed)


@pytest.mark.parametrize("kind", KINDS)
@given(sessions(), st.data())
@pytest.mark.row(140, 154)
def test_every_connection_ends(kind: str, session: bytes, data: st.DataObject) -> None:
    endpoint = make(kind)
    Outcome(endpoint, data.draw(chunked(session)))
    if data.draw(st.booleans()):
        endpoint.receive_data(b"", NOW)
    now = NOW
    while (deadline := endpoint.next_deadline(now)) is not None:
        now = max(now, deadline)
        endpoint.handle_timeout(now)
        receive(endpoint)
        endpoint.data_to_send()
    assert endpoint.is_over
    assert now < NOW + 100
    assert endpoint.close_code is not None


# --- memory ---

LIMITS = {"max_message_size": 1000, "max_queue": 4, "max_fragments": 100}
#: What an endpoint may hold: itself with its compression, the messages of its limits, and a
#: read that there is no room for.
FLOOD = 1000
ALLOWED = 25_000 + 1000 * (4 + 1) + 2 * FLOOD


def start_tracing() -> None:
    """Trace memory from here on, except for the tuples that the interpreter keeps in stock."""
    stock = [tuple(range(size)) for size in (2, 5, 8, 10) for _ in range(2000)]
    del stock
    tracemalloc.start()


def held() -> int:
    """Tell how much memory is in use; what the interpreter keeps in stock does not count."""
    if tracemalloc.get_traced_memory()[0] >= ALLOWED:
        gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize("kind", KINDS)
@given(
    st.sampled_from([b"", frame(TEXT, "begun", fin=False)]),
    sessions(),
    st.sampled_from(["polite", "never writes", "never reads", "idle", "closing"]),
)
@example(b"", frame(PING, b"x" * 125), "never writes")
@example(b"", frame(PING, b"x" * 125), "closing")
@example(b"", frame(PONG, b"x" * 125), "idle")
@example(b"", frame(TEXT, ""), "idle")
@example(b"", frame(TEXT, "x" * 999), "never reads")
@example(b"", frame(TEXT, b"x", length=1 << 40), "polite")
@example(frame(TEXT, "", fin=False), frame(CONTINUATION, b"x" * 900, fin=False), "polite")
@example(frame(TEXT, "", fin=False), frame(CONTINUATION, b"x" * 900, fin=False), "closing")
@example(b"", frame(TEXT, deflate(b"x" * 999), rsv=4), "polite")
@example(b"", frame(TEXT, deflate(b"x" * 999), rsv=4), "never reads")
@example(b"", frame(TEXT, deflate(b"x" * 100_000), rsv=4), "polite")
@pytest.mark.row(126, 129)
def test_memory_stays_within_the_limits(kind: str, begin: bytes, session: bytes, mood: str) -> None:
    data = begin + session * (200_000 // max(len(session), 1))
    pieces = [data[at : at + FLOOD] for at in range(0, len(data), FLOOD)]
    most = 0
    start_tracing()
    try:
        endpoint = make(kind, **LIMITS)
        if mood == "closing":
            endpoint.close()
        for piece in pieces:
            if not endpoint.is_full:
                endpoint.receive_data(piece, NOW)
            if mood in ("polite", "never writes"):
                receive(endpoint)
            if mood in ("polite", "never reads"):
                endpoint.data_to_send()
            most = max(most, held())
    finally:
        tracemalloc.stop()
    assert most < ALLOWED


# --- dialogues ---

actions = st.lists(
    st.tuples(
        st.sampled_from(["client", "server"]),
        st.one_of(
            messages,
            st.sampled_from(["RUN", "PING", "CLOSE", "FRAGMENT", "FINISH"]).map(
                lambda name: (name,)
            ),
        ),
    ),
    max_size=25,
)


def act(pair: ConnectionPair, role: str, action: Any, sent: list[str | bytes]) -> None:
    endpoint: Endpoint = getattr(pair, role)
    if action == ("RUN",):
        pair.run()
    elif action == ("CLOSE",):
        endpoint.close(4000, role)
    elif not endpoint.can_send:
        return
    elif action == ("PING",):
        endpoint.ping(b"?", pair.now)
    elif action == ("FINISH",):
        if endpoint.is_fragmenting:
            endpoint.send_fragment("end", final=True)
            sent[-1] += "end"  # type: ignore[operator]
    elif action == ("FRAGMENT",):
        if not endpoint.is_fragmenting:
            sent.append("")
        endpoint.send_fragment("part ", final=False)
        sent[-1] += "part "  # type: ignore[operator]
    elif not endpoint.is_fragmenting:
        endpoint.send_message(action)
        sent.append(action)


@pytest.mark.parametrize("compressed", [False, True])
@given(actions, st.integers(0, 30))
@pytest.mark.row(111, 122, 124, 134, 136, 141)
def test_dialogue_delivers_in_order_and_ends_cleanly(
    compressed: bool, dialogue: list[tuple[str, Any]], chunk: int
) -> None:
    pair = ConnectionPair(
        chunk=chunk and chunk * 17, client_extensions=[PermessageDeflate()] if compressed else []
    )
    sent: dict[str, list[str | bytes]] = {"client": [], "server": []}
    for role, action in dialogue:
        act(pair, role, action, sent[role])
    both_open = pair.client.can_send and pair.server.can_send
    pair.run()
    finished = {
        role: texts[:-1] if getattr(pair, role).is_fragmenting else texts
        for role, texts in sent.items()
    }
    assert pair.at_server == finished["client"][: len(pair.at_server)]
    assert pair.at_client == finished["server"][: len(pair.at_client)]
    if both_open:
        assert (pair.at_server, pair.at_client) == (finished["client"], finished["server"])
    pair.client.close()
    pair.run()
    for end in (pair.client_end, pair.server_end):
        assert end.endpoint.is_over
        assert not end.endpoint.wants_abort
        assert end.closed is not None
        assert end.closed.code in (1000, 4000)
