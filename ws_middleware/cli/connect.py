"""The command that connects: a line to type in at a terminal, a pipe everywhere else.

Exit status: 0 closed as both ends wanted, 1 no connection came about, 2 wrong usage, 3 the
connection ended in another way, 124 the time was over. Messages go to the standard output, all
else to the standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import logging
import signal
import ssl
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import TextIO

from ws_middleware.aio import AsyncConnection
from ws_middleware.certificate import check_authorities
from ws_middleware.cli.arguments import Parser, path, ping_interval, positive_size, seconds
from ws_middleware.cli.commands import Commands, Input, parse_close
from ws_middleware.cli.conversation import Conversation, Wishes
from ws_middleware.cli.forms import Form
from ws_middleware.cli.inputs import InputError, read_blocks, read_lines, read_messages
from ws_middleware.cli.prompt import PromptScreen, make_typing_screen
from ws_middleware.cli.record import Record
from ws_middleware.cli.refusal import explain
from ws_middleware.cli.screen import ReaderGoneError, Screen
from ws_middleware.cli.transcript import Transcript
from ws_middleware.client import (
    ClientSettings,
    Credentials,
    Password,
    Token,
    aconnect,
    reconnecting,
)
from ws_middleware.client.plan import make_plan
from ws_middleware.core.frames import Close, CloseCode
from ws_middleware.errors import HandshakeError

__all__ = ["connect_command", "make_parser"]

logger: logging.Logger = logging.getLogger("ws_middleware")

CLOSED, REFUSED, WRONG_USAGE, ABNORMAL, TIMED_OUT, INTERRUPTED = 0, 1, 2, 3, 124, 130

_EPILOG = """\
at a terminal, type messages, or /help for commands; Ctrl+C and Ctrl+D close the connection
elsewhere each line of the standard input is a message, and each message that comes is a line
exit status: 0 clean close, 1 refused, 2 wrong usage, 3 abnormal close, 124 timeout
"""


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME: VALUE")
    return name.strip(), value.strip()


def _cookie(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _close(text: str) -> Close:
    try:
        return parse_close(*text.split(":", 1))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _token(text: str) -> Token:
    try:
        return Token(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def make_parser() -> argparse.ArgumentParser:
    """Describe the command's options."""
    parser = Parser(
        prog="python -m ws_middleware connect",
        usage="%(prog)s [OPTION ...] URL",
        description="Talk with a WebSocket server.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="URL", help="where to: ws://, wss://, or ws:// without it")
    for add in (_add_handshake, _add_network, _add_messages, _add_watching):
        add(parser)
    return parser


def _add_handshake(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the opening handshake")
    group.add_argument(
        "-H",
        "--header",
        type=_header,
        action="append",
        default=[],
        metavar="NAME: VALUE",
        help="further field; repeat it for more",
    )
    who = group.add_mutually_exclusive_group()
    who.add_argument(
        "--auth", metavar="USER[:PASSWORD]", help="answer Digest and Basic; asks for the password"
    )
    who.add_argument("--bearer", type=_token, metavar="TOKEN", help="send a bearer token")
    group.add_argument(
        "--cookie",
        type=_cookie,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="send a cookie; repeat it for more",
    )
    group.add_argument("--origin", metavar="ORIGIN", help="say which page it is, as browsers do")
    group.add_argument(
        "--subprotocol",
        action="append",
        default=[],
        metavar="NAME",
        help="offer a subprotocol; repeat it for more",
    )
    group.add_argument("--no-compression", action="store_true", help="offer no extension")


def _add_network(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the network")
    group.add_argument("--insecure", action="store_true", help="do not verify the certificate")
    group.add_argument(
        "--cacert", type=path, metavar="FILE", help="authorities to trust instead, in PEM"
    )
    group.add_argument(
        "--proxy", metavar="URL", help="http, socks5 or socks5h proxy; none ignores the environment"
    )
    group.add_argument("--uds", type=path, metavar="PATH", help="Unix socket to connect to instead")
    group.add_argument(
        "--reconnect", action="store_true", help="connect again when the connection has ended"
    )
    group.add_argument(
        "--ping-interval",
        type=ping_interval,
        default=argparse.SUPPRESS,
        metavar="SECONDS",
        help="silence after which a ping is sent, 0 for none (20)",
    )
    group.add_argument(
        "--timeout", type=seconds, metavar="SECONDS", help="give up after this time, with 124"
    )


def _add_messages(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("messages")
    group.add_argument(
        "-x",
        "--execute",
        action="append",
        metavar="MESSAGE",
        help="send this instead of the input; repeat it for more",
    )
    group.add_argument("-1", "--one", action="store_true", help="leave behind the first that comes")
    group.add_argument(
        "--wait",
        type=seconds,
        metavar="SECONDS",
        help="how long to stay when all is sent (a second of silence)",
    )
    form = group.add_mutually_exclusive_group()
    for option, name, what in [
        ("--binary", "raw", "binary, as it is: the whole input is one message"),
        ("--hex", "hex", "binary, each line in hexadecimal"),
        ("--base64", "base64", "binary, each line in base64"),
    ]:
        form.add_argument(option, dest="form", action="store_const", const=name, help=what)
    group.add_argument("--json", action="store_true", help="show JSON indented")
    group.add_argument(
        "--max-size",
        type=positive_size,
        default=100 * 2**20,
        metavar="BYTES",
        help="largest message that is received, and longest line (%(default)s)",
    )
    group.add_argument(
        "--close",
        type=_close,
        default=Close(CloseCode.NORMAL),
        metavar="CODE[:REASON]",
        help="how to close (1000)",
    )


def _add_watching(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("looking closely")
    group.add_argument(
        "-v", "--verbose", action="store_true", help="show the handshake, passwords included"
    )
    group.add_argument("--frames", action="store_true", help="show the header of every frame")
    group.add_argument("--print-pings", action="store_true", help="show pings and pongs")
    group.add_argument(
        "--record", type=path, metavar="FILE", help="append what happens, as JSON lines"
    )


def connect_command(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and talk; returns the exit status."""
    parser = make_parser()
    parsed = parser.parse_args(arguments)
    if "://" not in parsed.url:
        parsed.url = f"ws://{parsed.url}"
    form = Form(parsed.form, parsed.json)
    try:
        settings = _make_settings(parsed)
        make_plan(parsed.url, settings)
        if parsed.execute is not None:
            parsed.execute = [form.read(text.encode()) for text in parsed.execute]
        record = contextlib.nullcontext() if parsed.record is None else _open_record(parsed.record)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    except (KeyboardInterrupt, EOFError):  # at the question for the password
        return INTERRUPTED
    with record as file, contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        return asyncio.run(_run(parsed, settings, form, file))
    return INTERRUPTED


def _open_record(path: str) -> TextIO:
    return open(path, "a", encoding="utf-8")


# --- what was asked for ---


def _make_settings(parsed: argparse.Namespace) -> ClientSettings:
    settings: ClientSettings = {
        "headers": parsed.header,
        "cookies": dict(parsed.cookie),
        "origin": parsed.origin,
        "credentials": _credentials(parsed),
        "subprotocols": parsed.subprotocol,
        "unix": parsed.uds,
        "ssl_context": _ssl_context(parsed),
        "max_message_size": parsed.max_size,
        "observe_control": parsed.print_pings or parsed.record is not None,
    }
    if hasattr(parsed, "ping_interval"):
        settings["ping_interval"] = parsed.ping_interval
    if parsed.no_compression:
        settings["extensions"] = ()
    if parsed.proxy is not None:
        settings["proxy"] = None if parsed.proxy == "none" else parsed.proxy
    return settings


def _credentials(parsed: argparse.Namespace) -> Credentials | None:
    if parsed.auth is None:
        token: Token | None = parsed.bearer
        return token
    user, colon, password = parsed.auth.partition(":")
    return Password(user, password if colon else getpass.getpass(f"Password of {user}: "))


def _ssl_context(parsed: argparse.Namespace) -> ssl.SSLContext | None:
    if not parsed.insecure and parsed.cacert is None:
        return None
    if not parsed.url.lower().startswith("wss:"):
        raise ValueError("--insecure and --cacert are for wss:// URLs")
    if parsed.cacert is not None:
        check_authorities("--cacert", parsed.cacert)
    context = ssl.create_default_context(cafile=parsed.cacert)
    context.set_alpn_protocols(["http/1.1"])
    if parsed.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


# --- talking ---


async def _run(
    parsed: argparse.Namespace, settings: ClientSettings, form: Form, file: TextIO | None
) -> int:
    is_typed = parsed.execute is None and sys.stdin is not None and sys.stdin.isatty()
    screen = make_typing_screen(form) if is_typed else Screen(form)
    wishes = Wishes(
        one=parsed.one,
        wait=0.0 if is_typed and parsed.wait is None else parsed.wait,
        close=parsed.close,
        print_pings=parsed.print_pings,
        typed=is_typed,
        reconnects=parsed.reconnect,
        pings=settings.get("ping_interval", 1) is not None,
    )
    settings["watcher"] = Transcript(screen.note, heads=parsed.verbose, frames=parsed.frames)
    logger.addHandler(_Notes(screen))
    logger.setLevel(logging.INFO)
    conversation = Conversation(_inputs(parsed, screen), screen, Record(file), wishes)
    try:
        with _stopping(conversation.stop):
            async with asyncio.timeout(parsed.timeout):
                connections = _connect(parsed.url, settings, parsed.reconnect)
                ended_well = await conversation.hold(connections)
        return CLOSED if ended_well else ABNORMAL
    except TimeoutError as error:
        screen.note(str(error) or f"the --timeout of {parsed.timeout:g} s is over")
        return TIMED_OUT
    except InputError as error:
        screen.note(f"error: {error}")
        return WRONG_USAGE
    except (HandshakeError, OSError) as error:
        screen.note(explain(error))
        return REFUSED
    except ReaderGoneError:
        return CLOSED
    finally:
        await screen.flush()


class _Notes(logging.Handler):
    """Show what the client logs: when it tries again."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.INFO)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Show a message."""
        self._screen.note(record.getMessage())


async def _connect(
    url: str, settings: ClientSettings, again: bool
) -> AsyncGenerator[AsyncConnection]:
    if not again:
        yield await aconnect(url, **settings)
        return
    connections = aiter(reconnecting(url, **settings))
    assert isinstance(connections, AsyncGenerator)
    async with contextlib.aclosing(connections):
        async for connection in connections:
            yield connection


def _inputs(parsed: argparse.Namespace, screen: Screen) -> AsyncIterator[Input]:
    """Find what is to be sent."""
    if parsed.execute is not None:
        return _each(parsed.execute)
    if sys.stdin is None:  # it was closed
        return _each(())
    descriptor = sys.stdin.fileno()
    if isinstance(screen, PromptScreen):
        return Commands(screen).follow(_typed(screen))
    if sys.stdin.isatty():
        return Commands(screen).follow(read_lines(descriptor, parsed.max_size))
    if parsed.form == "raw":
        return _each([read_blocks(descriptor)])
    return read_messages(descriptor, screen.form, parsed.max_size)


async def _each(inputs: Iterable[Input]) -> AsyncIterator[Input]:
    for one in inputs:
        yield one


async def _typed(screen: PromptScreen) -> AsyncIterator[bytes]:
    while (line := await screen.read_line()) is not None:
        yield line


@contextlib.contextmanager
def _stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Stop on SIGINT and SIGTERM, where the system lets an event loop hear them."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    try:
        for number in numbers:
            loop.add_signal_handler(number, stop)
    except NotImplementedError:  # on Windows Ctrl+C cancels the task
        yield
        return
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
