"""Frames as values, and what a close frame may say."""

from __future__ import annotations

from typing import Any

import pytest

from ws_middleware.core.frames import (
    Close,
    CloseCode,
    Frame,
    Opcode,
    decode_close,
    encode_close,
    is_valid_close_code,
    truncate_reason,
)
from ws_middleware.errors import ProtocolError

#: RFC 6455 §7.4, spelled out once more: what may stand in a close frame.
VALID_CODES = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}


# --- frames ---


@pytest.mark.parametrize("first", range(256))
def test_first_byte_and_its_fields_are_the_same(first: int) -> None:
    frame = Frame.from_first_byte(first, b"payload")
    assert frame.first_byte == first
    assert frame.payload == b"payload"
    assert not frame.partial


@pytest.mark.parametrize(
    ("frame", "first"),
    [
        (Frame(Opcode.CONTINUATION, fin=False), 0b0000_0000),
        (Frame(Opcode.TEXT), 0b1000_0001),
        (Frame(Opcode.BINARY, rsv1=True), 0b1100_0010),
        (Frame(Opcode.CLOSE, rsv2=True), 0b1010_1000),
        (Frame(Opcode.PING, rsv3=True), 0b1001_1001),
        (Frame(Opcode.PONG, rsv1=True, rsv2=True, rsv3=True), 0b1111_1010),
        (Frame(0xF, fin=False), 0b0000_1111),
    ],
)
def test_bits_stand_where_the_rfc_puts_them(frame: Frame, first: int) -> None:
    assert frame.first_byte == first


def test_marks_for_ourselves_are_not_on_the_wire() -> None:
    assert Frame(1, partial=True, compress=False).first_byte == Frame(1).first_byte
    assert Frame.from_first_byte(0x81, b"", partial=True).partial


@pytest.mark.parametrize("opcode", range(16))
def test_control_frames_have_the_top_bit_of_the_opcode(opcode: int) -> None:
    assert Frame(opcode).is_control == (opcode >= 8)


# --- close codes ---


@pytest.mark.row(146, 147, 148, 149, 150)
def test_exactly_the_codes_of_the_rfc_are_valid() -> None:
    assert {code for code in range(-1, 65537) if is_valid_close_code(code)} == VALID_CODES


@pytest.mark.row(130, 149)
@pytest.mark.parametrize("code", [1000, 1003, 1007, 1014, 3000, 4999])
@pytest.mark.parametrize("reason", ["", "bye", "tschüß", "\x00", "\U0001f44b" * 30 + "abc"])
def test_close_is_read_as_it_was_written(code: int, reason: str) -> None:
    payload = encode_close(Close(code, reason))
    assert payload == code.to_bytes(2, "big") + reason.encode()
    assert decode_close(payload) == Close(code, reason)


@pytest.mark.row(130)
def test_close_without_a_code_is_empty() -> None:
    assert encode_close(Close(CloseCode.NO_STATUS)) == b""
    assert decode_close(b"") == Close(1005, "")


@pytest.mark.row(146, 147, 148, 150)
@pytest.mark.parametrize(
    "code", [-1, 0, 999, 1004, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535, 65536]
)
def test_codes_that_may_not_be_sent_are_refused(code: int) -> None:
    with pytest.raises(ValueError, match=f"close code {code} cannot be sent"):
        encode_close(Close(code))


@pytest.mark.parametrize("code", ["bye", None])
def test_close_code_has_to_be_a_number(code: Any) -> None:
    with pytest.raises(TypeError, match=f"a close code is a number such as 1000, not {code!r}"):
        encode_close(Close(code))


@pytest.mark.row(146)
def test_a_reason_needs_a_code() -> None:
    with pytest.raises(ValueError, match="close code 1005 cannot be sent"):
        encode_close(Close(CloseCode.NO_STATUS, "why"))


@pytest.mark.row(146, 147, 148, 150)
@pytest.mark.parametrize(
    "code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535]
)
def test_codes_that_may_not_come_are_protocol_errors(code: int) -> None:
    with pytest.raises(ProtocolError, match=f"invalid code {code} ") as caught:
        decode_close(code.to_bytes(2, "big"))
    assert caught.value.code == 1002


@pytest.mark.row(131)
@pytest.mark.parametrize("byte", [b"\x00", b"\x03", b"\xff"])
def test_close_of_one_byte_is_a_protocol_error(byte: bytes) -> None:
    with pytest.raises(ProtocolError, match="one byte") as caught:
        decode_close(byte)
    assert caught.value.code == 1002


@pytest.mark.row(132)
@pytest.mark.parametrize("reason", [b"\xff", b"ok \xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5"])
def test_reason_that_is_not_utf8_is_invalid_data(reason: bytes) -> None:
    with pytest.raises(ProtocolError, match="not valid UTF-8") as caught:
        decode_close(b"\x03\xe8" + reason)
    assert caught.value.code == 1007


def test_invalid_code_comes_before_invalid_reason() -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_close(b"\x00\x00\xff")
    assert caught.value.code == 1002


# --- reasons ---


@pytest.mark.row(152)
@pytest.mark.parametrize("reason", ["a" * 123, "€" * 41, "\U0001f44b" * 30 + "abc"])
def test_reason_of_123_bytes_is_sent(reason: str) -> None:
    assert len(encode_close(Close(1000, reason))) == 125
    assert truncate_reason(reason) == reason


@pytest.mark.row(152)
@pytest.mark.parametrize(
    ("reason", "cut"),
    [
        ("a" * 124, "a" * 123),
        ("ä" * 62, "ä" * 61),
        ("€" * 41 + "a", "€" * 41),
        ("a" + "€" * 41, "a" + "€" * 40),
        ("ab" + "€" * 41, "ab" + "€" * 40),
        ("\U0001f44b" * 31, "\U0001f44b" * 30),
    ],
)
def test_longer_reason_is_refused_or_cut_between_characters(reason: str, cut: str) -> None:
    with pytest.raises(ValueError, match=f"takes {len(reason.encode())} bytes"):
        encode_close(Close(1000, reason))
    assert truncate_reason(reason) == cut
    assert len(encode_close(Close(1000, cut))) <= 125


def test_reason_that_has_no_utf8_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        encode_close(Close(1000, "\ud800"))
