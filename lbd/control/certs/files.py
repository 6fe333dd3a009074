"""A certificate and its private key: read from PEM, checked, and described.

Everything here is synchronous and pure but for reading the two files. What would make a TLS server refuse
or mislead is an error (CertificateError); what clients will only complain about is a warning in the
Certificate. Validity in time is left to the caller (`validity_problem`): an expired certificate is a warning
at start, so that the daemon starts, and an error when it would replace a better one.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lbd.config.patterns import parse_host_pattern
from lbd.control.certs.errors import CertificateError

MAX_BYTES = 2**20  # of one file
MAX_CHAIN = 16  # certificates in one file
LEAST_RSA_BITS = 2048  # OpenSSL's security level 2, the default of Debian and Ubuntu, refuses shorter ones

PrivateKey = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)


# what the library raises for a certificate that is not what it should be
MALFORMED = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its chain and key, which belong together. Times are Unix seconds."""

    hosts: tuple[str, ...]  # DNS names it serves, lower case; `*.example.com` covers one label
    addresses: tuple[str, ...]  # IP addresses in it; never an SNI (RFC 6066, section 3)
    chain_pem: bytes  # leaf first
    key_pem: bytes  # PKCS #8, without a passphrase
    not_before: float
    not_after: float
    fingerprint: str  # SHA-256 of the leaf, 64 hexadecimal digits in lower case
    issuer: str  # RFC 4514
    warnings: tuple[str, ...] = ()

    def problem_at(self, now: float) -> str | None:
        """Why it is not valid at a time (Unix seconds), or None."""
        return validity_problem(self.not_before, self.not_after, now)

    def __repr__(self) -> str:  # a private key must not reach a log
        return f"<Certificate {','.join(self.hosts or self.addresses)} {self.fingerprint[:16]}>"


def load_pair(cert: str, key: str, hosts: Sequence[str] = ()) -> Certificate:
    """The certificate of a PEM file and the key of another; `hosts` replaces the names in the certificate.

    Raises CertificateError. Reads at most MAX_BYTES of each file, and regular files only.
    """
    chain_pem, _ = _read(cert, "cert")
    key_pem, mode = _read(key, "key")
    found = parse_pair(chain_pem, key_pem, hosts, cert_name=cert, key_name=key)
    if not mode & stat.S_IROTH:
        return found
    warning = f"{key}: every user of this machine can read this private key; run: chmod o= {key}"
    return _with_warnings(found, warning)


def parse_pair(
    chain_pem: bytes,
    key_pem: bytes,
    hosts: Sequence[str] = (),
    *,
    cert_name: str = "certificate",
    key_name: str = "key",
) -> Certificate:
    """The same for PEM texts; the names stand for the files in messages. Raises CertificateError."""
    chain = _parse_chain(chain_pem, cert_name)
    key = _parse_key(key_pem, key_name)
    _check_match(chain, key, cert_name, key_name)
    leaf = describe(chain[0], cert_name)
    warnings = [
        *leaf.warnings,
        *_chain_warnings(chain, cert_name),
        *(
            f"{cert_name}: does not cover {host}, so clients will refuse it"
            for host in hosts
            if not covers((*leaf.hosts, *leaf.addresses), host)
        ),
    ]
    return Certificate(
        hosts=tuple(hosts) or leaf.hosts,
        addresses=leaf.addresses,
        chain_pem=b"".join(one.public_bytes(Encoding.PEM) for one in chain),
        key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        not_before=leaf.not_before,
        not_after=leaf.not_after,
        fingerprint=leaf.fingerprint,
        issuer=leaf.issuer,
        warnings=tuple(warnings),
    )


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a certificate says of itself; the fields are those of Certificate."""

    hosts: tuple[str, ...]
    addresses: tuple[str, ...]
    not_before: float
    not_after: float
    fingerprint: str
    issuer: str
    warnings: tuple[str, ...]


def describe(leaf: x509.Certificate, name: str) -> Leaf:
    """Read everything of a certificate that lbd looks at; CertificateError when a part is malformed.

    The library parses most parts when they are asked for, so any of these lines may meet bad ASN.1.
    """
    try:
        hosts, addresses, warnings = _names(leaf, name)
        return Leaf(
            hosts,
            addresses,
            leaf.not_valid_before_utc.timestamp(),
            leaf.not_valid_after_utc.timestamp(),
            leaf.fingerprint(hashes.SHA256()).hex(),
            _printable(leaf.issuer.rfc4514_string()),
            (*warnings, *_purpose_warnings(leaf, name)),
        )
    except MALFORMED as error:
        raise CertificateError(f"{name}: malformed certificate: {_printable(str(error))}") from None


def describe_der(der: bytes) -> Leaf:
    """The same for a certificate that a server showed."""
    try:
        parsed = x509.load_der_x509_certificate(der)
    except MALFORMED as error:
        raise CertificateError(f"malformed certificate: {_printable(str(error))}") from None
    return describe(parsed, "certificate")


def validity_problem(not_before: float, not_after: float, now: float | None = None) -> str | None:
    """Why a certificate is not valid at a time (Unix seconds; now when absent), or None."""
    now = time.time() if now is None else now
    if now > not_after:
        return f"expired at {format_time(not_after)}; renew it"
    if now < not_before:
        return f"not valid before {format_time(not_before)}; is the clock right?"
    return None


def covers(names: Iterable[str], host: str) -> bool:
    """Does one of the names cover a host? `*` stands for exactly one label (RFC 6125, section 6.4.3).

    A host that is itself a wildcard is covered by the same wildcard only.
    """
    parent = host.partition(".")[2]
    return any(name == host or (parent and name == f"*.{parent}") for name in names)


def format_time(seconds: float) -> str:
    """Unix seconds as `2026-01-31T12:00:00Z`; a time that the calendar lacks as it is."""
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f}"


def _read(path: str, setting: str) -> tuple[bytes, int]:
    """Content and mode. Without waiting: a FIFO in the place of a file must not hang the daemon."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise CertificateError(f"{path}: not a regular file; name a PEM file", setting)
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise CertificateError(f"{path}: no such file; check the path", setting) from None
    except PermissionError:
        raise CertificateError(
            f"{path}: permission denied; let the user that runs lbd read it", setting
        ) from None
    except OSError as error:
        raise CertificateError(f"{path}: cannot be read: {error.strerror}", setting) from None
    if len(content) > MAX_BYTES:
        raise CertificateError(f"{path}: larger than 1 MiB; name a PEM file", setting)
    return content, mode


