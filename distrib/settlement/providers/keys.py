"""RSA with SHA-256, as WeChat Pay and Alipay sign. A key that cannot be read is an error that names
the setting and nothing of its content.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import textwrap
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from distrib.settlement.providers import BadProviderSetting

_BAD = (ValueError, TypeError, UnsupportedAlgorithm)


def load_private_key(text: str, field: str) -> rsa.RSAPrivateKey:
    """An RSA key as PEM, or as the bare base64 in which Alipay's tools hand it out."""
    candidates = (
        (text,)
        if "-----" in text
        else (
            _armour(text, "PRIVATE KEY"),
            _armour(text, "RSA PRIVATE KEY"),
        )
    )
    for candidate in candidates:
        try:
            key = serialization.load_pem_private_key(candidate.encode(), password=None)
        except _BAD:
            continue
        if isinstance(key, rsa.RSAPrivateKey):
            return key
    raise BadProviderSetting(f"{field} is no RSA private key", field=field)


def load_public_key(text: str, field: str) -> rsa.RSAPublicKey:
    """An RSA key as PEM, as bare base64, or out of a certificate."""
    if "BEGIN CERTIFICATE" in text:
        key: object = load_certificate(text, field).public_key()
    else:
        pem = text if "-----" in text else _armour(text, "PUBLIC KEY")
        try:
            key = serialization.load_pem_public_key(pem.encode())
        except _BAD:
            key = None
    if not isinstance(key, rsa.RSAPublicKey):
        raise BadProviderSetting(f"{field} is no RSA public key", field=field)
    return key


def load_certificate(text: str, field: str) -> x509.Certificate:
    """The first certificate of a PEM text."""
    return load_certificates(text, field)[0]


def load_certificates(text: str, field: str) -> list[x509.Certificate]:
    """All certificates of a PEM text, one at least."""
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except _BAD:
        raise BadProviderSetting(f"{field} is no certificate", field=field) from None


def certificate_number(certificate: x509.Certificate) -> str:
    """Alipay's number of a certificate: MD5 of its issuer and serial number."""
    name = certificate.issuer.rfc4514_string() + str(certificate.serial_number)
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()


def root_number(certificates: Sequence[x509.Certificate]) -> str:
    """Alipay's number of its roots: those of the certificates signed with RSA, joined."""
    return "_".join(
        certificate_number(certificate)
        for certificate in certificates
        if certificate.signature_algorithm_oid.dotted_string.startswith("1.2.840.113549.1.1.")
    )


def sign(key: rsa.RSAPrivateKey, content: bytes) -> str:
    """The signature (PKCS #1 v1.5, SHA-256) in base64."""
    return base64.b64encode(key.sign(content, padding.PKCS1v15(), hashes.SHA256())).decode()


def holds(key: rsa.RSAPublicKey, content: bytes, signature: str) -> bool:
    """Whether ``signature`` (base64) is the key owner's for ``content``."""
    try:
        key.verify(
            base64.b64decode(signature, validate=True), content, padding.PKCS1v15(), hashes.SHA256()
        )
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _armour(text: str, kind: str) -> str:
    lines = "\n".join(textwrap.wrap("".join(text.split()), 64))
    return f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----\n"
