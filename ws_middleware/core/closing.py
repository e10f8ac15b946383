"""How a connection ends: the closing handshake, failures and losses (RFC 6455 §5.5.1, §7).

Rule: no state is stored that follows from three facts: close sent, close received, end of stream.

| close sent | close received | end of stream | state   | what happens                         |
|:----------:|:--------------:|:-------------:|---------|--------------------------------------|
| -          | -              | -             | OPEN    | messages flow                        |
| yes        | -              | -             | CLOSING | data is dropped, close_timeout runs  |
| -          | yes            | -             | CLOSING | what came before it is answered first|
| yes        | yes            | -             | CLOSING | a server ends the TCP stream now     |
| any        | any            | yes           | CLOSED  | code as received, else 1006          |
"""

from __future__ import annotations

import abc
import enum

from ws_middleware.core.extensions import Role
from ws_middleware.core.frames import Close, CloseCode, truncate_reason
from ws_middleware.errors import ConnectionClosed, ProtocolError

__all__ = ["SHUTDOWN", "Closing", "State"]

#: What peers are told when the server ends (§7.4.1).
SHUTDOWN = Close(CloseCode.GOING_AWAY, "the server is shutting down")

#: How long messages that came before the peer's close may still be answered, in seconds.
ANSWER_TIME = 1.0


class State(enum.Enum):
    """Name where a connection is in its life (RFC 6455 §4.1, §7.1)."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Closing(abc.ABC):
    """Be the part of an endpoint that knows how its connection ends, and how far it has come."""

    __slots__ = (
        "_close_received",
        "_close_sent",
        "_close_timeout",
        "_closing_at",
        "_closing_time",
        "_detail",
        "_eof",
        "_plan",
        "_role",
        "_we_began",
        "changed",
        "is_over",
        "wants_abort",
        "wants_half_close",
    )

    def __init__(self, role: Role, close_timeout: float) -> None:
        self._role = role
        self._close_timeout = close_timeout
        self._close_sent: Close | None = None
        self._close_received: Close | None = None
        self._eof = False
        self._we_began: bool | None = None
        self._plan: Close | None = None  # the close frame that waits for the answers
        self._detail = ""
        self._closing_time: float | None = None  # how long this step may take
        self._closing_at: float | None = None  # and when it is over

        #: The driver shuts down its writing half behind what it wrote.
        self.wants_half_close: bool = False
        #: The driver releases the socket; by force where `wants_abort`.
        self.is_over: bool = False
        self.wants_abort: bool = False
        #: More than messages and output is new: deadlines, wishes, answered pings.
        self.changed: bool = True

    # --- what the rest of the endpoint says and does ---

    @property
    @abc.abstractmethod
    def _has_to_answer(self) -> bool:
        """Tell whether messages came that the application may still answer."""

    @abc.abstractmethod
    def _write_close(self, close: Close) -> None:
        """Put a close frame into the output."""

    @abc.abstractmethod
    def _stop_receiving(self) -> None:
        """Ignore whatever else the peer sends."""

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
    def can_send(self) -> bool:
        """Tell whether messages may still be sent: not behind our close frame (§5.5.1)."""
        return self._close_sent is None and not self.is_over

    def _check_open(self) -> None:
        if not self.can_send:
            raise self.closed

    # --- what happens ---

    def _begin(self, close: Close) -> None:
        """Start the closing handshake (§7.1.2), or finish it where the peer has started."""
        if self._we_began is None:
            self._we_began = True
            self._send_close(close)
        elif self._close_sent is None and not self.is_over:
            self._carry_out_plan()

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
        self._stop_receiving()
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
        self._stop_receiving()
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
        self._start_deadline(min(ANSWER_TIME, self._close_timeout))
        if not self._has_to_answer:
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
        self._write_close(close)
        self._close_sent = close
        self._start_deadline(self._close_timeout)

    def _end_stream(self) -> None:
        """End our half of the stream, and wait for the end of the peer's (§7.1.1)."""
        if self._eof:
            self._finish()
            return
        # "the underlying TCP connection … SHOULD be closed first by the server" (§7.1.1)
        self.wants_half_close = self._role == "server" or self._close_received is None
        self._start_deadline(self._close_timeout)

    def _finish(self) -> None:
        self.is_over = True
        self.changed = True

    # --- time ---

    def _start_deadline(self, duration: float) -> None:
        self._closing_time = duration
        self._closing_at = None
        self.changed = True

    def _closing_deadline(self, now: float) -> float | None:
        """Tell when this step of the end is over, which begins now if it is new."""
        if self._closing_at is None and self._closing_time is not None:
            self._closing_at = now + self._closing_time
        return self._closing_at

    def _handle_closing_timeout(self, now: float) -> None:
        if self._closing_at is None or now < self._closing_at:
            return
        if self._close_sent is None:
            self._carry_out_plan()
        else:
            self.abort(f"the peer did not finish within close_timeout={self._close_timeout:g} s")
