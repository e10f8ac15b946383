"""The grammar of challenges and credentials (RFC 9110 §11).

Linear in the length of the value; `ValueError` for what the grammar does not allow. Values are
text: UTF-8 on the wire, and octets that are not UTF-8 survive as surrogates.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ws_middleware.core.headers import Scanner, is_token, safe_text

__all__ = [
    "Challenge",
    "Credentials",
    "format_challenge",
    "has_controls",
    "parse_challenges",
    "parse_credentials",
    "quote",
]

#: token68 = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=" (§11.2)
_TOKEN68 = frozenset(string.ascii_letters + string.digits + "-._~+/")
#: "\x7f" and what is below the space: CTL (RFC 5234 §B.1).
_CONTROLS = frozenset(map(chr, [*range(0x20), 0x7F]))


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
    return [challenge for value in values for challenge in _parse_list(Scanner(value))]


def _parse_list(scanner: Scanner) -> Iterator[Challenge]:
    while not scanner.at_end():
        if scanner.accept(","):
            continue
        yield _parse_one(scanner)
        if not scanner.at_end():
            scanner.expect(",")


def parse_credentials(value: str) -> Credentials:
    """Read an `Authorization` value: one scheme and what belongs to it (§11.6.2).

    >>> parse_credentials("Basic dXNlcjpwYXNz").token68
    'dXNlcjpwYXNz'
    """
    scanner = Scanner(value)
    credentials = _parse_one(scanner)
    if not scanner.at_end():
        raise ValueError("there is something behind the credentials")
    return credentials


def _parse_one(scanner: Scanner) -> Challenge:
    scheme = scanner.token().lower()
    token68 = _parse_token68(scanner)
    if token68 is not None:
        return Challenge(scheme, {}, token68)
    parameters: dict[str, str] = {}
    while (parameter := _parse_parameter(scanner)) is not None:
        name, value = parameter
        # "each parameter name MUST only occur once per challenge" (§11.2)
        if name in parameters:
            raise ValueError(f"the parameter {name} is there more than once")
        parameters[name] = value
        if not scanner.starts_with(","):
            break
    return Challenge(scheme, parameters)


def _parse_token68(scanner: Scanner) -> str | None:
    start = scanner.position
    text = scanner.run(_TOKEN68)
    padding = scanner.run("=")
    scanner.skip_space()
    if text and (scanner.at_end() or scanner.starts_with(",")):
        return text + padding
    scanner.position = start
    return None


def _parse_parameter(scanner: Scanner) -> tuple[str, str] | None:
    """Take one parameter and the commas before it; None where another challenge begins."""
    start = scanner.position
    while scanner.accept(","):
        pass
    if not scanner.at_end():
        name = scanner.token().lower()
        if scanner.accept("="):
            return name, _decode(scanner.value())
    scanner.position = start
    return None


def _decode(value: str) -> str:
    text = value.encode("latin-1").decode("utf-8", "surrogateescape")
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
    for name in (scheme, *parameters):
        if not is_token(name):
            raise ValueError(f"{safe_text(name)} is not a token")
    if any(map(has_controls, parameters.values())):
        raise ValueError(f"there is a control character in the parameters of {scheme}")
    return f"{scheme} " + ", ".join(f"{name}={value}" for name, value in parameters.items())
