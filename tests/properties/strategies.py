"""Input that is shaped like frames and fields, right ones and nearly right ones.

Frames are built by code that shares nothing with the package.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.core.wire import INVALID_TEXT, UNFINISHED_TEXT, VALID_TEXT
from tests.extensions.inflating import TAIL, deflate
from tests.peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame
from ws_middleware.extensions.deflate_frame import DeflateFrame, XWebkitDeflateFrame
from ws_middleware.extensions.permessage_deflate import PermessageDeflate

__all__ = [
    "chunked",
    "deflate_frames",
    "field_values",
    "good_sessions",
    "keys",
    "messages",
    "payloads",
    "permessage_deflates",
    "sessions",
    "tokens",
]

keys = st.binary(min_size=4, max_size=4)

#: Payloads of every size, also around the edges of the length's forms.
payloads = st.one_of(
    st.binary(max_size=40),
    st.binary(max_size=40),
    st.builds(bytes, st.sampled_from([125, 126, 127, 1000])),
    st.builds(bytes, st.sampled_from([1001, 65535, 65536])),
)

texts = st.one_of(st.text(max_size=30), st.sampled_from(VALID_TEXT))
messages = st.one_of(texts, texts, payloads)


@st.composite
def chunked(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Chop `data` at any places, into a thousand pieces at the most."""
    if not data:
        return []
    size = draw(st.one_of(st.integers(1, 9), st.integers(1, len(data))))
    size = max(size, len(data) // 1000)
    first = draw(st.integers(0, min(size, 20)))
    pieces = [data[:first]] + [data[at : at + size] for at in range(first, len(data), size)]
    return [piece for piece in pieces if piece]


# --- sessions ---


@st.composite
def fragmented(draw: st.DrawFn, message: str | bytes, compress: bool) -> bytes:
    """Send one message as a client, in any number of frames, with pings in between."""
    payload = message.encode() if isinstance(message, str) else message
    rsv = 0
    if compress and draw(st.booleans()):
        payload, rsv = draw(st.sampled_from([deflate(payload), deflate(payload, final=True)])), 4
    opcode = TEXT if isinstance(message, str) else BINARY
    pieces = draw(chunked(payload)) if len(payload) < 1000 and draw(st.booleans()) else [payload]
    pieces = pieces or [payload]
    data = b""
    for index, piece in enumerate(pieces):
        data += frame(opcode, piece, fin=index == len(pieces) - 1, rsv=rsv, key=draw(keys))
        opcode, rsv = CONTINUATION, 0
        if index < 3 and draw(st.integers(0, 5)) == 0:
            data += frame(draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=5)))
    return data


@st.composite
def good_sessions(draw: st.DrawFn, compress: bool = False) -> tuple[list[str | bytes], bytes]:
    """Give messages, and the bytes by which a client sends them."""
    sent = draw(st.lists(messages, max_size=6))
    return sent, b"".join(draw(fragmented(message, compress)) for message in sent)


#: What stands in frames: text that is none, close bodies, compressed payloads, bombs.
contents = st.one_of(
    st.binary(max_size=20),
    texts.map(str.encode),
    st.sampled_from([text for text, _ in INVALID_TEXT] + UNFINISHED_TEXT),
    st.builds(
        lambda code, reason: code.to_bytes(2, "big") + reason,
        st.one_of(st.integers(0, 65535), st.sampled_from([1000, 1001, 1005, 1006, 1015, 4999])),
        st.one_of(st.binary(max_size=5), st.just(b"reason")),
    ),
    st.binary(max_size=20).map(deflate),
    st.sampled_from([deflate(b"a\xff"), deflate(b"Hello", final=True), deflate(b"x") + TAIL]),
    st.sampled_from([bytes(1000), bytes(1001), deflate(bytes(1000)), deflate(bytes(5000))]),
)

#: Mostly right, sometimes wrong.
opcodes = st.one_of(
    st.sampled_from([CONTINUATION, TEXT, BINARY, PING, PONG]),
    st.sampled_from([TEXT, CLOSE, *range(16)]),
)
fins = st.sampled_from([True, True, True, False])
reserved = st.sampled_from([0, 0, 0, 0, 4, 4, 2, 1, 7])
lies = st.one_of(st.none(), st.none(), st.sampled_from([0, 1, 125, 126, 1001, 65536, 2**62, 2**63]))


@st.composite
def odd_frames(draw: st.DrawFn) -> bytes:
    """Make a frame that may be wrong in any of its fields."""
    changes: dict[str, Any] = {"fin": draw(fins), "rsv": draw(reserved), "length": draw(lies)}
    changes["key"] = draw(st.one_of(keys, keys, keys, st.none()))
    return frame(draw(opcodes), draw(contents), **changes)


@st.composite
def long_winded_frames(draw: st.DrawFn) -> bytes:
    """Make a whole frame whose length takes more bytes than it needs."""
    payload = draw(st.binary(max_size=20))
    form, size = draw(st.sampled_from([(126, 2), (127, 8)]))
    first = 0x80 | draw(st.sampled_from([TEXT, BINARY, PING]))
    return bytes((first, 0x80 | form)) + len(payload).to_bytes(size, "big") + bytes(4) + payload


@st.composite
def sessions(draw: st.DrawFn) -> bytes:
    """Make a session of frames: right, odd, flipped in a bit, or broken off."""
    parts = draw(
        st.lists(
            st.one_of(
                odd_frames(),
                good_sessions(compress=True).map(lambda session: session[1]),
                long_winded_frames(),
            ),
            min_size=1,
            max_size=6,
        )
    )
    data = bytearray(b"".join(parts))
    if data and draw(st.booleans()):
        position = draw(st.integers(0, min(len(data) - 1, 300)))
        data[position] ^= 1 << draw(st.integers(0, 7))
    if draw(st.integers(0, 3)) == 0:
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


# --- configurations ---

windows = st.integers(8, 15)
levels = st.integers(0, 9)
memory_levels = st.integers(1, 9)

permessage_deflates = st.builds(
    PermessageDeflate,
    server_no_context_takeover=st.booleans(),
    client_no_context_takeover=st.booleans(),
    server_max_window_bits=windows,
    client_max_window_bits=windows,
    level=levels,
    memory_level=memory_levels,
    threshold=st.sampled_from([0, 5, 100]),
)


def deflate_frames(
    kind: type[DeflateFrame] | type[XWebkitDeflateFrame],
) -> st.SearchStrategy[DeflateFrame]:
    """Make any configuration of deflate-frame."""
    return st.builds(
        kind,
        max_window_bits=windows,
        no_context_takeover=st.booleans(),
        level=levels,
        memory_level=memory_levels,
    )


# --- fields ---

tokens = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=8)

#: Values that nearly follow a grammar.
field_values = st.lists(
    st.one_of(
        tokens,
        st.sampled_from([*',;= \t"\\/:[]@?#()<>', '""', '\\"', "websocket", "Upgrade"]),
        st.sampled_from(["13", "permessage-deflate", "server_max_window_bits", "http://", "[::1]"]),
        st.text(max_size=3),
    ),
    max_size=12,
).map("".join)
