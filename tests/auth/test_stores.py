"""Passwords in mappings: right, wrong, unknown; and what an unknown user costs."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from werkzeug.security import generate_password_hash

from ws_middleware.auth import stores
from ws_middleware.auth.answers import digest_secret, hash_text
from ws_middleware.auth.stores import DigestPasswords, HashedNames, HashedPasswords, Passwords

USERS = {"alice": "secret", "bob": "", "J\xe4s\xf8n": "p\xe4ss"}


@pytest.mark.row(201)
@pytest.mark.fault(35, 36)
def test_passwords_are_checked_live() -> None:
    users = dict(USERS)
    check = Passwords(users)
    assert check("alice", "secret")
    assert check("bob", "")
    assert check("J\xe4s\xf8n", "p\xe4ss")
    for user, password in [
        ("alice", "secre"),
        ("alice", "Secret"),
        ("Alice", "secret"),
        ("eve", ""),
    ]:
        assert not check(user, password)
    users["eve"] = "x"
    del users["bob"]
    assert check("eve", "x")
    assert not check("bob", "")


@pytest.mark.fault(36)
def test_stored_passwords_have_one_normal_form() -> None:
    assert Passwords({"a": "pa\u0308ss"})("a", "p\xe4ss")
    assert DigestPasswords({"a": "pa\u0308ss"})("a", "r", "MD5") == digest_secret(
        "MD5", "a", "r", "p\xe4ss"
    )


def test_hashes_of_werkzeug() -> None:
    hashes = {"alice": generate_password_hash("secret", "pbkdf2:sha256:10")}
    check = HashedPasswords(hashes)
    assert check("alice", "secret")
    assert not check("alice", "wrong")
    assert not check("eve", "secret")
    assert not HashedPasswords({})("eve", "")


@pytest.mark.fault(37)
@pytest.mark.parametrize(
    ("store", "function"),
    [
        (Passwords(USERS), "equals"),
        (
            HashedPasswords({"alice": generate_password_hash("x", "pbkdf2:sha256:10")}),
            "check_password_hash",
        ),
    ],
)
def test_someone_unknown_costs_as_much(
    store: Any, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Mock(wraps=getattr(stores, function))
    monkeypatch.setattr(stores, function, spy)
    for user in ("alice", "eve"):
        assert not store(user, "wrong")
    assert spy.call_count == 2


@pytest.mark.fault(37)
def test_someone_unknown_costs_the_same_hash_with_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Mock(return_value="secret")
    monkeypatch.setattr(stores, "digest_secret", spy)
    found = [DigestPasswords(USERS)(user, "r", "MD5") for user in ("alice", "bob", "eve")]
    assert found == ["secret", "secret", None]
    assert spy.call_count == 3


@pytest.mark.row(218)
def test_users_are_found_by_their_hash_also_new_ones() -> None:
    users = dict(USERS)
    reveal = HashedNames(DigestPasswords(users), "r")

    def found(user: str, algorithm: str = "SHA-256") -> str | None:
        return reveal(hash_text(algorithm, user, "r"), algorithm)

    assert found("alice") == "alice"
    assert found("alice", "MD5") == "alice"
    assert found("eve") is None
    del users["bob"]
    users["eve"] = "x"
    assert found("eve") == "eve"
    assert reveal(hash_text("SHA-256", "alice", "another realm"), "SHA-256") is None


@pytest.mark.fault(38)
def test_hashes_of_nobody_are_not_computed_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reveal = HashedNames(DigestPasswords(USERS), "r")
    assert reveal("0" * 64, "SHA-256") is None
    monkeypatch.setattr(stores, "hash_text", None)
    assert reveal("1" * 64, "SHA-256") is None


def test_names_need_a_store_that_lists_them() -> None:
    with pytest.raises(ValueError, match=r"users\(\)"):
        HashedNames(print, "r")