def _parse_chain(pem: bytes, name: str) -> list[x509.Certificate]:
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        what = "a private key" if b"PRIVATE KEY-----" in pem else "no PEM certificate"
        raise CertificateError(f"{name}: {what}; it must hold -----BEGIN CERTIFICATE----- blocks")
    try:
        chain = x509.load_pem_x509_certificates(pem)
    except MALFORMED as error:
        raise CertificateError(f"{name}: malformed certificate: {_printable(str(error))}") from None
    if len(chain) > MAX_CHAIN:
        raise CertificateError(f"{name}: {len(chain)} certificates; a chain has at most {MAX_CHAIN}")
    return chain


def _parse_key(pem: bytes, name: str) -> PrivateKey:
    if b"PRIVATE KEY-----" not in pem:
        raise CertificateError(f"{name}: no PEM private key; it must hold a PRIVATE KEY block", "key")
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:  # what cryptography raises when a passphrase is needed
        raise CertificateError(
            f"{name}: protected by a passphrase; remove it: openssl pkey -in {name} -out NEW", "key"
        ) from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{name}: malformed private key: {_printable(str(error))}", "key") from None
    if not isinstance(key, PrivateKey):
        raise CertificateError(f"{name}: this type of key is not supported; use ECDSA or RSA", "key")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < LEAST_RSA_BITS:
        raise CertificateError(
            f"{name}: an RSA key of {key.key_size} bits; it needs at least {LEAST_RSA_BITS}", "key"
        )
    return key


def _check_match(chain: list[x509.Certificate], key: PrivateKey, cert_name: str, key_name: str) -> None:
    wanted = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    matching = [index for index, one in enumerate(chain) if _public_key(one, cert_name) == wanted]
    if not matching:
        raise CertificateError(
            f"{key_name}: not the key of the certificate in {cert_name}; give the two that belong together",
            "key",
        )
    if matching[0] != 0:
        raise CertificateError(
            f"{cert_name}: the key belongs to certificate {matching[0] + 1} of the file; put that one first"
        )


def _public_key(certificate: x509.Certificate, name: str) -> bytes:
    try:
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except MALFORMED as error:
        raise CertificateError(f"{name}: unsupported public key: {_printable(str(error))}") from None


def _names(leaf: x509.Certificate, name: str) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    """DNS names, addresses, warnings. The common name counts without a SAN only (RFC 6125, section 6.4.4)."""
    addresses: list[str] = []
    try:
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        given = [one.value for one in common if isinstance(one.value, str)]
        warnings = [f"{name}: has no subjectAltName, so browsers will refuse it"]
    else:
        given = alternative.get_values_for_type(x509.DNSName)
        addresses = [str(one) for one in alternative.get_values_for_type(x509.IPAddress)]
        warnings = []
    hosts: list[str] = []
    for one in given:
        try:
            hosts.append(parse_host_pattern(one.removesuffix(".")))
        except ValueError:
            warnings.append(f"{name}: {_printable(one)[:80]!r} is not a host name, so it matches no client")
    return tuple(dict.fromkeys(hosts)), tuple(dict.fromkeys(addresses)), warnings


def _chain_warnings(chain: list[x509.Certificate], name: str) -> list[str]:
    try:
        for index in range(1, len(chain)):
            if chain[index - 1].issuer != chain[index].subject:
                return [f"{name}: certificate {index + 1} did not issue certificate {index}; order the chain"]
    except MALFORMED as error:
        raise CertificateError(f"{name}: malformed certificate: {_printable(str(error))}") from None
    return []


def _purpose_warnings(leaf: x509.Certificate, name: str) -> list[str]:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return []
    if {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage):
        return []
    return [f"{name}: is not for servers (extendedKeyUsage), so clients will refuse it"]


def _with_warnings(certificate: Certificate, *more: str) -> Certificate:
    return replace(certificate, warnings=certificate.warnings + more)


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)
