"""What answers a challenge: Basic (RFC 7617) and Digest (RFC 7616), computed from values.

Clients send what is computed here, and the server compares with it. All text is UTF-8; hashes
are lower-case hexadecimal.
"""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections.abc import Callable
from typing import Any
from urllib.parse import quote as percent_encode

from ws_middleware.auth.schemes import Challenge, format_challenge, has_controls, quote
from ws_middleware.core.headers import safe_text

__all__ = [
    "ALGORITHMS",
    "basic_credentials",
    "digest_credentials",
    "digest_response",
    "digest_secret",
    "hash_name",
    "hash_text",
    "normalize",
]

#: The hash functions of Digest (RFC 7616 §6.1), the strongest first.
ALGORITHMS: dict[str, Callable[[bytes], Any]] = {
    "SHA-512-256": lambda data: hashlib.new("sha512_256", data),
    "SHA-256": hashlib.sha256,
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False),
}


def normalize(text: str) -> str:
    """Give the one spelling of a user name or password (NFC, RFC 7617 §2.1)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def basic_credentials(user: str, password: str) -> str:
    """Write an `Authorization` value for Basic (RFC 7617 §2).

    >>> basic_credentials("Aladdin", "open sesame")
    'Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=='
    """
    if ":" in user:
        raise ValueError("a user name with a colon cannot be sent with Basic (RFC 7617 §2)")
    if has_controls(user + password):
        raise ValueError("control characters cannot be sent with Basic (RFC 7617 §2)")
    pair = normalize(f"{user}:{password}").encode()
    return "Basic " + base64.b64encode(pair).decode("ascii")


def hash_name(algorithm: str) -> str:
    """Give the name of an algorithm's hash function, which its -sess variant shares."""
    name = algorithm.upper().removesuffix("-SESS")
    if name not in ALGORITHMS:
        raise ValueError(f"{safe_text(algorithm)} is not an algorithm of Digest (RFC 7616 §6.1)")
    return name


def hash_text(algorithm: str, *parts: str) -> str:
    """Hash the parts joined by colons; `algorithm` is one of RFC 7616 §6.1, -sess or not.

    >>> hash_text("MD5", "Mufasa", "http-auth@example.org", "Circle of Life")
    '3d78807defe7de2157e2b0b6573a855f'
    """
    digest: str = ALGORITHMS[hash_name(algorithm)](
        ":".join(parts).encode("utf-8", "surrogateescape")
    ).hexdigest()
    return digest


def digest_secret(algorithm: str, user: str, realm: str, password: str) -> str:
    """Compute what a server may store in the place of a password: H(user:realm:password).

    It is worth as much as the password within its realm (RFC 7616 §5.13).
    """
    return hash_text(algorithm, user, realm, normalize(password))


def digest_response(
    secret: str,
    *,
    algorithm: str,
    method: str,
    uri: str,
    nonce: str,
    nc: str = "",
    cnonce: str = "",
    qop: str = "auth",
) -> str:
    """Compute `response` (RFC 7616 §3.4.1) of a `digest_secret`; `nc` is 8 hex digits.

    With an empty method it is the server's `rspauth` (§3.5); with an empty `qop` the response
    of RFC 2069, which only clients may still want.
    """
    if algorithm.lower().endswith("-sess"):
        secret = hash_text(algorithm, secret, nonce, cnonce)  # §3.4.2
    request = hash_text(algorithm, method, uri)  # §3.4.3
    numbered = (nc, cnonce, qop) if qop else ()
    return hash_text(algorithm, secret, nonce, *numbered, request)


def digest_credentials(
    challenge: Challenge,
    user: str,
    password: str,
    *,
    uri: str,
    cnonce: str,
    count: int = 1,
    method: str = "GET",
) -> str:
    """Write the `Authorization` value that answers a Digest challenge (RFC 7616 §3.4).

    `uri` is the request target, `count` how many requests used this nonce, this one included.
    `ValueError` for a challenge that cannot be answered: it has to be ignored (§3.4.6).
    """
    asked = challenge.parameters
    realm, nonce, algorithm, qop = _check_digest(challenge)
    secret = digest_secret(algorithm, user, realm, password)
    nc = f"{count:08x}"
    response = digest_response(
        secret,
        algorithm=algorithm,
        method=method,
        uri=uri,
        nonce=nonce,
        nc=nc,
        cnonce=cnonce,
        qop=qop,
    )
    answer = _name_user(user, realm, algorithm, asked.get("userhash", "").lower() == "true")
    answer |= {"realm": quote(realm), "nonce": quote(nonce), "uri": quote(uri)}
    answer["response"] = quote(response)
    if "algorithm" in asked:
        answer["algorithm"] = algorithm
    if "opaque" in asked:
        answer["opaque"] = quote(asked["opaque"])
    if qop:
        answer |= {"qop": qop, "nc": nc, "cnonce": quote(cnonce)}
    return format_challenge("Digest", answer)


def _check_digest(challenge: Challenge) -> tuple[str, str, str, str]:
    """Give realm, nonce, algorithm and qop of a challenge that can be answered."""
    asked = challenge.parameters
    if challenge.scheme != "digest" or not asked.keys() >= {"realm", "nonce"}:
        raise ValueError("this is not a challenge of Digest with a realm and a nonce")
    options = [option.strip().lower() for option in asked.get("qop", "auth").split(",")]
    if "auth" not in options:
        raise ValueError("only the quality of protection 'auth' is spoken here (RFC 7616 §3.3)")
    # Without qop in the challenge the response is that of RFC 2069, and says no qop either.
    qop = "auth" if "qop" in asked else ""
    return asked["realm"], asked["nonce"], asked.get("algorithm", "MD5"), qop


def _name_user(user: str, realm: str, algorithm: str, hashed: bool) -> dict[str, str]:
    if hashed:
        name = hash_text(algorithm, user, realm)  # §3.4.4
        return {"username": quote(name), "userhash": "true"}
    quoted = quote(user)
    if user.isascii():
        return {"username": quoted}
    # "if the username contains characters not allowed inside the ABNF quoted-string" (§3.4)
    return {"username*": "UTF-8''" + percent_encode(user, safe="")}
