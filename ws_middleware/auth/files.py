"""Passwords in files such as Apache's, read again when they change.

A file that cannot be read or understood admits nobody: whoever asks gets the error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

__all__ = ["Htdigest", "Htpasswd"]

#: Given the lines that say something, with their numbers: what they say.
Parse = Callable[[Iterator[tuple[int, str]]], dict[Any, str]]


class _File:
    """Keep what a file says until it changes."""

    def __init__(self, path: str | os.PathLike[str], parse: Parse) -> None:
        self._path = Path(path)
        self._parse = parse
        self._version: tuple[int, int, int] | None = None
        self._entries: dict[Any, str] = {}
        self.read()

    def read(self) -> Mapping[Any, str]:
        """Give what the file says now; `OSError` or `ValueError` where it cannot."""
        status = self._path.stat()
        version = (status.st_mtime_ns, status.st_size, status.st_ino)
        if version != self._version:
            try:
                self._entries = self._parse(self._lines())
            except ValueError as error:
                raise ValueError(f"{self._path}: {error}") from None
            self._version = version
        return self._entries

    def _lines(self) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(self._path.read_text(encoding="utf-8").splitlines(), 1):
            entry = line.strip()
            if entry and not entry.startswith("#"):
                yield number, entry


class Htpasswd:
    """Check passwords against a file that `htpasswd` keeps: for `Basic`.

    The hashes may be bcrypt (`htpasswd -B`), SHA-256 and SHA-512 (`-2`, `-5`), apr1 (`-m`)
    and SHA-1 (`-s`). Needs the extra `htpasswd`.
    """

    #: A good hash takes long.
    blocking = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            from passlib.context import CryptContext
        except ImportError:
            raise ImportError("Htpasswd needs: pip install 'ws-middleware[htpasswd]'") from None
        self._hashes = CryptContext(_KINDS)
        self._file = _File(path, self._parse)

    def _parse(self, lines: Iterator[tuple[int, str]]) -> dict[Any, str]:
        entries = {}
        for number, line in lines:
            user, _, stored = line.partition(":")
            if self._hashes.identify(stored) is None:
                raise ValueError(
                    f"line {number} is no user with a hash that is known here: try htpasswd -B"
                )
            entries[user] = stored
        return entries

    def __call__(self, user: str, password: str) -> bool:
        """Tell whether this is the user's password."""
        entries = self._file.read()
        stored = entries.get(user)
        # Someone unknown costs what somebody else's hash costs.
        any_hash = stored or next(iter(entries.values()), "")
        return bool(any_hash) and self._verify(password, any_hash) and stored is not None

    def _verify(self, password: str, stored: str) -> bool:
        secret = password.encode()
        if self._hashes.identify(stored) == "bcrypt":
            secret = secret[:72]  # it never sees more
        return bool(self._hashes.verify(secret, stored))


#: What passlib calls the hashes that `htpasswd` makes, but for crypt and plain text.
_KINDS = ["bcrypt", "sha256_crypt", "sha512_crypt", "apr_md5_crypt", "ldap_sha1"]


class Htdigest:
    """Give the secrets of Digest out of a file that `htdigest` keeps: for `Digest`.

    Its hashes are MD5; longer ones, of 64 digits, are taken for SHA-256.
    """

    #: A file may be far away.
    blocking = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = _File(path, _parse_secrets)

    def __call__(self, user: str, realm: str, algorithm: str) -> str | None:
        """Give the secret of a user; None for someone unknown."""
        kind = algorithm.upper().removesuffix("-SESS")
        return self._file.read().get((user, realm, kind))

    def users(self) -> Set[str]:
        """List the users."""
        return {user for user, _, _ in self._file.read()}


def _parse_secrets(lines: Iterator[tuple[int, str]]) -> dict[Any, str]:
    entries = {}
    for number, line in lines:
        user, _, rest = line.partition(":")
        realm, _, secret = rest.rpartition(":")
        kind = _KIND_OF_LENGTH.get(len(secret))
        if kind is None:
            raise ValueError(f"line {number} is not a user, a realm and a hash: try htdigest")
        entries[user, realm, kind] = secret.lower()
    return entries


_KIND_OF_LENGTH = {32: "MD5", 64: "SHA-256"}
