"""The grammar of the header fields that the opening handshake uses (RFC 9110 §5.6).

Hand-written and linear: no regular expression, no backtracking. `ValueError` for what the
grammar does not allow. Fields are (name, value) pairs of str, decoded as ISO 8859-1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

__all__ = [
    "Fields",
    "IndexedFields",
    "Parameter",
    "check_fields",
    "field_values",
    "format_extension",
    "is_token",
    "pack_fields",
    "parse_extensions",
    "parse_host",
    "parse_token_list",
    "safe_text",
]

#: Header fields in their order, names in any case.
Fields = Sequence[tuple[str, str]]
#: One extension parameter: its name, and its value where it has one.
Parameter = tuple[str, str | None]

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_OWS = " \t"
_HOST = _TOKEN - frozenset("#^`|") | frozenset("(),;=")
_IP_LITERAL = frozenset("0123456789abcdefABCDEF:.")


def pack_fields(fields: Fields) -> Fields:
    """Make fields small that are kept for long and seldom looked at: a third of the memory.

    >>> list(pack_fields([("Host", "a"), ("X", "")]))
    [('Host', 'a'), ('X', '')]
    """
    parts = [part for field in fields for part in field]
    packed = "\n".join(parts)
    # No line end gets through our own reader; what other servers let through stays apart.
    return _PackedFields(packed) if packed.count("\n") == len(parts) - 1 else fields


class _PackedFields(Sequence[tuple[str, str]]):
    """Be fields in one string: names and values by turns, each on a line."""

    __slots__ = ("_packed",)

    def __init__(self, packed: str) -> None:
        self._packed = packed

    def __iter__(self) -> Iterator[tuple[str, str]]:
        parts = iter(self._packed.split("\n"))
        return zip(parts, parts, strict=True)

    def __len__(self) -> int:
        return (self._packed.count("\n") + 1) // 2

    @overload
    def __getitem__(self, index: int) -> tuple[str, str]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, str]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, str] | list[tuple[str, str]]:
        return list(self)[index]


class IndexedFields(list[tuple[str, str]]):
    """Be fields that are asked for many names; they do not change any more.

    `by_name` holds the values of all lines of a field; names are in lower case.
    """

    __slots__ = ("by_name",)

    def __init__(
        self, fields: Iterable[tuple[str, str]], by_name: dict[str, list[str]] | None = None
    ) -> None:
        super().__init__(fields)
        self.by_name: dict[str, list[str]] = {} if by_name is None else by_name
        if by_name is None:
            for name, value in self:
                self.by_name.setdefault(name.lower(), []).append(value.strip(_OWS))


def field_values(fields: Iterable[tuple[str, str]], name: str) -> Sequence[str]:
    """List the values of all lines of a field; `name` is in lower case.

    >>> field_values([("Host", "a"), ("X", "b")], "host")
    ['a']
    """
    if isinstance(fields, IndexedFields):
        return fields.by_name.get(name) or []
    return [value.strip(_OWS) for key, value in fields if key.lower() == name]


def check_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Check fields that are to be sent; `ValueError` for one that would break the head apart.

    >>> check_fields([("X-Why", "trial")])
    """
    for name, value in fields:
        if not is_token(name) or not _fits_line(value):
            raise ValueError(f"{safe_text(name)}: {safe_text(value)} is not a header field")


def _fits_line(value: str) -> bool:
    if value.isascii() and value.isprintable():  # by far the most
        return True
    return not any(c in "\r\n\0" or c > "\xff" for c in value)


def is_token(text: str) -> bool:
    """Tell whether `text` is a token (RFC 9110 §5.6.2)."""
    return bool(text) and _TOKEN.issuperset(text)


def parse_token_list(values: Iterable[str]) -> list[str]:
    """Read `1#token` from all lines of a field; empty elements are ignored (§5.6.1).

    >>> parse_token_list(["keep-alive, Upgrade", ",x,"])
    ['keep-alive', 'Upgrade', 'x']
    """
    elements = [element.strip(_OWS) for value in values for element in value.split(",")]
    tokens = [element for element in elements if element]
    for token in tokens:
        if not is_token(token):
            raise ValueError(f"{safe_text(token)} is not a token")
    if elements and not tokens:
        raise ValueError("the list has no element")
    return tokens


