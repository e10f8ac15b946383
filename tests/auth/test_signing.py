"""Signed texts: nobody else can write them, and secrets are compared in constant time."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_middleware.auth.signing import (
    Signer,
    decode_base64url,
    encode_base64url,
    equals,
    fingerprint,
)

KEY, OTHER_KEY = b"k" * 16, b"o" * 32


@given(st.binary())
def test_base64url_round_trip(data: bytes) -> None:
    text = encode_base64url(data)
    assert decode_base64url(text) == data
    assert "=" not in text


@pytest.mark.parametrize(
    "text", ["a", "ab=", "a+b/", "YQ==", "YR", "a b", "\xe4", "\N{SNOWMAN}", "YQ\n"]
)
def test_other_texts_are_not_base64url(text: str) -> None:
    with pytest.raises(ValueError, match="base64url"):
        decode_base64url(text)


@given(st.binary(max_size=40))
def test_what_was_signed_is_opened(payload: bytes) -> None:
    assert Signer(KEY, "a").open(Signer(KEY, "a").sign(payload)) == payload


@pytest.mark.fault(40)
def test_what_was_changed_is_not_opened() -> None:
    signer = Signer(KEY, "a")
    data = decode_base64url(signer.sign(b"payload"))
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        assert signer.open(encode_base64url(bytes(changed))) is None
    for text in ("", "x", "!", encode_base64url(data[:-1]), encode_base64url(data + b"x")):
        assert signer.open(text) is None


def test_purposes_and_keys_do_not_mix() -> None:
    signed = Signer(KEY, "a").sign(b"x")
    assert Signer(KEY, "b").open(signed) is None
    assert Signer(OTHER_KEY, "a").open(signed) is None
    assert Signer(None, "a").open(Signer(None, "a").sign(b"x")) is None


def test_keys_can_be_replaced() -> None:
    old, both = Signer(KEY, "a"), Signer([OTHER_KEY, KEY], "a")
    assert both.open(old.sign(b"x")) == b"x"
    assert Signer(OTHER_KEY, "a").open(both.sign(b"x")) == b"x"
    assert old.open(both.sign(b"x")) is None


@pytest.mark.row(227)
@pytest.mark.fault(104)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_child_has_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    own, shared = Signer(None, "a"), Signer(KEY, "a")
    signed, signed_shared = own.sign(b"x"), shared.sign(b"x")
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert own.open(signed) is None
    assert own.open(own.sign(b"x")) == b"x"
    assert shared.open(signed_shared) == b"x"


@pytest.mark.parametrize(
    "keys", [b"", b"short", [], [KEY, b"short"], "a text of sixteen", ["x" * 16]]
)
def test_keys_have_to_be_keys(keys: bytes) -> None:
    with pytest.raises(ValueError, match="key"):
        Signer(keys, "a")


@pytest.mark.row(201)
def test_secrets_are_equal_or_not() -> None:
    assert equals("", "")
    assert equals("p\xe4ss\udcff", "p\xe4ss\udcff")
    for one, other in [("a", ""), ("", "a"), ("a", "A"), ("secret", "secre"), ("a", "a\0")]:
        assert not equals(one, other)
    assert len(fingerprint("")) == len(fingerprint("x" * 1000))
