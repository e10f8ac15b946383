"""The opening handshake of both roles, on values (RFC 6455 §4).

A request is checked clause by clause in the order of §4.2.1; the first breach is the answer.
`HandshakeError` refuses a request or a response; nothing a peer sent is echoed unchecked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import NamedTuple

from ws_middleware.core.extensions import Agreement, Extension, confirm_response
from ws_middleware.core.headers import (
    Fields,
    Parameter,
    check_fields,
    field_values,
    format_extension,
    parse_extensions,
    parse_host,
    parse_token_list,
    safe_text,
)
from ws_middleware.errors import HandshakeError

__all__ = [
    "RequestHead",
    "ResponseHead",
    "accept_key",
    "check_request",
    "check_response",
    "choose_subprotocol",
    "connection_fields",
    "encode_connect",
    "encode_refusal",
    "encode_request",
    "encode_response",
    "is_attempt",
    "offered_extensions",
    "offered_subprotocols",
    "phrase_of",
    "refusal_fields",
    "request_fields",
    "upgrade_fields",
]

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
VERSION = "13"


class RequestHead(NamedTuple):
    """Hold a request's head: target as sent, version such as "1.1", fields in their order."""

    method: str
    target: str
    version: str
    fields: Fields


class ResponseHead(NamedTuple):
    """Hold a response's head."""

    status: int
    reason: str
    version: str
    fields: Fields


def is_attempt(head: RequestHead) -> bool:
    """Tell whether a request means to open a WebSocket, rightly or wrongly.

    Naming the protocol or sending any of its fields is enough: such a request is upgraded or
    refused, but never answered as if it were an ordinary one.
    """
    return any(
        name.lower().startswith("sec-websocket-")
        or (name.lower() == "upgrade" and "websocket" in value.lower())
        for name, value in head.fields
    )


def accept_key(key: str) -> str:
    """Compute `Sec-WebSocket-Accept` (RFC 6455 §4.2.2).

    >>> accept_key("dGhlIHNhbXBsZSBub25jZQ==")
    's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    """
    return base64.b64encode(hashlib.sha1(key.encode("ascii") + GUID).digest()).decode("ascii")


def check_request(head: RequestHead) -> str:
    """Check a client's opening handshake (RFC 6455 §4.2.1); returns its key."""
    _check_method(head)
    _check_version_and_target(head)
    _check_host(head.fields)
    _check_tokens(head.fields)
    _check_websocket_version(head.fields)
    key = _check_key(head.fields)
    _check_no_body(head.fields)
    offered_subprotocols(head.fields)
    offered_extensions(head.fields)
    return key


def _check_method(head: RequestHead) -> None:
    # "The method of the request MUST be GET", and methods are case-sensitive (RFC 9110 §9.1).
    if head.method != "GET":
        raise HandshakeError(
            405, "a WebSocket is opened with GET (RFC 6455 §4.1)", [("Allow", "GET")]
        )


def _check_version_and_target(head: RequestHead) -> None:
    # "the HTTP version MUST be at least 1.1"; on HTTP/1.x that leaves 1.1.
    if head.version != "1.1":
        raise HandshakeError(400, "a WebSocket is opened with HTTP/1.1 (RFC 6455 §4.1)")
    target = head.target
    absolute = target.lower().startswith(("http://", "https://", "ws://", "wss://"))
    if not (target.startswith("/") or absolute) or "#" in target or not target.isprintable():
        raise HandshakeError(400, "the request target is not a path (RFC 9112 §3.2)")


def _single(fields: Fields, name: str) -> str | None:
    values = field_values(fields, name)
    if len(values) > 1:
        raise HandshakeError(400, f"the {name} field is there more than once")
    return values[0] if values else None


def _check_host(fields: Fields) -> None:
    host = _single(fields, "host")
    if host is None:
        raise HandshakeError(400, "the Host field is missing (RFC 9112 §3.2)")
    try:
        parse_host(host)
    except ValueError:
        raise HandshakeError(400, "the Host field is not a host (RFC 9112 §3.2)") from None


def _check_tokens(fields: Fields) -> None:
    if "websocket" not in _lower_tokens(fields, "upgrade"):
        raise HandshakeError(426, _MISSING.format("upgrade", "websocket"), _UPGRADE_TO)
    if "upgrade" not in _lower_tokens(fields, "connection"):
        raise HandshakeError(400, _MISSING.format("connection", "upgrade"))


