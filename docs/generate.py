"""Write the pages of the reference that repeat what the code says: `python docs/generate.py`.

What a name does is said once, in its docstring, and copied from there. With `--check` nothing is
written; the exit status is 1 when a page is not up to date.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import ws_middleware
from ws_middleware import AsyncConnection, Options, Request, TextMessage, auth
from ws_middleware.core import codec, pure

REFERENCE = Path(__file__).parent / "reference"
SOURCE = "<!-- Written by docs/generate.py from the code: change it there. -->"

#: Which names belong together, in the order of the page.
Sections = dict[str, list[str]]
SECTIONS: Sections = {
    "Routes and servers": ["WebSockets", "Handler", "Options", "Server", "Request"],
    "Clients": [
        "connect",
        "aconnect",
        "reconnecting",
        "ClientSettings",
        "Password",
        "Token",
        "Credentials",
        "Reconnecting",
        "Watcher",
    ],
    "Sockets": ["upgrade", "serve_forever", "FrameSocket"],
    "Connections": ["AsyncConnection", "Connection", "State", "broadcast", "direct"],
    "Messages": ["TextMessage", "BinaryMessage", "Message", "SharedMessage", "Ping", "Pong"],
    "Exceptions": [
        "WebSocketError",
        "ConnectionClosed",
        "HandshakeError",
        "HandshakeRefused",
        "ProxyError",
        "ProtocolError",
        "UnexpectedMessageError",
        "UnsupportedError",
        "ConcurrencyError",
    ],
    "Refusals": ["Unauthorized", "Forbidden", "Reject"],
    "Frames": [
        "Frame",
        "Opcode",
        "Close",
        "CloseCode",
        "fragment",
        "encode_frame",
        "decode_frame",
        "SPEEDUPS",
    ],
    "Extensions": [
        "PermessageDeflate",
        "DeflateFrame",
        "XWebkitDeflateFrame",
        "Extension",
        "ActiveExtension",
    ],
    "The protocol without I/O": ["Endpoint", "legal_first_bytes"],
}
AUTH_SECTIONS: Sections = {
    "Passwords": ["Basic", "Digest", "HashedPasswords", "Htpasswd", "Htdigest", "digest_secret"],
    "Tokens, sessions and tickets": ["Bearer", "insufficient_scope", "Cookie", "Ticket"],
    "Together, and later": ["AnyOf", "FirstMessage", "Admitted"],
    "What was used once": ["Spend", "Spent"],
}


def main(arguments: list[str]) -> int:
    """Write the pages, or check them."""
    stale = [name for name, text in pages().items() if not is_current(name, text)]
    if "--check" in arguments:
        print(*(f"docs/reference/{name} is not up to date" for name in stale), sep="\n")
        return 1 if stale else 0
    for name in stale:
        (REFERENCE / name).write_text(pages()[name], encoding="utf-8")
    return 0


def pages() -> dict[str, str]:
    """Make the pages."""
    return {
        "api.md": make_api("The API", API_INTRODUCTION, ws_middleware, SECTIONS),
        "auth.md": make_api("Authenticators", AUTH_INTRODUCTION, auth, AUTH_SECTIONS),
        "options.md": make_options(),
    }


def is_current(name: str, text: str) -> bool:
    """Tell whether a page is there as it would be written."""
    path = REFERENCE / name
    return path.exists() and path.read_text(encoding="utf-8") == text


# --- the API ---


def make_api(title: str, introduction: str, module: ModuleType, sections: Sections) -> str:
    """Make the page of all public names of a module."""
    listed = [name for names in sections.values() for name in names]
    others = [name for name in module.__all__ if name not in [*listed, "__version__"]]
    sections = {**sections, "Further names": others} if others else sections
    index = [
        f"- {section}: " + ", ".join(f"[{name}](#{name.lower()})" for name in names)
        for section, names in sections.items()
    ]
    parts = [f"# {title}", SOURCE, introduction, "\n".join(index)]
    for section, names in sections.items():
        parts.append(f"## {section}")
        for name in names:
            parts += describe(name, getattr(module, name))
    return "\n\n".join(parts) + "\n"


API_INTRODUCTION = """\
After this page you know every public name of `ws_middleware`, but for those of
[`ws_middleware.auth`](auth.md). What is not here, or in another page of the documentation, may
change in any version."""

AUTH_INTRODUCTION = """\
After this page you know every public name of `ws_middleware.auth`: authenticators, for the setting
[`authenticate`](options.md), and what they check against. How to use them is in
[protect one route](../howto/protect-one-route.md) and
[log in from a browser](../howto/login-from-a-browser.md)."""


def describe(name: str, thing: Any) -> Iterator[str]:
    """Describe one public name."""
    yield f"### {name}"
    if inspect.isclass(thing):
        yield from describe_class(thing)
    elif callable(thing):
        thing = getattr(pure, thing.__name__, thing)  # what is in C says less of itself
        yield fence(name + signature(thing))
        yield prose(thing)
    elif name == "SPEEDUPS":
        yield comments_of(codec)[name]
    else:
        yield f"`{str(thing).replace(f'{TextMessage.__module__}.', '')}`"


def describe_class(kind: type) -> Iterator[str]:
    """Describe a class: how to make one, and what it can do."""
    if issubclass(kind, enum.Enum):
        yield prose(kind)
        yield ", ".join(f"`{member.name}` ({member.value})" for member in kind)
        return
    if kind is Options:
        yield "Its keywords are in [a table of their own](options.md)."
    elif is_made_by_users(kind):
        yield fence(kind.__name__ + signature(kind))
    yield prose(kind)
    members = [f"- `{name}`: {text}" for name, text in attributes_of(kind)]
    members += [describe_member(name, value) for name, value in methods_of(kind)]
    if members:
        yield "\n".join(members)


def is_made_by_users(kind: type) -> bool:
    """Tell whether a class is called to make objects, in a way of its own."""
    if inspect.isabstract(kind) or kind in (AsyncConnection, Request):
        return False
    return any({"__init__", "__new__"} & vars(base).keys() for base in bases_of(kind))


def describe_member(name: str, value: Any) -> str:
    """Describe a method or a property in one item of a list."""
    function = unwrap(value)
    if function is None:
        return f"- `{name}`: {summary(value)}"
    prefix = "async " if inspect.iscoroutinefunction(function) else ""
    return f"- `{prefix}{name}{signature(function)}`: {summary(function)}"


def attributes_of(kind: type) -> Iterator[tuple[str, str]]:
    """List the attributes that have a `#:` comment in the source."""
    if kind is not Options:  # its fields have a page of their own
        for base in bases_of(kind):
            yield from comments_of(base).items()


def methods_of(kind: type) -> Iterator[tuple[str, Any]]:
    """List methods and properties, in the order of their definition."""
    seen: dict[str, Any] = {}
    for base in bases_of(kind):
        for name, value in vars(base).items():
            if not name.startswith("_") and (unwrap(value) or isinstance(value, PROPERTIES)):
                seen.setdefault(name, value)
    yield from seen.items()


PROPERTIES = (property, functools.cached_property)


def bases_of(kind: type) -> list[type]:
    """List a class and those of its bases that are ours."""
    return [base for base in kind.__mro__ if base.__module__.startswith("ws_middleware")]


def unwrap(value: Any) -> Callable[..., Any] | None:
    """Give the function behind a method, None for anything else."""
    value = value.__func__ if isinstance(value, classmethod | staticmethod) else value
    return value if inspect.isfunction(value) else None


def signature(thing: Callable[..., Any]) -> str:
    """Write a signature, the same on every version of Python."""
    found = inspect.signature(thing)
    parts: list[str] = []
    for parameter in found.parameters.values():
        if parameter.name in ("self", "cls", "_cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not any(p.startswith("*") for p in parts):
            parts.append("*")
        parts.append(parameter_text(parameter))
    returns = annotation_text(found.return_annotation)
    tail = "" if inspect.isclass(thing) or returns in ("", "None") else f" -> {returns}"
    line = f"({', '.join(parts)}){tail}"
    return line if len(line) < WIDTH or not inspect.isclass(thing) else in_lines(parts)


#: Longer signatures of classes take several lines.
WIDTH = 80


def in_lines(parts: list[str]) -> str:
    """Write one parameter a line."""
    return "(\n" + "".join(f"    {part},\n" for part in parts) + ")"


def parameter_text(parameter: inspect.Parameter) -> str:
    """Write one parameter as it stands in the source."""
    name = str(parameter).partition(":")[0].partition("=")[0]  # with its stars
    text = f"{name}: {annotation_text(parameter.annotation)}".removesuffix(": ")
    if parameter.default is parameter.empty:
        return text
    default = parameter.default
    if isinstance(default, enum.Enum):
        return f"{text} = {type(default).__name__}.{default.name}"
    return f"{text} = {default.__name__ if callable(default) else repr(default)}"


def annotation_text(annotation: Any) -> str:
    """Write an annotation, whether it is text still or something already."""
    if annotation is inspect.Parameter.empty:
        return ""
    if annotation is None or isinstance(annotation, str):
        return str(annotation)
    return str(getattr(annotation, "__forward_arg__", None) or annotation.__name__)


def summary(thing: Any) -> str:
    """Give a docstring as one paragraph."""
    return " ".join((inspect.getdoc(thing) or "").split())


def prose(thing: Any) -> str:
    """Give a docstring, its sessions as fenced blocks."""
    paragraphs = (inspect.getdoc(thing) or "").split("\n\n")
    return "\n\n".join(fence(part) if part.startswith(">>>") else part for part in paragraphs)


def fence(text: str) -> str:
    """Write a fenced block of text; doctests of docstrings run where they stand."""
    return f"```text\n{text}\n```"


def comments_of(kind: type | ModuleType) -> dict[str, str]:
    """Find the `#:` comments of attributes; one without its own shares the one above."""
    comments: dict[str, str] = {}
    lines: list[str] = []
    comment = ""
    for line in inspect.getsource(kind).splitlines():
        attribute = re.match(r" *(?:self\.)?([A-Za-z]\w*)(?:: | = )", line)
        if match := re.match(r" *#: (.*)", line):
            lines.append(match[1])
        elif attribute and (lines or comment):
            comment = " ".join(lines) or comment
            comments[attribute[1]] = comment
            lines = []
        else:
            lines, comment = [], ""
    return comments


# --- the options ---


def make_options() -> str:
    """Make the table of options."""
    comments = comments_of(Options)
    rows = [
        f"| `{option.name}` | {type_of(option)} | {default_of(option)} | {comments[option.name]} |"
        for option in dataclasses.fields(Options)
    ]
    return "\n".join([OPTIONS_HEAD, *rows, OPTIONS_TAIL])


OPTIONS_HEAD = f"""\
# Options

{SOURCE}

After this page you know every setting, its default, and what it is for. Each is a keyword of
`WebSockets(...)`, of `ws.route(...)` and of `Options(...)`. Times are in seconds, sizes in bytes.
`None` means no limit.

| setting | type | default | meaning |
|---|---|---|---|"""

OPTIONS_TAIL = """
What a peer sees when it exceeds one of them is in [status and close codes](codes.md), how to set
them in [limits](../howto/limits.md).
"""


def type_of(option: dataclasses.Field[Any]) -> str:
    """Write a type; a vertical bar would end the cell."""
    return " or ".join(f"`{part}`" for part in str(option.type).split(" | "))


def default_of(option: dataclasses.Field[Any]) -> str:
    """Write a default."""
    value = option.default
    if value is dataclasses.MISSING:
        assert option.default_factory is not dataclasses.MISSING
        return f"`[{', '.join(f'{type(one).__name__}()' for one in option.default_factory())}]`"
    return f"`{value!r}`"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
