"""One end of an open connection: the state machine of RFC 6455 §5 to §7, without I/O.

Rule 1: times come in as `now` and go out as `next_deadline`; bytes come in through
`receive_data` and go out through `data_to_send`. Rule 2: a peer's mistake never raises, it
becomes a close frame; a caller's mistake is raised at the call.

What a driver does with it:

    endpoint.receive_data(data, now)                    # b"" is the end of the stream
    while (item := endpoint.next_message()) is not None:
        deliver(item)                                   # ends with a ConnectionClosed
    write(endpoint.data_to_send())
    if endpoint.changed:                                # what follows may differ from before
        if endpoint.wants_half_close: shut_down_writing()
        if endpoint.is_over: release the socket (abort it if `wants_abort`)
        call_me_at(endpoint.next_deadline(now))         # then endpoint.handle_timeout(now)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from ws_middleware.core.closing import Closing, State
from ws_middleware.core.codec import Intake, Outlet
from ws_middleware.core.extensions import ActiveExtension, Role
from ws_middleware.core.frames import (
    Close,
    CloseCode,
    Frame,
    Opcode,
    decode_close,
    encode_close,
)
from ws_middleware.core.keepalive import Keepalive
from ws_middleware.core.messages import Data, Fragment, Ping, Pong, Sendable
from ws_middleware.core.payload import Payload
from ws_middleware.core.receiver import Receiver
from ws_middleware.core.sender import Sender
from ws_middleware.errors import ConnectionClosed, ProtocolError
from ws_middleware.options import Options

__all__ = ["UNAUTHORIZED", "Endpoint", "Item", "State"]

#: What `next_message` gives.
Item = Data | Ping | Pong | ConnectionClosed

#: The close code for a peer whose credentials count no longer, of the private ones (§7.4.2).
UNAUTHORIZED = 4401
#: How many pings are remembered for the sake of their latency.
MAX_UNANSWERED_PINGS = 64


class Endpoint(Closing):
    """Speak the protocol for one end of a connection that was just opened.

    `observe_control` puts pings and pongs into the queue too, in their order. `random` gives
    masking keys; it has to be unpredictable (RFC 6455 §5.3).
    """

    __slots__ = (
        "_expires_at",
        "_keepalive",
        "_observe_control",
        "_options",
        "_pings",
        "_receiver",
        "_sender",
        "_sent_before",
        "_skipping",
        "acknowledged",
        "latency",
        "output",
        "queue",
        "write_blocked",
    )

    changed: bool

    def __init__(
        self,
        role: Role,
        options: Options,
        extensions: Sequence[ActiveExtension] = (),
        *,
        now: float = 0.0,
        observe_control: bool = False,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        super().__init__(role, options.close_timeout)
        self._options = options
        self._receiver = Receiver(role, options, extensions, now)
        self._sender = Sender(role, extensions, random)
        #: What `data_to_send` will give, in pieces; empty while there is nothing to write.
        self.output: list[bytes] = self._sender.output
        self._keepalive = Keepalive(options.ping_interval, options.ping_timeout, now)
        #: What `next_message` has at hand, which takes from it.
        self.queue: list[Data | Payload | Ping | Pong] = self._receiver.queue
        self._observe_control = observe_control
        self._skipping = False  # what is still to come of the message that is taken in pieces
        self._sent_before = 0  # how many messages, when the peer was asked last
        self._pings: Sequence[tuple[bytes, float]] = ()  # unanswered: payload and time
        self._expires_at: float | None = None

        #: The driver sets this while the peer takes nothing of what was written.
        self.write_blocked: bool = False
        #: Pings of the application that were answered: payload and latency in seconds.
        self.acknowledged: Sequence[tuple[bytes, float]] = ()
        #: How long the last answered ping took, in seconds.
        self.latency: float | None = None

    # --- what can be asked ---

    @property
    def messages_received(self) -> int:
        """Count the whole messages that came."""
        return self._receiver.messages_received

    @property
    def messages_sent(self) -> int:
        """Count the whole messages that were sent."""
        return self._sender.messages_sent

    @property
    def bytes_received(self) -> int:
        """Count the bytes of all frames that came."""
        return self._receiver.bytes_received

    @property
    def bytes_sent(self) -> int:
        """Count the bytes of all frames that were given to be written."""
        return self._sender.bytes_sent

    @property
    def messages_waiting(self) -> int:
        """Count what `next_message` has at hand."""
        return len(self.queue)

    @property
    def is_full(self) -> bool:
        """Tell whether so many messages wait that the driver should stop reading."""
        return len(self.queue) >= self._options.max_queue and self._we_began is None

    @property
    def lanes(self) -> tuple[Intake, Outlet] | None:
        """Give what plain messages may take past this endpoint, both ways; see `core.lanes`."""
        return self._receiver, self._sender

    # --- receiving ---

    @property
    def room(self) -> memoryview | None:
        """Give where the next bytes of a large payload may be received in place, if there is one.

        Whoever does so calls `room_filled`, and not `receive_data`.
        """
        payload = self._receiver.payload
        return None if payload is None else payload.room

    def room_filled(self, count: int, now: float) -> None:
        """Note that `count` bytes of the peer were received into `room`."""
        self._receiver.bytes_received += count
        self._receiver.received_at = now
        if (message := self._receiver.payload_received(count)) is not None:
            self._deliver([message])

    def receive_data(self, data: bytes | memoryview, now: float) -> None:
        """Take bytes from the peer, which may change afterwards; b"" is the end of its stream."""
        receiver = self._receiver
        if not data:
            receiver.capacity = 0
            self._on_eof()
            return
        receiver.received_at = now
        try:
            receiver.feed(data, 0 if self.queue else receiver.capacity)
        except MemoryError:
            self._run_out_of_memory()
        if receiver.input:
            self._process()
            if receiver.input:
                receiver.keep()

    def next_message(self) -> Item | None:
        """Give the next item; None while there is none, a `ConnectionClosed` at the end.

        Asking for the next one also says that the earlier ones are answered, as far as they
        will be: a close frame that waited for that is sent now.
        """
        receiver = self._receiver
        while self.queue:
            receiver.is_answered = False
            taken = self.queue.pop(0)
            item = taken.finish() if isinstance(taken, Payload) else taken
            if receiver.input:
                self._process()  # what there was no room for
            if receiver.is_streaming and isinstance(item, (str, bytes)):
                receiver.is_streaming = self._skipping = False  # the rest of one that was given up
                continue
            return item
        receiver.is_answered = True
        if self._we_began is None:
            return None
        self._carry_out_plan()
        return None if self._awaits_answer else self.closed

    @property
    def _awaits_answer(self) -> bool:
        """Tell whether our close frame may still be answered."""
        return not (self._receiver.is_stopped or self.is_over or self._eof)

    def next_fragment(self) -> Item | Fragment | None:
        """Give the next piece of a message without waiting for its rest, as a `Fragment`."""
        receiver = self._receiver
        streaming, receiver.is_streaming = receiver.is_streaming, False
        item = self.next_message()
        if isinstance(item, (str, bytes)):
            if self._skipping:
                self._skipping = False
                return self.next_fragment()
            return Fragment(item, final=True)
        receiver.is_streaming = streaming
        if item is not None:
            return item
        piece = receiver.take_fragment() if self._we_began is None else None
        if piece is None:
            return None
        receiver.is_streaming, receiver.is_answered = True, False
        return None if self._skipping else Fragment(piece, final=False)

    def give_up_message(self) -> None:
        """Drop what is still to come of the message that `next_fragment` gave pieces of."""
        self._skipping = self._receiver.is_streaming

    def _process(self) -> None:
        """Handle what was fed, until it is used up or the queue is full."""
        receiver = self._receiver
        try:
            while receiver.input and (room := self._options.max_queue - len(self.queue)) > 0:
                if messages := receiver.take_messages(room):
                    self._deliver(messages)
                    continue
                if (event := receiver.next_event()) is None:
                    return
                if isinstance(event, Frame):
                    self._on_control(event)
                else:
                    self._deliver([event])
        except ProtocolError as error:
            self._fail(error)
        except MemoryError:
            self._run_out_of_memory()

    def _run_out_of_memory(self) -> None:
        """Give up this connection, so that the others live."""
        self._receiver.stop()
        self.abort("there was no memory for what the peer sent")

    def _deliver(self, messages: Sequence[Data | Payload]) -> None:
        if not self._we_began:  # also what came before the end of the peer's stream
            self._receiver.messages_received += len(messages)
            self.queue += messages

    def _on_control(self, frame: Frame) -> None:
        if frame.opcode == Opcode.CLOSE:
            self._on_close(decode_close(frame.payload))
        elif frame.opcode == Opcode.PING:
            # "Upon receipt of a Ping frame, an endpoint MUST send a Pong frame in response,
            # unless it already received a Close frame" (§5.5.2)
            if self._close_sent is None:
                self._sender.pong(frame.payload)
            self._observe(Ping, frame.payload)
        else:
            self._acknowledge(frame.payload)
            self._observe(Pong, frame.payload)

    def _observe(self, kind: type[Ping | Pong], payload: bytes) -> None:
        if self._observe_control and not self._we_began:
            self.queue.append(kind(payload))

    def _acknowledge(self, payload: bytes) -> None:
        # A pong answers its ping and, as only the last one need be answered, all before it.
        for index, (sent, _) in enumerate(self._pings):
            if sent == payload:
                answered, self._pings = self._pings[: index + 1], self._pings[index + 1 :]
                came_at = self._receiver.received_at
                latencies = [(token, came_at - at) for token, at in answered]
                self.acknowledged = [*self.acknowledged, *latencies]
                self.latency = self.acknowledged[-1][1]
                self.changed = True
                return

    # --- sending ---

    def data_to_send(self) -> bytes:
        """Give what is to be written now; it is forgotten here."""
        return b"".join(self.pieces_to_send())

    def pieces_to_send(self) -> list[bytes]:
        """Give the same in pieces, so that large payloads are not copied."""
        return self._sender.pieces_to_send()

    def send_message(self, message: Sendable) -> None:
        """Send a whole message."""
        if not self._sender.send_whole(message):
            self._check_open()
            self._sender.message(message)
            self._sender.messages_sent += 1

    def send_fragment(self, data: Sendable, final: bool) -> None:
        """Send a piece of a message (§5.4); no other message may come between."""
        self._check_open()
        self._sender.fragment(data, final)
        self._sender.messages_sent += final

    def send_frame(self, frame: Frame, key: bytes = b"") -> None:
        """Send a frame exactly as it is: any bits, past the extensions, `key` masks it."""
        self._check_open()
        if frame.opcode == Opcode.CLOSE:
            raise ValueError("a close frame is sent with close(code, reason)")
        self._sender.frame(frame, key)

    def ping(self, payload: bytes, now: float) -> None:
        """Send a ping; its answer will stand in `acknowledged`."""
        self._check_open()
        self._ping(payload, now)

    def _ping(self, payload: bytes, now: float) -> None:
        self._sender.control(Opcode.PING, payload)
        self._pings = [*self._pings, (payload, now)][-MAX_UNANSWERED_PINGS:]

    def pong(self, payload: bytes) -> None:
        """Send a pong that nobody asked for (§5.5.3)."""
        self._check_open()
        self._sender.control(Opcode.PONG, payload)

    @property
    def is_fragmenting(self) -> bool:
        """Tell whether a fragmented message is being sent."""
        return self._sender.is_fragmenting

    @property
    def can_send_at_once(self) -> bool:
        """Tell whether a whole message may be sent: nothing ends, and no other one is under way."""
        return self._we_began is None and not self._sender.is_fragmenting

    # --- closing ---

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Start the closing handshake (§7.1.2), or finish it where the peer has started.

        Closing a second time does nothing. `ValueError` for a code that may not be sent.
        """
        close = Close(code, reason)
        encode_close(close)
        self._begin(close)
        self.queue.clear()
        self._process()  # the peer's close frame may wait behind what was dropped

    @property
    def _has_to_answer(self) -> bool:
        """Tell whether messages came that the application may still answer."""
        return not self._receiver.is_answered or bool(self.queue)

    def _write_close(self, close: Close) -> None:
        self._sender.control(Opcode.CLOSE, encode_close(close))
        self._close_lanes()

    def _finish(self) -> None:
        super()._finish()
        self._close_lanes()

    def _close_lanes(self) -> None:
        self._sender.is_closed = True
        self._receiver.capacity = 0

    def _stop_receiving(self) -> None:
        self._receiver.stop()

    # --- time ---

    def expire_at(self, deadline: float | None) -> None:
        """Let the connection live until `deadline`, then close it with 4401; None for ever."""
        self._expires_at = deadline
        self.changed = True

    def next_deadline(self, now: float) -> float | None:
        """Tell when `handle_timeout` wants to be called; None for never."""
        self.changed = False
        if self.is_over:
            return None
        if self._closing_time is None:
            self._keepalive.heard(self._receiver.received_at)
            return _earlier(self._keepalive.next_deadline(), self._expires_at)
        return self._closing_deadline(now)

    def write_progressed(self, now: float) -> None:
        """Note that the peer took some of what was written: a sign of life."""
        self._keepalive.heard(now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due at `now`; too early a call does nothing."""
        self.changed = True
        self._keepalive.heard(self._receiver.received_at)
        if self.is_over:
            return
        if self._closing_time is not None:
            self._handle_closing_timeout(now)
        elif self._expires_at is not None and now >= self._expires_at:
            self.close(UNAUTHORIZED, "the credentials have expired")
        elif self._keepalive.is_lost(now):
            self._on_silence(now)
        elif self._keepalive.is_due(now):
            if not self.write_blocked:
                self._ping(b"", now)
            self._keepalive.asked(now)
            if self.messages_sent == self._sent_before:
                self._sender.rest()
            self._sent_before = self.messages_sent

    def _on_silence(self, now: float) -> None:
        if self.is_full and not self.write_blocked:
            # We do not read because the handler does not: that is not the peer's silence.
            self._keepalive.heard(now)
            return
        self.abort(
            f"no sign of life within ping_timeout={self._options.ping_timeout:g} s of a ping"
        )


def _earlier(first: float | None, second: float | None) -> float | None:
    if first is None or second is None:
        return second if first is None else first
    return min(first, second)
