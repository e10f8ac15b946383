"""What can be wrong with the files of TLS, told in one sentence before anybody connects.

Each sentence begins with the argument that named the file.
"""

from __future__ import annotations

import os
import ssl
from typing import NamedTuple

__all__ = ["Arguments", "CertificateError", "check_authorities", "check_certificate"]

_Path = str | os.PathLike[str]


class CertificateError(ValueError):
    """Tell what is wrong with a certificate or its key."""


class Arguments(NamedTuple):
    """Name the arguments that say where a server's certificate is."""

    certfile: str = "ssl_certfile"
    keyfile: str = "ssl_keyfile"
    password: str | None = "ssl_keyfile_password"


_SETTINGS = Arguments()
#: What OpenSSL says where key and certificate differ, the latter where their algorithms do.
_MISMATCH = ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED")


def check_authorities(argument: str, path: _Path) -> None:
    """Load certificates to trust; `CertificateError` says what is wrong with them."""
    _check_readable(argument, path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise CertificateError(
            f"{argument}: there is no certificate in {_show(path)}, or a broken one"
        ) from None


def check_certificate(
    certfile: _Path,
    keyfile: _Path | None = None,
    password: str | None = None,
    arguments: Arguments = _SETTINGS,
) -> None:
    """Load a certificate as the server will; `CertificateError` says what is wrong with it."""
    check_authorities(arguments.certfile, certfile)
    argument = arguments.keyfile if keyfile else arguments.certfile
    keyfile = keyfile or certfile
    _check_readable(argument, keyfile)
    passphrase = _Passphrase(password)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile, passphrase)
    except ssl.SSLError as error:
        where = _show(keyfile)
        if error.reason in _MISMATCH:
            what = f"the key in {where} is not that of the certificate in {_show(certfile)}"
        elif passphrase.was_asked:
            advice = _advise(password, arguments.password)
            what = f"the key in {where} is encrypted: {advice}"
        else:
            what = f"there is no private key in {where}, or a broken one"
        raise CertificateError(f"{argument}: {what}") from None


def _check_readable(argument: str, path: _Path) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise CertificateError(f"{argument}: cannot read {_show(path)}: {error.strerror}") from None


def _show(path: _Path) -> str:
    return repr(os.fspath(path))


class _Passphrase:
    """Answer OpenSSL, which else would ask at the terminal, and note that it wanted to know."""

    def __init__(self, password: str | None) -> None:
        self._password = password or ""
        self.was_asked = False

    def __call__(self) -> str:
        self.was_asked = True
        return self._password


def _advise(password: str | None, argument: str | None) -> str:
    if argument is None:
        return "decrypt it first"
    return f"{argument} does not open it" if password else f"{argument} is missing"
