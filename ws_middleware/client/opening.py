"""From a plan to an open connection: proxies, TLS, challenges and redirects, written once.

A wire moves the bytes; over a blocking one nothing that is awaited here suspends. Rule 1: a key
serves for one request. Rule 2: nothing is sent behind a request before its response is there.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, NamedTuple, Protocol

from ws_middleware.auth.schemes import Challenge, parse_challenges
from ws_middleware.client.credentials import Credentials
from ws_middleware.client.plan import Plan
from ws_middleware.client.proxies import Proxy
from ws_middleware.client.watching import NOBODY, WatchedEndpoint
from ws_middleware.core.endpoint import Endpoint
from ws_middleware.core.extensions import Agreement
from ws_middleware.core.frame_tap import FrameTap
from ws_middleware.core.handshake import (
    RequestHead,
    ResponseHead,
    check_response,
    encode_connect,
    encode_request,
    request_fields,
)
from ws_middleware.core.headers import Fields, field_values, safe_text
from ws_middleware.errors import HandshakeRefused, ProxyError
from ws_middleware.info import ConnectionInfo
from ws_middleware.response_reader import Response, ResponseReader

__all__ = ["Opened", "Wire", "open_websocket"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: How many challenges are answered: one, and another one where only the nonce was too old.
_MAX_ANSWERS = 2


class Wire(Protocol):
    """Be a stream to a peer; each way to connect begins a new one.

    `OSError` for whatever the network or TLS does not let happen.
    """

    async def connect(self, host: str, port: int) -> None:
        """Connect to a host."""

    async def connect_unix(self, path: str) -> None:
        """Connect to a Unix socket."""

    async def connect_socks(self, proxy: Proxy, host: str, port: int) -> None:
        """Connect to a host through a SOCKS proxy."""

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str) -> None:
        """Speak TLS from here on."""

    async def write(self, data: bytes) -> None:
        """Send bytes."""

    async def read(self) -> bytes:
        """Receive bytes; b"" at the end of the stream."""


class Opened(NamedTuple):
    """Hold what the two ends agreed on, and what came behind the handshake already."""

    plan: Plan
    request: RequestHead
    response: ResponseHead
    subprotocol: str | None
    agreements: Sequence[Agreement]
    leftover: bytes
    tap: FrameTap | None

    def make_endpoint(self, now: float) -> Endpoint:
        """Make the endpoint of the connection that begins now."""
        active = [agreement.activate("client") for agreement in self.agreements]
        if self.tap is not None:
            active.append(self.tap)
        watcher = self.plan.watcher
        make = Endpoint if watcher is NOBODY else functools.partial(WatchedEndpoint, watcher)
        return make(
            "client",
            self.plan.options,
            active,
            now=now,
            observe_control=self.plan.observe_control,
        )

    def describe(self, connection: ConnectionInfo) -> None:
        """Let the connection know what only clients do."""
        connection.response = self.response
        connection.tap = self.tap


async def open_websocket(wire: Wire, plan: Plan) -> Opened:
    """Open a WebSocket, wherever redirects lead; `HandshakeError` where that is refused."""
    for _ in range(plan.max_redirects + 1):
        request, response = await _ask(wire, plan)
        location = field_values(response.head.fields, "location")
        if response.head.status not in _REDIRECTS or not location:
            return _conclude(plan, request, response)
        try:
            plan = plan.redirected(location[0])
        except ValueError as error:
            where = safe_text(location[0])
            raise _refusal(response, f"the redirect to {where} is not followed: {error}") from None
    raise _refusal(response, f"it is more than max_redirects={plan.max_redirects} redirects away")


def _conclude(plan: Plan, request: RequestHead, response: Response) -> Opened:
    if response.head.status != 101:
        raise _refusal(response, "the server refused to open a WebSocket")
    (key,) = field_values(request.fields, "sec-websocket-key")
    options = plan.options
    agreed = check_response(response.head, key, options.subprotocols, options.extensions)
    tap = FrameTap.for_options(options) if plan.observe_frames else None
    return Opened(plan, request, response.head, *agreed, response.leftover, tap)


def _refusal(response: Response, reason: str) -> HandshakeRefused:
    return HandshakeRefused(*_describe(response, reason))


def _describe(response: Response, reason: str) -> tuple[int, str, Fields, bytes]:
    head = response.head
    return head.status, f"{reason}: {head.status} {head.reason}", head.fields, response.body


# --- one request, and its way ---


async def _ask(wire: Wire, plan: Plan) -> tuple[RequestHead, Response]:
    """Ask the server to open a WebSocket."""

    def make_request(authorization: Fields) -> RequestHead:
        key = base64.b64encode(os.urandom(16)).decode("ascii")
        options = plan.options
        theirs = {name.lower() for name, _ in plan.fields}  # they may set Host
        usual = request_fields(plan.uri.authority, key, options.subprotocols, options.extensions)
        fields = [field for field in usual if field[0].lower() not in theirs]
        return RequestHead("GET", plan.uri.target, "1.1", [*fields, *plan.fields, *authorization])

    uri = plan.uri
    space = f"{uri.scheme}://{uri.full_authority}"
    reach = functools.partial(_reach, wire, plan)
    way = _Way(_SERVER, space, uri.target, plan.credentials, reach, make_request)
    return await _converse(wire, way, plan)


async def _reach(wire: Wire, plan: Plan) -> None:
    """Connect to the server, on the way that the plan wants."""
    uri, proxy, begin = plan.uri, plan.find_proxy(), plan.watcher.begin
    if plan.unix is not None:
        begin(f"connect to the Unix socket {plan.unix}")
        await wire.connect_unix(plan.unix)
    elif proxy is None:
        begin(f"connect to {uri.full_authority}")
        await wire.connect(uri.host, uri.port)
    elif proxy.scheme == "http":
        await _tunnel(wire, plan, proxy)
    else:
        begin(f"connect to {uri.full_authority} through {proxy}")
        await wire.connect_socks(proxy, uri.host, uri.port)
    if uri.secure:
        name = plan.server_hostname or uri.host.partition("%")[0]
        begin(f"speak TLS with {name}")
        await wire.start_tls(plan.tls(), name)


async def _tunnel(wire: Wire, plan: Plan, proxy: Proxy) -> None:
    """Ask an HTTP proxy for a tunnel to the server (RFC 9110 §9.3.6)."""
    authority = plan.uri.full_authority

    async def reach() -> None:
        plan.watcher.begin(f"connect to the proxy {proxy}")
        try:
            await wire.connect(proxy.host, proxy.port)
        except OSError as error:
            raise ProxyError(0, f"the proxy {proxy} cannot be reached: {error}") from error

    def make_request(authorization: Fields) -> RequestHead:
        fields = [("Host", authority), *authorization]
        return RequestHead("CONNECT", authority, "1.1", fields)

    way = _Way(_PROXY, str(proxy), authority, proxy.credentials, reach, make_request)
    _, response = await _converse(wire, way, plan)
    if not 200 <= response.head.status < 300:
        raise ProxyError(*_describe(response, f"the proxy {proxy} refused a tunnel"))
    if response.leftover:
        raise ProxyError(0, f"the proxy {proxy} sent bytes before the server could")


# --- challenges ---


class _Party(NamedTuple):
    """Name how the one who is asked challenges, and where its answer stands (RFC 9110 §11)."""

    method: Literal["GET", "CONNECT"]
    status: int
    challenge: str
    answer: str


_SERVER = _Party("GET", 401, "www-authenticate", "Authorization")
_PROXY = _Party("CONNECT", 407, "proxy-authenticate", "Proxy-Authorization")


class _Way(NamedTuple):
    """Hold who is asked, how he is reached, and what is asked of him."""

    party: _Party
    space: str
    target: str
    credentials: Credentials | None
    reach: Callable[[], Awaitable[None]]
    make_request: Callable[[Fields], RequestHead]


async def _converse(wire: Wire, way: _Way, plan: Plan) -> tuple[RequestHead, Response]:
    """Send a request, and again with an answer to each challenge that the credentials can meet."""
    line = _Line(wire, way, plan)
    party, credentials = way.party, way.credentials
    answer = credentials and credentials.anticipate(way.space, party.method, way.target)
    for answers in range(_MAX_ANSWERS + 1):
        request, response = await line.ask([(party.answer, answer)] if answer else [])
        if credentials is None or response.head.status != party.status:
            break
        challenges = _challenges(response, party)
        answer = credentials.answer(
            way.space, party.method, way.target, challenges, refused=answers > 0
        )
        if answer is None:
            break
    return request, response


class _Line:
    """Be the connection to a party, which is kept from one request to the next where it can be."""

    def __init__(self, wire: Wire, way: _Way, plan: Plan) -> None:
        self._wire = wire
        self._way = way
        self._plan = plan
        self._is_kept = False

    async def ask(self, authorization: Fields) -> tuple[RequestHead, Response]:
        """Send a request, and wait for its response."""
        was_kept, self._is_kept = self._is_kept, False
        if not was_kept:
            await self._way.reach()
        request = self._way.make_request(authorization)
        self._plan.watcher.request(request)
        reader = ResponseReader(self._way.party.method, self._plan.options)
        try:
            response = await _exchange(self._wire, request, reader)
        except ConnectionError:
            if not was_kept:
                raise
            # It was kept for this request, but not long enough (RFC 9112 §9.3.1).
            return await self.ask(authorization)
        self._plan.watcher.response(response.head)
        self._is_kept = response.keeps_alive
        return request, response


async def _exchange(wire: Wire, request: RequestHead, reader: ResponseReader) -> Response:
    encode = encode_connect if request.method == "CONNECT" else encode_request
    await wire.write(encode(request.target, request.fields))
    response = None
    while response is None:
        response = reader.feed(await wire.read())
    return response


def _challenges(response: Response, party: _Party) -> list[Challenge]:
    """Read what is challenged; a line that cannot be read challenges nothing."""
    challenges: list[Challenge] = []
    for value in field_values(response.head.fields, party.challenge):
        with contextlib.suppress(ValueError):
            challenges += parse_challenges([value])
    return challenges