def parse_extensions(value: str) -> list[tuple[str, list[Parameter]]]:
    """Read a `Sec-WebSocket-Extensions` value (RFC 6455 §9.1).

    >>> parse_extensions('a; x="1", b')
    [('a', [('x', '1')]), ('b', [])]
    """
    scanner = _Scanner(value)
    extensions: list[tuple[str, list[Parameter]]] = []
    while not scanner.at_end():
        if scanner.accept(","):
            continue
        name = scanner.token()
        parameters: list[Parameter] = []
        while scanner.accept(";"):
            parameters.append(scanner.parameter())
        extensions.append((name, parameters))
        if not scanner.at_end():
            scanner.expect(",")
    if not extensions:
        raise ValueError("the list has no element")
    return extensions


def format_extension(name: str, parameters: Iterable[Parameter]) -> str:
    """Write one extension with its parameters.

    >>> format_extension("permessage-deflate", [("server_max_window_bits", "12")])
    'permessage-deflate; server_max_window_bits=12'
    """
    parts = [name]
    parts += [key if value is None else f"{key}={value}" for key, value in parameters]
    return "; ".join(parts)


def parse_host(value: str) -> tuple[str, int | None]:
    """Read `uri-host [ ":" port ]` (RFC 9110 §7.2); the host comes in lower case.

    >>> parse_host("Example.org:8000")
    ('example.org', 8000)
    """
    if value.startswith("["):
        address, bracket, rest = value[1:].partition("]")
        valid = ":" in address and len(address) <= 45 and _IP_LITERAL.issuperset(address)
        if not bracket or not valid:
            raise ValueError(f"{safe_text(value)} is not a host")
        host = f"[{address.lower()}]"
    else:
        name, colon, port = value.partition(":")
        if not 0 < len(name) <= 255 or not _HOST.issuperset(name):
            raise ValueError(f"{safe_text(value)} is not a host")
        host, rest = name.lower(), colon + port
    return host, _parse_port(rest)


def _parse_port(rest: str) -> int | None:
    if rest in ("", ":"):
        return None
    digits = rest[1:]
    if rest[0] != ":" or not digits.isascii() or not digits.isdigit() or len(digits) > 5:
        raise ValueError(f"{safe_text(rest)} is not a port")
    port = int(digits)
    if port > 65535:
        raise ValueError(f"there is no port {port}")
    return port


def safe_text(text: str, most: int = 80) -> str:
    """Quote a peer's text for logs and responses: ASCII, escaped, shortened.

    >>> safe_text("a\\x1b[31m")
    "'a\\\\x1b[31m'"
    """
    return ascii(text if len(text) <= most else text[:most] + "...")


class _Scanner:
    """Step through a field value, element by element."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._skip_space()

    def _skip_space(self) -> None:
        text, position = self._text, self._position
        while position < len(text) and text[position] in _OWS:
            position += 1
        self._position = position

    def at_end(self) -> bool:
        return self._position == len(self._text)

    def accept(self, mark: str) -> bool:
        if not self._text.startswith(mark, self._position):
            return False
        self._position += 1
        self._skip_space()
        return True

    def expect(self, mark: str) -> None:
        if not self.accept(mark):
            raise ValueError(f"{mark!r} expected at {safe_text(self._text[self._position :])}")

    def token(self) -> str:
        text, start = self._text, self._position
        stop = start
        while stop < len(text) and text[stop] in _TOKEN:
            stop += 1
        if start == stop:
            raise ValueError(f"token expected at {safe_text(text[start:])}")
        self._position = stop
        self._skip_space()
        return text[start:stop]

    def parameter(self) -> Parameter:
        name = self.token()
        if not self.accept("="):
            return name, None
        return name, self._quoted() if self._text.startswith('"', self._position) else self.token()

    def _quoted(self) -> str:
        text, position = self._text, self._position + 1
        value: list[str] = []
        while position < len(text) and text[position] != '"':
            position += text[position] == "\\"
            value.append(text[position : position + 1])
            position += 1
        if position >= len(text):
            raise ValueError("quoted string without its end")
        self._position = position + 1
        self._skip_space()
        # "the value after quoted-string unescaping MUST conform to the 'token' ABNF" (§9.1)
        unquoted = "".join(value)
        if not is_token(unquoted):
            raise ValueError(f"the quoted value {safe_text(unquoted)} is not a token")
        return unquoted
