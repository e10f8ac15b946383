"""Agree on an extension of our own: a checksum behind the payload of each data frame.

python -m ws_middleware examples.own_extension:ws
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from ws_middleware import (
    ActiveExtension,
    AsyncConnection,
    Extension,
    Frame,
    ProtocolError,
    WebSockets,
)


class Checksum(Extension):
    name = "x-crc32"

    def offers(self) -> Sequence[list[tuple[str, str | None]]]:
        return [[]]  # one offer, without parameters

    def accept(
        self, offer: Sequence[tuple[str, str | None]]
    ) -> tuple[list[tuple[str, str | None]], None] | None:
        return None if offer else ([], None)  # we know no parameters

    def confirm(self, response: Sequence[tuple[str, str | None]]) -> None:
        if response:
            raise ValueError("x-crc32 has no parameters")

    def activate(self, agreed: None, role: str) -> ActiveExtension:
        return ActiveChecksum()


class ActiveChecksum(ActiveExtension):
    def encode(self, frame: Frame) -> Frame:
        return frame._replace(payload=frame.payload + checksum(frame.payload))

    def decode(self, frame: Frame, budget: int | None) -> Frame:
        payload, sum_ = frame.payload[:-4], frame.payload[-4:]
        if sum_ != checksum(payload):
            raise ProtocolError("the checksum does not match the payload", 1007)
        return frame._replace(payload=payload)


def checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")


ws = WebSockets(extensions=[Checksum()])


@ws.route("/echo")
async def echo(connection: AsyncConnection) -> None:
    async for message in connection:
        await connection.send(message)
