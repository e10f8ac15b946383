"""Certificates that cannot be served with, and the sentence that says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.tls import make_certificate
from ws_middleware.certificate import CertificateError, check_certificate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "other").mkdir()
    own, _ = make_certificate(folder), make_certificate(folder / "other")
    (folder / "file").write_text("neither")
    (folder / "both.pem").write_bytes(own.certfile.read_bytes() + own.keyfile.read_bytes())
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
        ("missing", "key.pem", None, "cannot read '.*missing': No such file"),
        ("certificate.pem", "missing", None, "cannot read '.*missing': No such file"),
        ("file", "key.pem", None, "there is no certificate in '.*file', or a broken one"),
        ("certificate.pem", "file", None, "there is no private key in '.*file', or a broken one$"),
        ("certificate.pem", "other/key.pem", None, "the key in '.*' is not that of the certif"),
        ("certificate.pem", "encrypted.pem", None, "the key in '.*' is encrypted"),
        ("certificate.pem", "encrypted.pem", "wrong", ", or the password is wrong$"),
    ],
)
def test_what_is_wrong_is_told(
    folder: Path, certfile: str, keyfile: str, password: str | None, message: str
) -> None:
    with pytest.raises(CertificateError, match=message):
        check_certificate(str(folder / certfile), str(folder / keyfile), password)
