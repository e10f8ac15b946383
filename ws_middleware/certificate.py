"""What can be wrong with a certificate or its key, told in one sentence before anybody connects."""

from __future__ import annotations

import ssl

__all__ = ["CertificateError", "check_certificate"]


class CertificateError(ValueError):
    """Tell why nothing can be served with a certificate."""


def check_certificate(certfile: str, keyfile: str | None, password: str | None = None) -> None:
    """Load a certificate as the server will; `CertificateError` says what is wrong with it."""
    keyfile = keyfile or certfile
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _check_readable(certfile)
    _check_readable(keyfile)
    try:
        context.load_verify_locations(certfile)
    except ssl.SSLError:
        raise CertificateError(
            f"there is no certificate in {certfile!r}, or a broken one"
        ) from None
    try:
        context.load_cert_chain(certfile, keyfile, password or _refuse_to_ask)
    except _EncryptedKeyError:
        raise CertificateError(f"the key in {keyfile!r} is encrypted: decrypt it first") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"the key in {keyfile!r} is not that of the certificate in {certfile!r}"
        else:
            message = f"there is no private key in {keyfile!r}, or a broken one"
            message += ", or the password is wrong" if password else ""
        raise CertificateError(message) from None


def _check_readable(path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise CertificateError(f"cannot read {path!r}: {error.strerror}") from None


class _EncryptedKeyError(Exception):
    """Be raised where OpenSSL wants to know a passphrase."""


def _refuse_to_ask() -> str:
    raise _EncryptedKeyError
