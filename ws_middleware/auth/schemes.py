"""The grammar of challenges and credentials (RFC 9110 §11).

Linear in the length of the value, as no expression backtracks; `ValueError` for what the grammar
does not allow. Values are text: UTF-8 on the wire, what is not UTF-8 survives as surrogates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ws_middleware.core.headers import is_token, safe_text

__all__ = [
    "Challenge",
    "Credentials",
    "format_challenge",
    "format_parameters",
    "has_controls",
    "parse_challenges",
    "parse_credentials",
    "quote",
]

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_SPACE = r"[ \t]*+"
_SCHEME = re.compile(f"({_TOKEN}){_SPACE}")
#: token68 = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=" (§11.2)
_TOKEN68 = re.compile(rf"([A-Za-z0-9\-._~+/]++=*+){_SPACE}(?=,|\Z)")
#: Commas, also without anything between them: empty elements are ignored (§5.6.1).
_COMMAS = rf"(?:,{_SPACE})*+"
_EMPTY = re.compile(_COMMAS)
#: auth-param = token BWS "=" BWS ( token / quoted-string ) (§11.2)
_PARAMETER = re.compile(
    rf"{_COMMAS}({_TOKEN}){_SPACE}={_SPACE}"
    rf'(?:({_TOKEN})|"([^"\\]*+(?:\\.[^"\\]*+)*+)"){_SPACE}',
    re.DOTALL,
)
#: CTL (RFC 5234 §B.1).
_CONTROLS = frozenset(map(chr, [*range(0x20), 0x7F]))
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


class Challenge(NamedTuple):
    """Hold a challenge: the scheme and the parameters' names are in lower case.

    `token68` stands in the place of parameters where a scheme uses it.
    """

    scheme: str
    parameters: Mapping[str, str]
    token68: str | None = None


#: What answers a challenge has the same grammar (§11.4).
Credentials = Challenge


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """Read all lines of `WWW-Authenticate`, each a list of challenges (§11.6.1).

    >>> [one.scheme for one in parse_challenges(['Digest realm="a, b", qop=auth, Basic realm=c'])]
    ['digest', 'basic']
    """
    return [challenge for value in values for challenge in _parse_list(value.strip(" \t"))]


def _parse_list(text: str) -> Iterator[Challenge]:
    position = _skip_commas(text, 0)
    while position < len(text):
        challenge, position = _parse_one(text, position)
        yield challenge
        if position < len(text) and text[position] != ",":
            raise ValueError(f"the list is not understood at {safe_text(text[position:])}")
        position = _skip_commas(text, position)


def parse_credentials(value: str) -> Credentials:
    """Read an `Authorization` value: one scheme and what belongs to it (§11.6.2).

    >>> parse_credentials("Basic dXNlcjpwYXNz").token68
    'dXNlcjpwYXNz'
    """
    text = value.strip(" \t")
    credentials, end = _parse_one(text, 0)
    if end < len(text):
        raise ValueError(f"the credentials are not understood at {safe_text(text[end:])}")
    return credentials


def _parse_one(text: str, position: int) -> tuple[Challenge, int]:
    """Read the challenge that begins at a position; gives where it ends, too."""
    scheme = _SCHEME.match(text, position)
    if not scheme:
        raise ValueError(f"there is no scheme at {safe_text(text[position:])}")
    name, position = scheme[1].lower(), scheme.end()
    if token68 := _TOKEN68.match(text, position):
        return Challenge(name, {}, token68[1]), token68.end()
    parameters, end = _parse_parameters(text, position)
    return Challenge(name, parameters), end


def _parse_parameters(text: str, position: int) -> tuple[dict[str, str], int]:
    """Read parameters as far as they go: behind a comma another challenge may begin."""
    parameters: dict[str, str] = {}
    while found := _PARAMETER.match(text, position):
        name = found[1].lower()
        # "each parameter name MUST only occur once per challenge" (§11.2)
        if name in parameters:
            raise ValueError(f"the parameter {name} is there more than once")
        parameters[name] = _unquote(found[3]) if found[2] is None else found[2]
        position = found.end()
        if not text.startswith(",", position):
            break
    return parameters, position


def _skip_commas(text: str, position: int) -> int:
    commas = _EMPTY.match(text, position)
    return commas.end() if commas else position


def _unquote(quoted: str) -> str:
    text = _ESCAPE.sub(r"\1", quoted) if "\\" in quoted else quoted
    if text.isascii() and text.isprintable():
        return text
    text = text.encode("latin-1").decode("utf-8", "surrogateescape")
    if has_controls(text):
        raise ValueError(f"there is a control character in {safe_text(text)}")
    return text


def has_controls(text: str) -> bool:
    """Tell whether there is a control character in a text."""
    return not _CONTROLS.isdisjoint(text)


def quote(text: str) -> str:
    r"""Write a quoted string, in UTF-8; `ValueError` for control characters.

    >>> print(quote('a "b"'))
    "a \"b\""
    """
    if has_controls(text):
        raise ValueError(f"there is a control character in {safe_text(text)}")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'.encode("utf-8", "surrogateescape").decode("latin-1")


def format_challenge(scheme: str, parameters: Mapping[str, str]) -> str:
    """Write a challenge or credentials; values are tokens, or quoted already.

    >>> format_challenge("Basic", {"realm": quote("a b"), "charset": quote("UTF-8")})
    'Basic realm="a b", charset="UTF-8"'
    """
    if not is_token(scheme):
        raise ValueError(f"{safe_text(scheme)} is not a token")
    return f"{scheme} {format_parameters(parameters)}"


def format_parameters(parameters: Mapping[str, str]) -> str:
    """Write parameters alone, as `Authentication-Info` has them (RFC 9110 §11.6.3)."""
    for name, value in parameters.items():
        if not is_token(name):
            raise ValueError(f"{safe_text(name)} is not a token")
        if has_controls(value):
            raise ValueError(f"there is a control character in {name}")
    return ", ".join(f"{name}={value}" for name, value in parameters.items())
