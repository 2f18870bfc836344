"""Keys and certificates for doubles and the adapters that talk to them: one each for a process."""

from __future__ import annotations

import base64
import functools
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


@functools.cache
def private_key(owner: str) -> rsa.RSAPrivateKey:
    """The key of ``owner`` (any name), 2048 bits."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_key(owner: str) -> rsa.RSAPublicKey:
    """The public half of ``owner``'s key."""
    return private_key(owner).public_key()


def private_pem(owner: str) -> str:
    """PKCS #8, PEM."""
    return (
        private_key(owner)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def private_bare(owner: str) -> str:
    """PKCS #1, base64 without armour: as Alipay's tool gives it."""
    return base64.b64encode(
        private_key(owner).private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    ).decode()


def public_pem(owner: str) -> str:
    """SubjectPublicKeyInfo, PEM."""
    return (
        public_key(owner)
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def public_bare(owner: str) -> str:
    """The same as base64 without armour."""
    return "".join(public_pem(owner).splitlines()[1:-1])


@functools.cache
def load_private(pem: str) -> rsa.RSAPrivateKey:
    """A key of a PEM text; checking it takes 50 ms, so only once."""
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def load_public(pem: str) -> rsa.RSAPublicKey:
    """A public key of a PEM text."""
    key = serialization.load_pem_public_key(pem.encode())
    assert isinstance(key, rsa.RSAPublicKey)
    return key


@functools.cache
def certificate_pem(owner: str, serial: int = 4711) -> str:
    """A certificate of ``owner``'s key that names the issuer as Alipay's class 2 authority does."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ant Financial"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Certification Authority"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Ant Financial Certification Authority"),
        ]
    )
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public_key(owner))
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=3650))
        .sign(private_key(owner), hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )
