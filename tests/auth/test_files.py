"""Passwords in files: Apache's own, and read again when they change."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.auth.asking import answer, ask, make_request, refusal
from ws_middleware.auth.answers import basic_credentials, digest_secret
from ws_middleware.auth.basic import Basic
from ws_middleware.auth.digest import Digest
from ws_middleware.auth.files import Htdigest, Htpasswd

#: What `htpasswd` of Apache 2.4 writes for the password "s\xe4cret", one line for each option.
HTPASSWD = """\
# users

bcrypt:$2y$04$AfDIz3by00ugas9wdW0NGOubxN6JLBAU/KzsswSHVg.081ztm5YFG
apr1:$apr1$rIbcpcs3$g/9JKloKyvrsskCMyk.zb.
sha1:{SHA}GrUNlBJXX+XtC9Rk2ePgbydNtzg=
sha256:$5$rounds=1000$XkqHO/HD9C.nmv9r$/jxT7rv9QYCJy08OFL/jHsdRHR/fupub00nb.I67Mg9
sha512:$6$rounds=1000$1j1C.hIS0Lohhc/C$owX/4..beWtfB/mJGs00ELpFtETi7MwRJGqojxb0xLtRJ3XAHpzjaT.\
SBPAgeHe3bRIrgpwDw9fdrnNsVTA5J0
"""
KINDS = ["bcrypt", "apr1", "sha1", "sha256", "sha512"]
#: The same for a hundred times "x", of which bcrypt takes 72 bytes.
LONG = "long:$2y$04$nZvksiQ9/3Q20HniDtMHeuTvVvwgc5SboqewNM6uwewp1OcakScDu"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users"


# --- htpasswd ---


@pytest.fixture
def htpasswd(path: Path) -> Htpasswd:
    path.write_text(HTPASSWD, encoding="utf-8")
    return Htpasswd(path)


@pytest.mark.parametrize("kind", KINDS)
def test_hashes_that_htpasswd_writes(kind: str, htpasswd: Htpasswd) -> None:
    assert htpasswd(kind, "s\xe4cret")
    assert not htpasswd(kind, "secret")
    assert not htpasswd(kind, "")
    assert not htpasswd("nobody", "s\xe4cret")


def test_basic_reads_the_file(htpasswd: Htpasswd) -> None:
    basic = Basic(htpasswd)
    assert basic.blocking
    assert ask(basic, make_request(basic_credentials("apr1", "s\xe4cret"))) == "apr1"
    assert refusal(basic, make_request(basic_credentials("apr1", "wrong"))).status == 401


def test_bcrypt_looks_at_72_bytes(path: Path) -> None:
    path.write_text(LONG)
    assert Htpasswd(path)("long", "x" * 100)
    assert not Htpasswd(path)("long", "x" * 71)


@pytest.mark.row(201)
@pytest.mark.fault(37)
def test_someone_unknown_costs_a_hash(htpasswd: Htpasswd, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Mock(return_value=False)
    monkeypatch.setattr(htpasswd, "_verify", spy)
    for user in ("bcrypt", "nobody"):
        assert not htpasswd(user, "x")
    first, second = spy.call_args_list
    assert first == second


def test_file_without_users_admits_nobody(path: Path) -> None:
    path.write_text("# nobody\n")
    assert not Htpasswd(path)("", "")


@pytest.mark.parametrize("line", ["u", "u:", "u:secret", "u:6HEsbY1uHRp5E", ":", "x"])
def test_plain_text_and_old_hashes_are_errors(line: str, path: Path) -> None:
    path.write_text(f"# users\n{line}\n")
    with pytest.raises(ValueError, match=r"users: line 2 is no user .* htpasswd -B"):
        Htpasswd(path)


def test_library_that_is_missing_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "passlib.context", None)
    with pytest.raises(ImportError, match=r"ws-middleware\[htpasswd\]"):
        Htpasswd(path)


# --- htdigest ---


@pytest.mark.parametrize("algorithm", ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess"])
def test_digest_reads_the_file(algorithm: str, path: Path) -> None:
    kind = algorithm.removesuffix("-sess")
    path.write_text(f"alice:WebSocket:{digest_secret(kind, 'alice', 'WebSocket', 'x')}\n")
    digest = Digest(Htdigest(path), algorithms=[algorithm], userhash=True)
    assert digest.blocking
    assert ask(digest, make_request(answer(digest, "alice", "x"))).identity == "alice"
    assert refusal(digest, make_request(answer(digest, "bob", "x"))).status == 401


def test_hash_that_htdigest_writes(path: Path) -> None:
    path.write_text(
        "alice:WebSocket:7124c65d82229aefc3e86dd9c44dd55c\nalice:other:7ff:0" + "0" * 31
    )
    htdigest = Htdigest(path)
    assert htdigest("alice", "WebSocket", "MD5") == digest_secret(
        "MD5", "alice", "WebSocket", "secret"
    )
    assert htdigest("alice", "other:7ff", "MD5") == "0" * 32
    assert htdigest("alice", "WebSocket", "SHA-256") is None
    assert htdigest.users() == {"alice"}


@pytest.mark.parametrize("line", ["alice", "alice:realm:", "alice:realm:abc", "alice:secret"])
def test_lines_that_htdigest_does_not_write_are_errors(line: str, path: Path) -> None:
    path.write_text(f"{line}\n")
    with pytest.raises(ValueError, match=r"users: line 1 is not a user, a realm and a hash"):
        Htdigest(path)


# --- changes ---


def test_change_is_seen_and_the_file_not_read_without_one(
    htpasswd: Htpasswd, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", None)
        assert htpasswd("sha1", "s\xe4cret")
    path.write_text(HTPASSWD.replace("sha1", "new1"), encoding="utf-8")
    os.utime(path, ns=(1, 1))  # whatever the clock of this file system
    assert htpasswd("new1", "s\xe4cret")
    assert not htpasswd("sha1", "s\xe4cret")


def test_file_that_is_replaced_is_seen(htpasswd: Htpasswd, path: Path) -> None:
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    other = path.with_name("other")
    other.write_text(HTPASSWD.replace("sha1", "new1"), encoding="utf-8")
    os.utime(other, ns=times)
    other.replace(path)
    assert htpasswd("new1", "s\xe4cret")


def test_file_that_is_gone_or_broken_admits_nobody(htpasswd: Htpasswd, path: Path) -> None:
    path.write_text("broken\n")
    for _ in range(2):
        with pytest.raises(ValueError, match="line 1"):
            htpasswd("sha1", "s\xe4cret")
    path.unlink()
    with pytest.raises(FileNotFoundError):
        htpasswd("sha1", "s\xe4cret")
    with pytest.raises(FileNotFoundError):
        Htdigest(path)
