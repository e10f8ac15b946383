"""WebSockets for the app and the server you already run."""

from ws_middleware.accepting import serve_forever
from ws_middleware.aio import AsyncConnection
from ws_middleware.asgi.direct import direct
from ws_middleware.broadcast import broadcast
from ws_middleware.callbacks import Handler
from ws_middleware.client import (
    ClientSettings,
    Credentials,
    Password,
    Reconnecting,
    Token,
    Watcher,
    aconnect,
    connect,
    reconnecting,
)
from ws_middleware.connection import Connection
from ws_middleware.core.codec import SPEEDUPS, decode_frame, encode_frame, legal_first_bytes
from ws_middleware.core.endpoint import Endpoint, State
from ws_middleware.core.extensions import ActiveExtension, Extension
from ws_middleware.core.frames import Close, CloseCode, Frame, Opcode
from ws_middleware.core.messages import (
    BinaryMessage,
    Message,
    Ping,
    Pong,
    SharedMessage,
    TextMessage,
    fragment,
)
from ws_middleware.errors import (
    ConcurrencyError,
    ConnectionClosed,
    Forbidden,
    HandshakeError,
    HandshakeRefused,
    ProtocolError,
    ProxyError,
    Reject,
    Unauthorized,
    UnexpectedMessageError,
    UnsupportedError,
    WebSocketError,
)
from ws_middleware.extensions import DeflateFrame, PermessageDeflate, XWebkitDeflateFrame
from ws_middleware.frame_socket import FrameSocket
from ws_middleware.mounts import WebSockets
from ws_middleware.options import Options
from ws_middleware.raw import upgrade
from ws_middleware.request import Request
from ws_middleware.server import Server
from ws_middleware.version import VERSION as __version__

__all__ = [
    "SPEEDUPS",
    "ActiveExtension",
    "AsyncConnection",
    "BinaryMessage",
    "ClientSettings",
    "Close",
    "CloseCode",
    "ConcurrencyError",
    "Connection",
    "ConnectionClosed",
    "Credentials",
    "DeflateFrame",
    "Endpoint",
    "Extension",
    "Forbidden",
    "Frame",
    "FrameSocket",
    "Handler",
    "HandshakeError",
    "HandshakeRefused",
    "Message",
    "Opcode",
    "Options",
    "Password",
    "PermessageDeflate",
    "Ping",
    "Pong",
    "ProtocolError",
    "ProxyError",
    "Reconnecting",
    "Reject",
    "Request",
    "Server",
    "SharedMessage",
    "State",
    "TextMessage",
    "Token",
    "Unauthorized",
    "UnexpectedMessageError",
    "UnsupportedError",
    "Watcher",
    "WebSocketError",
    "WebSockets",
    "XWebkitDeflateFrame",
    "__version__",
    "aconnect",
    "broadcast",
    "connect",
    "decode_frame",
    "direct",
    "encode_frame",
    "fragment",
    "legal_first_bytes",
    "reconnecting",
    "serve_forever",
    "upgrade",
]
