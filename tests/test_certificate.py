"""Certificates that cannot be served with, and the sentence that says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.tls import make_certificate
from ws_middleware.certificate import (
    Arguments,
    CertificateError,
    check_authorities,
    check_certificate,
)

NOT_ITS = "is not that of the certificate in 'certificate.pem'$"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "other").mkdir()
    own, _ = make_certificate(folder), make_certificate(folder / "other")
    (folder / "file").write_text("neither")
    (folder / "both.pem").write_bytes(own.certfile.read_bytes() + own.keyfile.read_bytes())
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (folder / "rsa.pem").write_bytes(
        rsa_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    key = serialization.load_pem_private_key(own.keyfile.read_bytes(), None)
    (folder / "encrypted.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return folder


@pytest.mark.parametrize(
    ("keyfile", "password"), [("key.pem", None), ("key.pem", "secret"), ("encrypted.pem", "secret")]
)
def test_certificate_with_its_key(folder: Path, keyfile: str, password: str | None) -> None:
    check_certificate(str(folder / "certificate.pem"), str(folder / keyfile), password)


def test_both_may_be_in_one_file(folder: Path) -> None:
    check_certificate(str(folder / "both.pem"), None)


@pytest.mark.parametrize(
    ("certfile", "keyfile", "password", "message"),
    [
        ("none", None, None, "ssl_certfile: cannot read 'none': No such file or directory"),
        ("file", "key.pem", None, "ssl_certfile: there is no certificate in 'file', or a broken"),
        ("certificate.pem", None, None, "ssl_certfile: there is no private key in 'certif"),
        ("certificate.pem", "none", None, "ssl_keyfile: cannot read 'none': No such file"),
        ("certificate.pem", "file", None, "ssl_keyfile: there is no private key in 'file', or a"),
        ("certificate.pem", "other/key.pem", None, f"ssl_keyfile: the key in 'other/.*' {NOT_ITS}"),
        ("certificate.pem", "rsa.pem", None, f"ssl_keyfile: the key in 'rsa.pem' {NOT_ITS}"),
        (
            "certificate.pem",
            "encrypted.pem",
            None,
            "the key in 'encrypted.pem' is encrypted: ssl_keyfile_password is missing$",
        ),
        (
            "certificate.pem",
            "encrypted.pem",
            "wrong",
            "the key in 'encrypted.pem' is encrypted: ssl_keyfile_password does not open it$",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_argument(
    folder: Path,
    certfile: str,
    keyfile: str | None,
    password: str | None,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(CertificateError, match=message):
        check_certificate(Path(certfile), keyfile, password)


def test_arguments_may_have_other_names(folder: Path) -> None:
    arguments = Arguments("--cert", "--key", None)
    with pytest.raises(CertificateError, match=r"^--cert: there is no private key"):
        check_certificate(folder / "certificate.pem", arguments=arguments)
    with pytest.raises(CertificateError, match=r"^--key: .* is encrypted: decrypt it first$"):
        check_certificate(folder / "certificate.pem", folder / "encrypted.pem", arguments=arguments)


def test_authorities(folder: Path) -> None:
    check_authorities("--cacert", folder / "certificate.pem")
    with pytest.raises(CertificateError, match=r"^--cacert: there is no certificate in .*key.pem'"):
        check_authorities("--cacert", folder / "key.pem")
