"""Masks, frames and close bodies: what is written can be read, and all readers agree."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.core.wire import read_frames
from tests.properties.strategies import keys, payloads, sessions
from ws_middleware.core.codec import (
    decode_frame,
    decode_frames,
    decode_header,
    decode_messages,
    encode_frame,
    legal_first_bytes,
    mask,
    rotate_key,
)
from ws_middleware.core.frames import (
    Close,
    Frame,
    Opcode,
    decode_close,
    encode_close,
    is_valid_close_code,
    truncate_reason,
)
from ws_middleware.core.messages import fragment
from ws_middleware.errors import ProtocolError

PLAIN = legal_first_bytes(frozenset())
MARKED = legal_first_bytes(frozenset({0x41, 0x42, 0x03, 0x0B}))
NO_LIMIT = 2**63

frames = st.builds(
    lambda opcode, bits, payload: Frame.from_first_byte(0x80 | bits << 4 | opcode, payload),
    st.sampled_from(Opcode),
    st.integers(0, 7),
    st.binary(max_size=125),
)


# --- masks ---


@given(payloads, keys)
@pytest.mark.row(104)
def test_masking_twice_changes_nothing(data: bytes, key: bytes) -> None:
    assert mask(mask(data, key), key) == data


@given(st.binary(max_size=3000), keys)
@pytest.mark.row(104)
def test_each_octet_is_masked_with_its_octet_of_the_key(data: bytes, key: bytes) -> None:
    assert mask(data, key) == bytes(octet ^ key[i % 4] for i, octet in enumerate(data))


@given(st.binary(max_size=3000), keys, st.integers(0, 3000))
@pytest.mark.row(104)
def test_masking_goes_on_behind_any_number_of_octets(data: bytes, key: bytes, cut: int) -> None:
    parts = mask(data[:cut], key) + mask(data[cut:], rotate_key(key, min(cut, len(data))))
    assert parts == mask(data, key)


# --- frames ---


@given(frames, st.one_of(st.just(b""), keys))
@pytest.mark.row(99, 101)
def test_frames_that_are_written_can_be_read(frame: Frame, key: bytes) -> None:
    data = encode_frame(frame.first_byte, frame.payload, key)
    (received,) = read_frames(data, masked=bool(key))
    assert (received.opcode, received.payload) == (frame.opcode, frame.payload)
    legal = bytes(1 for _ in range(256))
    assert decode_frame(data + b"behind", legal, 0x80 if key else 0) == (frame, len(data))


@given(payloads, keys, st.booleans())
@pytest.mark.row(99, 101)
def test_payloads_of_any_size_can_be_read(payload: bytes, key: bytes, masked: bool) -> None:
    data = encode_frame(0x82, payload, key if masked else b"")
    decoded = decode_frames(data, 0, PLAIN, 0x80 * masked, NO_LIMIT, 9)
    assert decoded == ([(0x82, payload)], len(data))
    assert decode_frame(data, PLAIN, 0x80 * masked) == (Frame(Opcode.BINARY, payload), len(data))


@given(payloads, st.integers(1, 70000), st.booleans())
@pytest.mark.row(105)
def test_fragments_make_the_frame_again(payload: bytes, size: int, fin: bool) -> None:
    whole = Frame(Opcode.BINARY, payload, fin=fin, rsv2=True)
    first, *others = fragment(whole, max(size, len(payload) // 50 + 1))
    assert b"".join(part.payload for part in (first, *others)) == payload
    assert first.opcode == Opcode.BINARY
    assert all(part.opcode == Opcode.CONTINUATION for part in others)
    assert [part.fin for part in (first, *others)] == [False] * len(others) + [fin]


def decode_one_by_one(data: bytes, legal: bytes) -> tuple[list[Frame], int]:
    """Read frames with `decode_frame` until there is none, or until one is wrong."""
    found = []
    position = 0
    try:
        while (decoded := decode_frame(data[position:], legal, 0x80)) is not None:
            found.append(decoded[0])
            position += decoded[1]
    except ProtocolError:
        pass
    return found, position


def decode_batches(data: bytes, legal: bytes, limit: int) -> tuple[list[tuple[int, bytes]], int]:
    """Read frames with `decode_frames`, and with the other functions where that stops."""
    found: list[tuple[int, bytes]] = []
    position = 0
    while True:
        batch, position = decode_frames(data, position, legal, 0x80, limit, 16)
        found += batch
        if batch:
            continue
        try:
            decoded = decode_frame(data[position:], legal, 0x80)
        except ProtocolError:
            return found, position
        if decoded is None:
            return found, position
        frame, size = decoded
        assert len(frame.payload) > limit, "it should have been in the batch"
        found.append((frame.first_byte, frame.payload))
        position += size


@given(sessions(), st.sampled_from([PLAIN, MARKED]), st.sampled_from([3, 65535]))
@example(bytes.fromhex("81fe0002 00000000 6869"), PLAIN, 65535)  # a length of 16 bits
@pytest.mark.row(124, 128)
def test_all_decoders_agree(data: bytes, legal: bytes, limit: int) -> None:
    expected, end = decode_one_by_one(data, legal)
    decoded, position = decode_batches(data, legal, limit)
    assert decoded == [(one.first_byte, one.payload) for one in expected]
    assert position == end


@given(sessions())
@pytest.mark.row(123, 124)
def test_messages_are_the_frames_that_hold_them(data: bytes) -> None:
    messages, position = decode_messages(data, 0, 0x80, NO_LIMIT, 99)
    frames, _ = decode_frames(data, 0, PLAIN, 0x80, NO_LIMIT, len(messages))
    assert frames == [
        (0x81, one.encode()) if isinstance(one, str) else (0x82, one) for one in messages
    ]
    following, _ = decode_frames(data, position, PLAIN, 0x80, NO_LIMIT, 1)
    for first, payload in following:
        assert first not in (0x81, 0x82) or (
            first == 0x81 and "\ufffd" in payload.decode(errors="replace")
        )


@given(sessions())
@example(b"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00")
@pytest.mark.row(128)
def test_header_fails_with_its_first_bytes_or_not_at_all(data: bytes) -> None:
    outcomes: list[str] = []
    for size in range(min(len(data), 16)):
        try:
            header = decode_header(data[:size], 0, PLAIN, 0x80)
            outcomes.append("incomplete" if header is None else f"{header}")
        except ProtocolError as error:
            outcomes.append(f"{error}")
    settled = [outcome for outcome in outcomes if outcome != "incomplete"]
    assert len(set(settled)) <= 1
    assert outcomes == ["incomplete"] * (len(outcomes) - len(settled)) + settled


# --- close bodies ---


@given(st.integers(-1, 70000), st.text(max_size=130))
@example(1005, "")
@example(1005, "reason")
@pytest.mark.row(130, 146, 147, 148, 149, 150, 152)
def test_close_bodies_that_are_written_can_be_read(code: int, reason: str) -> None:
    try:
        payload = encode_close(Close(code, reason))
    except ValueError:
        empty = code == 1005 and not reason
        assert not empty
        assert (
            not is_valid_close_code(code)
            or len(reason.encode(errors="replace")) > 123
            or (any("\ud800" <= character <= "\udfff" for character in reason))
        )
    else:
        assert len(payload) <= 125
        assert decode_close(payload) == Close(code, reason)


@given(st.binary(max_size=125))
@pytest.mark.row(131, 132, 146, 150)
def test_close_bodies_that_can_be_read_can_be_written(payload: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert encode_close(decode_close(payload)) == payload


@given(st.text())
@example("é" * 62)
@example("\N{GRINNING FACE}" * 31)
@pytest.mark.row(152)
def test_reasons_are_cut_between_characters(reason: str) -> None:
    cut = truncate_reason(reason)
    assert reason.startswith(cut)
    assert len(cut.encode()) <= 123
    assert cut == reason or len((cut + reason[len(cut)]).encode()) > 123
