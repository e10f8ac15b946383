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

__all__ = ["Authority", "Certificate", "make_certificate"]


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

    def server_context(self) -> ssl.SSLContext:
        """Make a context for servers that show this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certfile, self.keyfile)
        return context


class Authority:
    """Be a certificate authority: it signs certificates that its contexts trust."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self._serial = 0
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = _builder(self._name, self._name, self._key.public_key())
        signed = (
            builder.add_extension(constraints, critical=True)
            .add_extension(usage, critical=True)
            .add_extension(self._identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.cafile = folder / f"{name}.pem"
        self.cafile.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    @property
    def _identifier(self) -> x509.SubjectKeyIdentifier:
        return x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())

    def client_context(self) -> ssl.SSLContext:
        """Make a context for clients that trust this authority alone."""
        return ssl.create_default_context(cafile=str(self.cafile))

    def issue(self, *names: str, expired: bool = False) -> Certificate:
        """Sign a certificate for host names and addresses, for servers and for clients."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier)
        age = datetime.timedelta(days=9 if expired else 0)
        signed = (
            _builder(_name(names[0]), self._name, key.public_key(), age)
            .add_extension(x509.SubjectAlternativeName(list(map(_host, names))), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self._serial += 1
        return _write(self._folder, f"{names[0]}-{self._serial}", signed, key)


def make_certificate(folder: Path, name: str = "localhost") -> Certificate:
    """Make a self-signed certificate for `name` and the loopback addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = map(_host, (name, "127.0.0.1", "::1"))
    certificate = (
        _builder(_name(name), _name(name), key.public_key())
        .add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _write(folder, "certificate", certificate, key)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    age: datetime.timedelta = datetime.timedelta(0),
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC) - age
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


def _write(
    folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> Certificate:
    keyname = "key.pem" if name == "certificate" else f"{name}-key.pem"
    made = Certificate(folder / f"{name}.pem", folder / keyname)
    made.certfile.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.keyfile.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made
