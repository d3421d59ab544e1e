"""Certificates made on the spot: an authority, and what it signs."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """The files of a certificate and of its key."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates, and keeps them in a folder.

    Not ``strict``: without what RFC 5280 asks for and most clients do not miss, as many are in use.
    """

    def __init__(self, folder: Path, name: str = "authority", strict: bool = True) -> None:
        self._folder = folder
        self._strict = strict
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        signed = self._sign(self._name, self._key, x509.BasicConstraints(True, None))
        self._certificate = signed
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *names: x509.GeneralName, password: bytes | None = None) -> Pair:
        """A certificate for 127.0.0.1 and localhost, or for these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        own = names or (x509.DNSName("localhost"), _LOOPBACK)
        signed = self._sign(_name(name), key, x509.SubjectAlternativeName(own))
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        pair.cert.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(password)
                if password
                else serialization.NoEncryption(),
            )
        )
        return pair

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _DAY)
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        )
        for each in self._strict_extensions(key) if self._strict else ():
            builder = builder.add_extension(each, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _strict_extensions(self, key: ec.EllipticCurvePrivateKey) -> Iterator[x509.ExtensionType]:
        yield x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        yield x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        if key is self._key:
            yield _SIGNS


_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
_LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
