"""Certificates that lbd signs itself: for trials (`lbd cert self-signed`) and for TLS-ALPN-01."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# id-pe-acmeIdentifier, RFC 8737 section 6.1
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
CLOCK_SKEW = timedelta(hours=1)  # clients whose clock is behind accept a fresh certificate
LONGEST_COMMON_NAME = 64  # characters, RFC 5280 appendix A.1


def self_signed(names: tuple[str, ...], days: int) -> tuple[bytes, bytes]:
    """(certificate PEM, key PEM) for DNS names and IP addresses, ECDSA P-256, valid for `days` from now.

    ValueError when a name is neither. No keyUsage: OpenSSL 1.1.1 takes a self-signed certificate for an
    authority of itself only without it.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(names[0], key, timedelta(days=days))
    builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM), key_to_pem(key)


def challenge_certificate(host: str, key_authorization: str) -> tuple[bytes, bytes]:
    """(certificate PEM, key PEM) that proves control of a host by TLS-ALPN-01 (RFC 8737, section 3)."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key_authorization.encode("ascii"))
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(host, key, timedelta(days=7))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), False)
    # the value is a DER OCTET STRING of 32 bytes
    identifier = x509.UnrecognizedExtension(ACME_IDENTIFIER, b"\x04\x20" + digest.finalize())
    builder = builder.add_extension(identifier, True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM), key_to_pem(key)


def key_to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS #8 without a passphrase."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _builder(name: str, key: ec.EllipticCurvePrivateKey, life: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:LONGEST_COMMON_NAME])])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + life)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
