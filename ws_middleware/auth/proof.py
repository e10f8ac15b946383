"""What a client sends to prove a password with Digest (RFC 7616 §3.4), read and recomputed.

`ValueError` for what cannot be an answer to the challenge; its text holds nothing of what was
sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import unquote, unquote_to_bytes

from ws_middleware.auth.answers import digest_response

__all__ = ["Proof", "read_proof", "split_uri"]

_REQUIRED = ("realm", "nonce", "uri", "response", "opaque", "qop", "nc", "cnonce")
_HEX = frozenset("0123456789abcdefABCDEF")


class Proof(NamedTuple):
    """Hold who says to know a secret, and how he proves it."""

    user: str
    algorithm: str
    uri: str
    nonce: str
    nc: str
    cnonce: str
    response: str

    def compute(self, secret: str, method: str) -> str:
        """Compute the response that proves a secret; with an empty method, the server's."""
        return digest_response(
            secret,
            algorithm=self.algorithm,
            method=method,
            uri=self.uri,
            nonce=self.nonce,
            nc=self.nc,
            cnonce=self.cnonce,
        )


def read_proof(
    given: Mapping[str, str],
    offered: Mapping[str, str],
    algorithms: Mapping[str, str],
    reveal: Callable[[str, str], str | None] | None,
) -> Proof:
    """Read the parameters of credentials; those that nobody knows are ignored.

    `offered` is what has to come back as it was, `algorithms` spells those of the challenge,
    by their names in upper case; `reveal(hash, algorithm)` finds the user behind a userhash.
    """
    for name in _REQUIRED:
        if not given.get(name):
            raise ValueError(f"there is no {name}")
    for name, value in offered.items():
        if given[name] != value:
            raise ValueError(f"{name} is not that of the challenge")
    # "If not present, it is assumed to be "MD5"." (§3.4)
    algorithm = algorithms.get(given.get("algorithm", "MD5").upper())
    if algorithm is None:
        raise ValueError("algorithm is not that of the challenge")
    nc = given["nc"]
    if len(nc) != 8 or not _HEX.issuperset(nc) or nc == "00000000":
        raise ValueError("nc is not a count in 8 hexadecimal digits")
    return Proof(
        _read_user(given, algorithm, reveal),
        algorithm,
        given["uri"],
        given["nonce"],
        nc,
        given["cnonce"],
        given["response"],
    )


def _read_user(
    given: Mapping[str, str], algorithm: str, reveal: Callable[[str, str], str | None] | None
) -> str:
    is_hash = given.get("userhash", "").lower() == "true"
    if is_hash and reveal is None:
        raise ValueError("userhash is not that of the challenge")
    if "username*" in given:
        # "username" and "username*" MUST NOT both be there, nor "username*" with a hash (§3.4)
        if "username" in given or is_hash:
            raise ValueError("username* does not stand alone")
        return _decode_extended(given["username*"])
    user = given.get("username", "")
    if not user or not _is_utf_8(user):
        raise ValueError("there is no username in UTF-8")
    if is_hash and reveal is not None:
        # A hash of nobody is a user that nobody knows.
        return reveal(user, algorithm) or user
    return user


def _is_utf_8(text: str) -> bool:
    # What was not UTF-8 on the wire has become surrogates.
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _decode_extended(value: str) -> str:
    """Read an ext-value (RFC 8187 §3.2), of which UTF-8 is the only charset.

    >>> _decode_extended("UTF-8''J%C3%A4s%C3%B8n")
    'Jäsøn'
    """
    charset, _, rest = value.partition("'")
    _, quote, encoded = rest.partition("'")
    try:
        user = unquote_to_bytes(encoded).decode()
    except UnicodeError:
        user = ""
    if charset.upper() != "UTF-8" or not quote or not user or not user.isprintable():
        raise ValueError("username* is not a name in UTF-8")
    return user


def split_uri(uri: str) -> tuple[str, str]:
    """Give the decoded path and the query of a uri, which may be absolute.

    >>> split_uri("http://example.org/a%62?x")
    ('/ab', 'x')
    """
    path, _, query = uri.partition("?")
    if not path.startswith("/"):
        # The absolute form, "http://host/path" (RFC 9112 §3.2.2).
        _, slash, rest = path.partition("://")[2].partition("/")
        path = slash + rest or "/"
    return unquote(path), query