def _lower_tokens(fields: Fields, name: str) -> list[str]:
    # The slash before a version (RFC 9110 §7.8) only has to keep other protocols apart.
    values = (value.replace("/", ".") for value in field_values(fields, name))
    try:
        return [token.lower() for token in parse_token_list(values)]
    except ValueError:
        raise HandshakeError(400, f"the {name} field is malformed") from None


_MISSING = (
    "the {} field does not contain {!r} (RFC 6455 §4.2.1); a proxy on the way may have dropped it"
)
_UPGRADE_TO = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", VERSION))


def _check_websocket_version(fields: Fields) -> None:
    versions = field_values(fields, "sec-websocket-version")
    if len(versions) > 1:
        raise HandshakeError(
            400,
            "the Sec-WebSocket-Version field is there more than once (RFC 6455 §11.3.5)",
            [("Sec-WebSocket-Version", VERSION)],
        )
    # "If this version does not match a version understood by the server, the server MUST …
    # send an appropriate HTTP error code (such as 426 Upgrade Required) and a
    # |Sec-WebSocket-Version| header field" (§4.2.2)
    if versions != [VERSION]:
        raise HandshakeError(426, "only Sec-WebSocket-Version 13 is spoken here", _UPGRADE_TO)


def _check_key(fields: Fields) -> str:
    key = _single(fields, "sec-websocket-key")
    if key is None:
        raise HandshakeError(400, "the Sec-WebSocket-Key field is missing (RFC 6455 §4.2.1)")
    try:
        valid = len(base64.b64decode(key, validate=True)) == 16 and len(key) == 24
    except (binascii.Error, ValueError):
        valid = False
    if not valid:
        raise HandshakeError(
            400, "the Sec-WebSocket-Key field is not 16 bytes in base64 (RFC 6455 §4.2.1)"
        )
    return key


def _check_no_body(fields: Fields) -> None:
    # A body would be read as frames, or as the next request.
    length = _single(fields, "content-length")
    if length not in (None, "0") or field_values(fields, "transfer-encoding"):
        raise HandshakeError(400, "the opening handshake has no body")


def offered_subprotocols(fields: Fields) -> list[str]:
    """List the subprotocols a client offers, in its order of preference (§11.3.4)."""
    try:
        offered = parse_token_list(field_values(fields, "sec-websocket-protocol"))
    except ValueError as error:
        raise HandshakeError(400, f"Sec-WebSocket-Protocol: {error}") from None
    # "The elements … MUST all be unique strings" (§4.1)
    if len(set(offered)) != len(offered):
        raise HandshakeError(400, "Sec-WebSocket-Protocol offers a subprotocol twice")
    return offered


def offered_extensions(fields: Fields) -> list[tuple[str, list[Parameter]]]:
    """List the extensions a client offers, in its order of preference (§9.1)."""
    values = field_values(fields, "sec-websocket-extensions")
    try:
        return parse_extensions(",".join(values)) if values else []
    except ValueError as error:
        raise HandshakeError(400, f"Sec-WebSocket-Extensions: {error}") from None


def choose_subprotocol(offered: Iterable[str], supported: Sequence[str]) -> str | None:
    """Choose the first supported subprotocol that was offered: the server's preference."""
    wanted = set(offered)
    return next((name for name in supported if name in wanted), None)


def upgrade_fields(
    key: str, subprotocol: str | None = None, agreements: Iterable[Agreement] = ()
) -> list[tuple[str, str]]:
    """Give the fields of the 101 that accepts a handshake (RFC 6455 §4.2.2)."""
    fields = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_key(key)),
    ]
    if subprotocol is not None:
        fields.append(("Sec-WebSocket-Protocol", subprotocol))
    extensions = ", ".join(map(str, agreements))
    if extensions:
        fields.append(("Sec-WebSocket-Extensions", extensions))
    return fields


def refusal_fields(error: HandshakeError) -> list[tuple[str, str]]:
    """Give the fields of the response that refuses a request, with those of its content.

    >>> refusal_fields(HandshakeError(404, "no"))
    [('Content-Type', 'text/plain; charset=utf-8'), ('Content-Length', '3')]
    """
    fields = [field for field in error.headers if field[0].lower() != "content-length"]
    if not any(name.lower() == "content-type" for name, _ in fields):
        fields.append(("Content-Type", "text/plain; charset=utf-8"))
    return [*fields, ("Content-Length", str(len(error.body)))]


def connection_fields(error: HandshakeError, *, goes_on: bool = False) -> list[tuple[str, str]]:
    """Give the fields that say what becomes of the connection behind a refusal in HTTP/1.1.

    >>> connection_fields(HandshakeError(404, "no"))
    [('Connection', 'close')]
    """
    named = {name.lower(): value for name, value in error.headers}
    # "a server MUST … send an Upgrade header field in a 426" and name it in Connection
    # (RFC 9110 §15.5.22, §7.8).
    tokens = ([] if goes_on else ["close"]) + (["Upgrade"] if "upgrade" in named else [])
    return [("Connection", ", ".join(tokens))] if tokens else []


