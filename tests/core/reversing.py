"""An extension for tests: it turns the payloads of data frames round, and marks them."""

from __future__ import annotations

from ws_middleware.core.extensions import PayloadExtension
from ws_middleware.core.frames import RSV2, Frame

#: What it leaves as it is.
PALINDROME = b"level"


class Reversing(PayloadExtension):
    """Turn payloads round, and count how often frames were made for it, and it could rest."""

    reserved_bits = RSV2

    def __init__(self) -> None:
        self.frames = self.rests = 0
        self.budgets: list[int | None] = []

    def encode_payload(self, payload: bytes) -> bytes | None:
        return None if payload == PALINDROME else payload[::-1]

    def decode_payload(self, payload: bytes, budget: int | None) -> bytes:
        self.budgets.append(budget)
        return payload[::-1]

    def rest(self) -> None:
        self.rests += 1

    def encode(self, frame: Frame) -> Frame:
        self.frames += 1
        return frame._replace(payload=frame.payload[::-1], rsv2=True)

    def decode(self, frame: Frame, budget: int | None) -> Frame:
        self.frames += 1
        return frame._replace(payload=frame.payload[::-1]) if frame.rsv2 else frame
