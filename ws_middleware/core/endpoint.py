"""One end of an open connection: the state machine of RFC 6455 §5 to §7, without I/O.

Rule 1: times come in as `now` and go out as `next_deadline`; bytes come in through
`receive_data` and go out through `data_to_send`. Rule 2: a peer's mistake never raises, it
becomes a close frame; a caller's mistake is raised at the call. Rule 3: no state is stored
that follows from three facts: close sent, close received, end of stream.

| close sent | close received | end of stream | state   | what happens                         |
|:----------:|:--------------:|:-------------:|---------|--------------------------------------|
| -          | -              | -             | OPEN    | messages flow                        |
| yes        | -              | -             | CLOSING | data is dropped, close_timeout runs  |
| -          | yes            | -             | CLOSING | what came before it is answered first|
| yes        | yes            | -             | CLOSING | a server ends the TCP stream now     |
| any        | any            | yes           | CLOSED  | code as received, else 1006          |

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

import enum
import os
from collections.abc import Callable, Sequence

from ws_middleware.core.extensions import ActiveExtension, Role
from ws_middleware.core.frames import (
    Close,
    CloseCode,
    Frame,
    Opcode,
    decode_close,
    encode_close,
    truncate_reason,
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

#: How long messages that came before the peer's close may still be answered, in seconds.
ANSWER_TIME = 1.0
#: The close code for a peer whose credentials count no longer, of the private ones (§7.4.2).
UNAUTHORIZED = 4401
#: How many pings are remembered for the sake of their latency.
MAX_UNANSWERED_PINGS = 64


class State(enum.Enum):
    """Name where a connection is in its life (RFC 6455 §4.1, §7.1)."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Endpoint:
    """Speak the protocol for one end of a connection that was just opened.

    `observe_control` puts pings and pongs into the queue too, in their order. `random` gives
    masking keys; it has to be unpredictable (RFC 6455 §5.3).
    """

    __slots__ = (
        "_answering",
        "_close_received",
        "_close_sent",
        "_closing_at",
        "_closing_time",
        "_detail",
        "_eof",
        "_expires_at",
        "_keepalive",
        "_max_queue",
        "_observe_control",
        "_options",
        "_pings",
        "_plan",
        "_received_at",
        "_receiver",
        "_role",
        "_sender",
        "_sent_before",
        "_skipping",
        "_streaming",
        "_we_began",
        "acknowledged",
        "changed",
        "is_over",
        "latency",
        "messages_sent",
        "output",
        "queue",
        "wants_abort",
        "wants_half_close",
        "write_blocked",
    )

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
        self._role = role
        self._options = options
        self._max_queue = options.max_queue
        self._receiver = Receiver(role, options, extensions)
        self._sender = Sender(role, extensions, random)
        #: What `data_to_send` will give, in pieces; empty while there is nothing to write.
        self.output: list[bytes] = self._sender.output
        self._keepalive = Keepalive(options.ping_interval, options.ping_timeout, now)
        #: What `next_message` has at hand, which takes from it.
        self.queue: list[Data | Payload | Ping | Pong] = self._receiver.queue
        self._observe_control = observe_control
        self._streaming = self._skipping = False  # the message under way is being taken in pieces
        self._sent_before = 0  # how many messages, when the peer was asked last
        self._answering = False  # the application has a message and has not asked on
        self._pings: Sequence[tuple[bytes, float]] = ()  # unanswered: payload and time
        self._received_at = now  # the last bytes came

        self._close_sent: Close | None = None
        self._close_received: Close | None = None
        self._eof = False
        self._we_began: bool | None = None
        self._plan: Close | None = None  # the close frame that waits for the answers
        self._detail = ""
        self._closing_time: float | None = None
        self._closing_at: float | None = None
        self._expires_at: float | None = None

        #: The driver sets this while the peer takes nothing of what was written.
        self.write_blocked: bool = False
        #: Pings of the application that were answered: payload and latency in seconds.
        self.acknowledged: Sequence[tuple[bytes, float]] = ()
        #: How long the last answered ping took, in seconds.
        self.latency: float | None = None
        #: The driver shuts down its writing half behind what it wrote.
        self.wants_half_close: bool = False
        #: The driver releases the socket; by force where `wants_abort`.
        self.is_over: bool = False
        self.wants_abort: bool = False
        #: More than messages and output is new: deadlines, wishes, answered pings.
        self.changed: bool = True

        #: How many whole messages were sent.
        self.messages_sent: int = 0

    # --- what can be asked ---

    @property
    def state(self) -> State:
        """Derive the state from the facts."""
        if self.is_over or self._eof:
            return State.CLOSED
        return State.OPEN if self._we_began is None else State.CLOSING

    @property
    def close_code(self) -> int | None:
        """Give the code that the application sees (§7.1.5); None while it is open."""
        if self._close_received is not None:
            return self._close_received.code
        return CloseCode.ABNORMAL if self.state is State.CLOSED else None

    @property
    def close_reason(self) -> str | None:
        """Give the peer's reason (§7.1.6); None while the connection is open."""
        if self._close_received is not None:
            return self._close_received.reason
        return "" if self.state is State.CLOSED else None

    @property
    def closed(self) -> ConnectionClosed:
        """Make the exception that tells how the connection ended."""
        received = self._close_received or Close(CloseCode.ABNORMAL)
        sent = self._close_sent or (None if self.is_over else self._plan)
        return ConnectionClosed(
            received.code,
            received.reason,
            sent_code=sent.code if sent else None,
            sent_reason=sent.reason if sent else "",
            by_peer=not self._we_began,
            detail=self._detail,
        )

    @property
    def messages_received(self) -> int:
        """Count the whole messages that came."""
        return self._receiver.messages_received

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
        return len(self.queue) >= self._max_queue and self._we_began is None

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
        self._received_at = self._keepalive.heard_at = now
        if (message := self._receiver.payload_received(count)) is not None:
            self._deliver([message])

    def receive_data(self, data: bytes | memoryview, now: float) -> None:
        """Take bytes from the peer, which may change afterwards; b"" is the end of its stream."""
        if not data:
            self._on_eof()
            return
        self._received_at = self._keepalive.heard_at = now
        receiver = self._receiver
        try:
            receiver.feed(data, 0 if self.queue or self._we_began else self._max_queue)
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
        while self.queue:
            self._answering = True
            taken = self.queue.pop(0)
            item = taken.finish() if isinstance(taken, Payload) else taken
            if self._receiver.input:
                self._process()  # what there was no room for
            if self._streaming and isinstance(item, (str, bytes)):
                self._streaming = self._skipping = False  # the rest of one that was given up
                continue
            return item
        self._answering = False
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
        streaming, self._streaming = self._streaming, False
        item = self.next_message()
        if isinstance(item, (str, bytes)):
            if self._skipping:
                self._skipping = False
                return self.next_fragment()
            return Fragment(item, final=True)
        self._streaming = streaming
        if item is not None:
            return item
        piece = self._receiver.take_fragment() if self._we_began is None else None
        if piece is None:
            return None
        self._streaming = self._answering = True
        return None if self._skipping else Fragment(piece, final=False)

    def give_up_message(self) -> None:
        """Drop what is still to come of the message that `next_fragment` gave pieces of."""
        self._skipping = self._streaming

    def _process(self) -> None:
        """Handle what was fed, until it is used up or the queue is full."""
        receiver = self._receiver
        try:
            while receiver.input and (room := self._max_queue - len(self.queue)) > 0:
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
                latencies = [(token, self._received_at - at) for token, at in answered]
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
        if self._close_sent is not None or self.is_over:
            raise self.closed
        sender = self._sender
        if not sender.send_whole(message):
            sender.message(message)
        self.messages_sent += 1

    def send_fragment(self, data: Sendable, final: bool) -> None:
        """Send a piece of a message (§5.4); no other message may come between."""
        self._check_open()
        self._sender.fragment(data, final)
        self.messages_sent += final

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
    def can_send(self) -> bool:
        """Tell whether messages may still be sent: not behind our close frame (§5.5.1)."""
        return self._close_sent is None and not self.is_over

    @property
    def can_send_at_once(self) -> bool:
        """Tell whether a whole message may be sent: nothing ends, and no other one is under way."""
        return self._we_began is None and not self._sender.is_fragmenting

    def _check_open(self) -> None:
        if not self.can_send:
            raise self.closed

    # --- closing ---

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Start the closing handshake (§7.1.2), or finish it where the peer has started.

        Closing a second time does nothing. `ValueError` for a code that may not be sent.
        """
        close = Close(code, reason)
        encode_close(close)
        if self._we_began is None:
            self._we_began = True
            self._send_close(close)
        elif self._close_sent is None and not self.is_over:
            self._carry_out_plan()
        self.queue.clear()
        self._process()  # the peer's close frame may wait behind what was dropped

    def lose(self, detail: str = "") -> None:
        """Note that the transport is gone, or is to be given up."""
        if self._close_received is None and not self._detail:
            self._detail = detail
        if self._we_began is None:
            self._we_began = False
        self._eof = True
        self._finish()

    def abort(self, detail: str = "aborted by this side") -> None:
        """Give up the connection at once, without a closing handshake (§7.1.7)."""
        if self._we_began is None:
            self._we_began = True
        self.wants_abort = True
        self.lose(detail)

    def _on_close(self, close: Close) -> None:
        self._close_received = close
        self._detail = ""
        self._receiver.stop()
        if self._close_sent is not None:
            self._end_stream()
            return
        # "If an endpoint receives a Close frame and did not previously send a Close frame,
        # the endpoint MUST send a Close frame in response", with the same code (§5.5.1).
        self._we_began = False
        self._plan_close(Close(close.code))

    def _fail(self, error: ProtocolError) -> None:
        """Fail the connection (§7.1.7): nothing more is received, and a close frame says why."""
        self._detail = self._detail or f"we failed it with {error.code}: {error.reason}"
        self._receiver.stop()
        if self._close_sent is not None:
            self._end_stream()
            return
        self._we_began = True
        self._plan_close(Close(error.code, truncate_reason(error.reason)))

    def _on_eof(self) -> None:
        if self._eof:
            return
        self._eof = True
        if self._we_began is None:
            self._we_began = False
            self._detail = "the peer ended its stream without a close frame"
        if self._close_sent is not None:
            self._finish()
        elif self._plan is None:
            self._plan_close(None)

    def _plan_close(self, close: Close | None) -> None:
        """Close once the messages that came before are answered, or after ANSWER_TIME."""
        self._plan = close
        self._start_deadline(min(ANSWER_TIME, self._options.close_timeout))
        if not self._answering and not self.queue:
            self._carry_out_plan()

    def _carry_out_plan(self) -> None:
        if self._close_sent is not None or self.is_over:
            return
        if self._plan is not None:
            self._send_close(self._plan)
            self._end_stream()
        else:  # there is nothing to answer: the peer's stream has ended without a close frame
            self._finish()

    def _send_close(self, close: Close) -> None:
        self._sender.control(Opcode.CLOSE, encode_close(close))
        self._close_sent = close
        self._start_deadline(self._options.close_timeout)

    def _end_stream(self) -> None:
        """End our half of the stream, and wait for the end of the peer's (§7.1.1)."""
        if self._eof:
            self._finish()
            return
        # "the underlying TCP connection … SHOULD be closed first by the server" (§7.1.1)
        self.wants_half_close = self._role == "server" or self._close_received is None
        self._start_deadline(self._options.close_timeout)

    def _finish(self) -> None:
        self.is_over = True
        self.changed = True

    # --- time ---

    def _start_deadline(self, duration: float) -> None:
        self._closing_time = duration
        self._closing_at = None
        self.changed = True

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
            return _earlier(self._keepalive.next_deadline(), self._expires_at)
        if self._closing_at is None:
            self._closing_at = now + self._closing_time
        return self._closing_at

    def write_progressed(self, now: float) -> None:
        """Note that the peer took some of what was written: a sign of life."""
        self._keepalive.heard_at = now

    def handle_timeout(self, now: float) -> None:
        """Do what is due at `now`; too early a call does nothing."""
        self.changed = True
        if self.is_over:
            return
        if self._closing_time is not None:
            if self._closing_at is not None and now >= self._closing_at:
                self._on_closing_timeout()
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

    def _on_closing_timeout(self) -> None:
        if self._close_sent is None:
            self._carry_out_plan()
        else:
            self.abort(
                f"the peer did not finish within close_timeout={self._options.close_timeout:g} s"
            )

    def _on_silence(self, now: float) -> None:
        if self.is_full and not self.write_blocked:
            # We do not read because the handler does not: that is not the peer's silence.
            self._keepalive.heard_at = now
            return
        self.abort(
            f"no sign of life within ping_timeout={self._options.ping_timeout:g} s of a ping"
        )


def _earlier(first: float | None, second: float | None) -> float | None:
    if first is None or second is None:
        return second if first is None else first
    return min(first, second)