def encode_response(status: int, fields: Iterable[tuple[str, str]], body: bytes = b"") -> bytes:
    """Write a whole response, the body as it stands.

    `ValueError` for a field that would break the head apart.
    """
    return _encode_head(f"HTTP/1.1 {status} {phrase_of(status)}", fields) + body


def phrase_of(status: int) -> str:
    """Give the reason phrase of a status; there is none for one that nobody knows."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def encode_refusal(error: HandshakeError, method: str = "GET", *, goes_on: bool = False) -> bytes:
    """Write the complete response that refuses a request (RFC 9112 §9.6).

    The connection ends behind it, unless it `goes_on` with the next request.

    >>> encode_refusal(HandshakeError(404, "no")).splitlines()[0]
    b'HTTP/1.1 404 Not Found'
    """
    fields = [*refusal_fields(error), *connection_fields(error, goes_on=goes_on)]
    # "The server MUST NOT send content in the response" to HEAD (RFC 9110 §9.3.2).
    return encode_response(error.status, fields, b"" if method == "HEAD" else error.body)


def request_fields(
    authority: str,
    key: str,
    subprotocols: Sequence[str] = (),
    extensions: Sequence[Extension] = (),
) -> list[tuple[str, str]]:
    """Give the fields of a client's opening handshake (RFC 6455 §4.1)."""
    fields = [
        ("Host", authority),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", VERSION),
    ]
    if subprotocols:
        fields.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
    offers = [format_extension(one.name, offer) for one in extensions for offer in one.offers()]
    if offers:
        fields.append(("Sec-WebSocket-Extensions", ", ".join(offers)))
    return fields


def encode_request(target: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """Write a client's opening handshake (RFC 6455 §4.1)."""
    if not target.startswith("/") or not all("!" <= character <= "~" for character in target):
        raise ValueError(f"{safe_text(target)} is not a request target")
    return _encode_head(f"GET {target} HTTP/1.1", fields)


def encode_connect(authority: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """Ask a proxy for a tunnel to `authority`, a host and a port (RFC 9110 §9.3.6)."""
    return _encode_head(f"CONNECT {authority} HTTP/1.1", fields)


def _encode_head(first_line: str, fields: Iterable[tuple[str, str]]) -> bytes:
    fields = list(fields)
    check_fields(fields)
    lines = [first_line, *(f"{name}: {value}" for name, value in fields)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def check_response(
    head: ResponseHead,
    key: str,
    subprotocols: Sequence[str] = (),
    extensions: Sequence[Extension] = (),
) -> tuple[str | None, list[Agreement]]:
    """Check a server's answer, as a client (RFC 6455 §4.1).

    Returns the subprotocol and the extensions agreed on.
    """
    if head.status != 101 or head.version != "1.1":
        raise HandshakeError(
            head.status,
            f"the server answered HTTP/{head.version} {head.status} instead of HTTP/1.1 101",
        )
    try:
        _check_upgraded(head.fields, key)
        subprotocol = _chosen_subprotocol(head.fields, subprotocols)
        return subprotocol, _chosen_extensions(head.fields, extensions)
    except HandshakeError as error:
        raise HandshakeError(101, error.reason) from None
    except ValueError as error:
        raise HandshakeError(101, str(error)) from None


def _check_upgraded(fields: Fields, key: str) -> None:
    _check_tokens(fields)
    # "contains a value that is not an ASCII case-insensitive match" (§4.1): nothing beside it.
    if len(_lower_tokens(fields, "upgrade")) > 1:
        raise ValueError("the server switched to other protocols too")
    if _single(fields, "sec-websocket-accept") != accept_key(key):
        raise ValueError("Sec-WebSocket-Accept does not answer our key")
    _check_no_body(fields)


def _chosen_subprotocol(fields: Fields, offered: Sequence[str]) -> str | None:
    chosen = _single(fields, "sec-websocket-protocol")
    if chosen is not None and chosen not in offered:
        raise ValueError("the server chose a subprotocol that was not offered")
    return chosen


def _chosen_extensions(fields: Fields, offered: Sequence[Extension]) -> list[Agreement]:
    chosen = _single(fields, "sec-websocket-extensions")
    return [] if chosen is None else confirm_response(parse_extensions(chosen), offered)
