"""Frames are seen one by one, beside the messages that they make."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.core.wire import close
from tests.peer import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame
from ws_middleware.core.endpoint import Endpoint
from ws_middleware.core.frame_tap import FRAME_COST, FrameTap
from ws_middleware.core.frames import Frame
from ws_middleware.errors import ConnectionClosed
from ws_middleware.extensions import PermessageDeflate
from ws_middleware.options import Options

Tapped = tuple[Endpoint, Callable[[], Frame | ConnectionClosed | None]]


def _tapped(most: int = 10_000, **options: int) -> Tapped:
    tap = FrameTap(most)
    endpoint = Endpoint("server", Options(extensions=(), **options), [tap], now=0.0)  # type: ignore[arg-type]
    return endpoint, lambda: tap.next_frame(endpoint)


def _seen(given: Frame | ConnectionClosed | None) -> tuple[int, bytes, bool]:
    assert isinstance(given, Frame)
    return given.opcode, given.payload, given.fin


def test_each_frame_is_seen_in_its_order() -> None:
    endpoint, next_frame = _tapped()
    endpoint.receive_data(
        frame(TEXT, "a", fin=False) + frame(PING, "b") + frame(CONTINUATION, "c") + frame(BINARY),
        0.0,
    )
    assert [_seen(next_frame()) for _ in range(4)] == [
        (TEXT, b"a", False),
        (PING, b"b", True),
        (CONTINUATION, b"c", True),
        (BINARY, b"", True),
    ]
    assert next_frame() is None
    assert endpoint.next_message() is None  # its messages went with the frames


def test_frame_is_seen_before_its_message_is_whole_but_not_before_it_is() -> None:
    endpoint, next_frame = _tapped(200_000)
    data = frame(TEXT, "x" * 70_000, fin=False)
    endpoint.receive_data(data[:-1], 0.0)
    assert next_frame() is None
    endpoint.receive_data(data[-1:], 0.0)
    assert _seen(next_frame()) == (TEXT, b"x" * 70_000, False)


def test_close_frame_is_seen_before_the_end() -> None:
    endpoint, next_frame = _tapped()
    endpoint.receive_data(close(1000, "bye"), 0.0)
    assert _seen(next_frame()) == (CLOSE, b"\x03\xe8bye", True)
    ended = next_frame()
    assert isinstance(ended, ConnectionClosed)
    assert ended.code == 1000


def test_compressed_frame_is_seen_as_it_came() -> None:
    tap = FrameTap(10_000)
    deflate = PermessageDeflate(threshold=0)
    answer = deflate.accept(deflate.offers()[0])
    assert answer is not None
    sender = Endpoint("client", Options(), [deflate.activate(answer[1], "client")], now=0.0)
    active = [deflate.activate(answer[1], "server"), tap]
    endpoint = Endpoint("server", Options(), active, now=0.0)
    sender.send_message("hello " * 20)
    endpoint.receive_data(sender.data_to_send(), 0.0)
    seen = tap.next_frame(endpoint)
    assert isinstance(seen, Frame)
    assert seen.rsv1
    assert len(seen.payload) < 50


def test_messages_are_there_for_those_who_take_them_instead() -> None:
    endpoint, _ = _tapped()
    endpoint.receive_data(frame(TEXT, "a"), 0.0)
    assert endpoint.next_message() == "a"


@pytest.mark.parametrize(("most", "left"), [(0, 1), (2 * FRAME_COST + 2, 2), (10_000, 9)])
def test_oldest_frames_go_where_nobody_takes_them(most: int, left: int) -> None:
    endpoint, next_frame = _tapped(most)
    for number in range(9):
        endpoint.receive_data(frame(TEXT, str(number)), 0.0)
        endpoint.next_message()
    seen = [_seen(next_frame())[1] for _ in range(left)]
    assert seen == [str(number).encode() for number in range(9 - left, 9)]
    assert next_frame() is None


@pytest.mark.parametrize(("limit", "kept"), [(FRAME_COST, 2), (None, 5)])
def test_tap_keeps_what_the_options_let_wait(limit: int | None, kept: int) -> None:
    tap = FrameTap.for_options(Options(max_queue=1, max_message_size=limit))
    for _ in range(5):
        tap.decode(Frame(TEXT), None)
    endpoint = Endpoint("server", Options(), now=0.0)
    assert [tap.next_frame(endpoint) is None for _ in range(kept + 1)] == [False] * kept + [True]
