"""How messages and refusals look, and how input becomes messages: without a connection."""

from __future__ import annotations

import asyncio
import os
import ssl
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ws_middleware.cli.forms import Form, escape
from ws_middleware.cli.inputs import InputError, read_lines
from ws_middleware.cli.refusal import MAX_BODY_SHOWN, explain
from ws_middleware.errors import HandshakeError, HandshakeRefused


@given(some.text())
def test_nothing_that_is_shown_steers_a_terminal(text: str) -> None:
    shown = escape(text)
    assert not [one for one in shown if unicodedata.category(one) == "Cc" and one not in "\n\t"]
    assert all(line.startswith("  ") for line in shown.split("\n")[1:])
    assert not {"\u202e", "\u2066", "\u2028", "\ud800", "\U000e0001"} & set(shown)


@pytest.mark.parametrize(
    "text", ["plain", "tab\there", "\u00e9\u00e8 \u4e2d\u6587 \U0001f468\u200d\U0001f469", ""]
)
def test_harmless_text_is_left_alone(text: str) -> None:
    assert escape(text) == text


@given(some.binary())
def test_binary_messages_can_be_read_back(data: bytes) -> None:
    for form in (Form("hex"), Form("base64")):
        assert form.read(form.write(data).rstrip()) == data
    assert Form("raw").write(data) == Form("raw").read(data) == data


def test_json_that_is_none_or_too_deep_is_left_alone() -> None:
    form = Form(pretty=True)
    for text in ("no JSON", "", "[" * 100_000, "1" * 5000):
        assert form.write(text) == text.encode() + b"\n"


def test_long_binary_messages_are_shortened_for_people_alone() -> None:
    assert Form().show(bytes(300)) == f"< (300 bytes) {bytes(256).hex(' ')} ..."
    assert Form("base64").show(b"\0\xff") == "< (2 bytes) AP8="
    assert len(Form().write(bytes(300))) == 601


@given(some.lists(some.binary(max_size=20).map(lambda line: line.replace(b"\n", b""))))
def test_lines_are_found_wherever_blocks_end(lines: list[bytes]) -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, b"".join(line + b"\n" for line in lines))
        os.close(writing)
        read = asyncio.run(_collect(reading, 100))
    finally:
        os.close(reading)
    assert read == [line.removesuffix(b"\r") for line in lines]


async def _collect(descriptor: int, max_size: int) -> list[bytes]:
    return [line async for line in read_lines(descriptor, max_size)]


def test_input_that_cannot_be_read_is_told() -> None:
    folder = os.open("/", os.O_RDONLY)
    try:
        with pytest.raises(InputError, match="cannot read the input: Is a directory"):
            asyncio.run(_collect(folder, 1))
    finally:
        os.close(folder)


def test_long_body_of_a_refusal_is_shortened() -> None:
    told = explain(HandshakeRefused(404, "it refused", (), b"x" * 10_000))
    assert f"\n{'x' * MAX_BODY_SHOWN}...\n" in told
    assert told.startswith("refused: it refused\n")
    assert told.endswith("hint: there is nothing at this path")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (HandshakeError(101, "wrong answer"), "cannot connect: wrong answer"),
        (HandshakeRefused(418, "teapot"), "refused: teapot"),
        (ConnectionRefusedError(111, "Connect call failed"), "cannot connect: Connection refused"),
        (OSError(-2, "Name or service not known"), "cannot connect: Name or service not known"),
    ],
)
def test_failures_are_told_in_a_line(error: Exception, told: str) -> None:
    assert explain(error) == told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConnectionError("it ended"), "cannot connect: it ended"),
        (ssl.SSLError(1, "[SSL] wrong version"), "cannot connect: [SSL] wrong version"),
    ],
)
def test_failures_that_a_wrong_scheme_has_come_with_a_hint(error: Exception, told: str) -> None:
    assert explain(error).splitlines() == [
        told,
        "hint: is the URL's scheme right? wss:// means TLS, ws:// means none",
    ]
