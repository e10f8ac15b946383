"""The transcript of a connection: heads, and the frames of streams that are cut anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.peer import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame
from ws_middleware.cli.transcript import Transcript
from ws_middleware.core.handshake import RequestHead, ResponseHead

INCOMING = [
    (frame(TEXT, "hi", key=None), "< frame: text fin, 2 bytes"),
    (frame(BINARY, bytes(70_000), fin=False, key=None), "< frame: binary, 70000 bytes"),
    (frame(CONTINUATION, bytes(300), key=None), "< frame: continuation fin, 300 bytes"),
    (frame(TEXT, b"", rsv=4, key=None), "< frame: text fin rsv1, 0 bytes"),
    (frame(0x3, b"x", rsv=3, key=None), "< frame: opcode 0x3 fin rsv2 rsv3, 1 bytes"),
    (frame(CLOSE, b"\x03\xe8", key=None), "< frame: close fin, 2 bytes"),
]


def make(*, heads: bool = False, frames: bool = False) -> tuple[Transcript, list[str]]:
    lines: list[str] = []
    return Transcript(lines.append, heads=heads, frames=frames), lines


@given(some.lists(some.integers(0, 71_000), max_size=8))
def test_frames_are_found_wherever_the_stream_is_cut(cuts: list[int]) -> None:
    transcript, lines = make(frames=True)
    stream = b"".join(data for data, _ in INCOMING)
    places = [0, *sorted(cuts), len(stream)]
    for start, stop in itertools.pairwise(places):
        transcript.received(stream[start:stop])
    assert lines == [line for _, line in INCOMING]


def test_frames_of_single_bytes_are_found() -> None:
    transcript, lines = make(frames=True)
    for byte in frame(PING, "hi") + frame(TEXT, "x" * 200):
        transcript.sent(bytes([byte]))
    key = "masked with 12345678"
    assert lines == [f"> frame: ping fin, 2 bytes, {key}", f"> frame: text fin, 200 bytes, {key}"]


def test_what_is_no_frame_is_told_once() -> None:
    transcript, lines = make(frames=True)
    for _ in range(2):
        transcript.received(frame(TEXT, "masked, by a server"))
    assert lines == ["< what comes here is no frame: masked frame (RFC 6455 §5.1)"]


def _begin(transcript: Transcript) -> None:
    transcript.begin("connect to h:1")


def _request(transcript: Transcript) -> None:
    transcript.request(RequestHead("GET", "/", "1.1", [("Host", "h:1")]))


def _response(transcript: Transcript) -> None:
    transcript.response(ResponseHead(404, "Not Found", "1.1", [("Server", "x")]))


@pytest.mark.parametrize(
    ("step", "shown"),
    [
        (_begin, ["* connect to h:1"]),
        (_request, ["> GET / HTTP/1.1", "> Host: h:1", ">"]),
        (_response, ["< HTTP/1.1 404 Not Found", "< Server: x", "<"]),
    ],
)
def test_heads_are_shown_where_wanted(step: Callable[[Transcript], None], shown: list[str]) -> None:
    for heads in (True, False):
        transcript, lines = make(heads=heads)
        step(transcript)
        assert lines == (shown if heads else [])


def test_next_connection_begins_with_a_frame_of_its_own() -> None:
    transcript, lines = make(frames=True)
    transcript.received(frame(TEXT, "cut off", key=None)[:-3])
    _request(transcript)
    transcript.received(frame(PING, key=None))
    assert lines == ["< frame: text fin, 7 bytes", "< frame: ping fin, 0 bytes"]
