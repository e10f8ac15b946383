"""Certificates for tests, made on the spot, and contexts that trust them."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Certificate", "make_certificate"]


class Certificate(NamedTuple):
    """Hold the files of a certificate and its key, in PEM."""

    certfile: Path
    keyfile: Path

    @property
    def arguments(self) -> tuple[str, ...]:
        """Give the options of the command line that serve with it."""
        return "--certfile", str(self.certfile), "--keyfile", str(self.keyfile)

    def client_context(self) -> ssl.SSLContext:
        """Make a context for clients that trust this certificate alone."""
        return ssl.create_default_context(cafile=str(self.certfile))


def make_certificate(folder: Path, name: str = "localhost") -> Certificate:
    """Make a self-signed certificate for `name` and the loopback addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    made.certfile.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.keyfile.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made
