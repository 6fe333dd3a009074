"""TLS settings -> engine objects, and what a client's verified certificate says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from lbd.config import schema
from lbd.engine.listener import Listener
from lbd.engine.tls import ClientIdentity, ClientTls, ServerTls, TlsError

TICKET_EPOCH_SECONDS = 12 * 3600
LATE_SECONDS = 0.5  # clocks that count and clocks that tell the time drift
IDENTITIES = 1024
SUBJECT_MAX = 1024  # bytes of a subject or of all names that reach endpoints


class TlsSettingError(Exception):
    """A TLS setting that cannot be put in force; str() says which and why."""


def ticket_keys(secret: bytes, now: float) -> bytes:
    """The 80 bytes of this half-day, the same in all workers that share the secret.

    Changing them bounds what one stolen key opens (RFC 8446, appendix F.1); TLS 1.3 resumption makes a new
    key exchange anyway.
    """
    epoch = int(now // TICKET_EPOCH_SECONDS).to_bytes(8, "big")
    return b"".join(hmac.digest(secret, epoch + bytes((part,)), hashlib.sha512) for part in range(2))[:80]


def rotate_tickets(listeners: Iterable[Listener], secret: bytes) -> float:
    """Give them the keys of this half-day; the seconds until the next one."""
    now = time.time()
    keys = ticket_keys(secret, now)
    for listener in listeners:
        if listener.tls is not None and listener.tls.has_tickets:
            listener.tls.set_ticket_keys(keys)
    return TICKET_EPOCH_SECONDS - now % TICKET_EPOCH_SECONDS + LATE_SECONDS


def server_tls_inputs(setting: schema.Listener) -> dict[str, Any]:
    """All that the TLS of a listener is made of, but certificates and ticket keys. TlsSettingError."""
    assert setting.tls is not None
    tls = setting.tls
    asked = tls.client_certificate
    speaks_http2 = setting.protocol == "http" and not isinstance(setting.http2, str)
    alpn = () if setting.protocol != "http" else (b"h2", b"http/1.1") if speaks_http2 else (b"http/1.1",)
    where = f"listeners.{setting.name}.tls"
    return {
        "min_version": tls.min_version,
        "ciphers": tls.ciphers,
        "alpn": alpn,
        "strict_sni": tls.strict_sni,
        "client_ca": _read(asked.ca, f"{where}.client_certificate.ca") if asked else None,
        "client_required": asked is not None and asked.mode == "required",
        "has_tickets": tls.session_tickets,
    }


def server_tls(setting: schema.Listener, inputs: Mapping[str, Any], keys: bytes) -> ServerTls:
    """The TLS of a listener, without certificates yet. TlsSettingError."""
    settings = dict(inputs)
    ticket_keys = keys if settings.pop("has_tickets") else None
    try:
        made = ServerTls(setting.name, **settings, ticket_keys=ticket_keys)
    except TlsError as error:
        raise TlsSettingError(f"listeners.{setting.name}.tls: {error}") from error
    made.identify = identify
    return made


def client_tls_inputs(setting: schema.Cluster) -> dict[str, Any]:
    """All that the TLS towards a cluster's endpoints is made of. TlsSettingError."""
    assert setting.tls is not None
    tls = setting.tls
    where = f"clusters.{setting.name}.tls"
    alpn = {"http1": (b"http/1.1",), "http2": (b"h2",), "auto": (b"h2", b"http/1.1")}[setting.protocol]
    return {
        "ca": _read(tls.ca, f"{where}.ca") if tls.ca else _system_authorities(),
        "verify": not tls.insecure_skip_verify,
        "cert": _read(tls.cert, f"{where}.cert") if tls.cert else None,
        "key": _read(tls.key, f"{where}.key") if tls.key else None,
        "min_version": tls.min_version,
        "alpn": alpn,
    }


def client_tls(setting: schema.Cluster, inputs: Mapping[str, Any] | None = None) -> ClientTls:
    """The TLS towards a cluster's endpoints. TlsSettingError."""
    try:
        return ClientTls(**(client_tls_inputs(setting) if inputs is None else inputs))
    except TlsError as error:
        raise TlsSettingError(f"clusters.{setting.name}.tls: {error}") from error


def _system_authorities() -> bytes | None:
    """The file that `ssl` would use, which SSL_CERT_FILE may name; None: OpenSSL's own places."""
    path = ssl.get_default_verify_paths().cafile
    return Path(path).read_bytes() if path else None


def _read(path: str, where: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TlsSettingError(f"{where}: cannot read {path}: {error.strerror}") from error


@lru_cache(IDENTITIES)
def identify(der: bytes) -> ClientIdentity:
    """What a verified certificate says of its holder, and the field lines that tell endpoints.

    These are RFC 9440's and lbd's own.
    """
    from cryptography import x509  # costs memory that only those with client certificates should pay

    certificate = x509.load_der_x509_certificate(der)
    subject = certificate.subject.rfc4514_string().encode()
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        found = x509.SubjectAlternativeName([])
    kinds = (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier, x509.IPAddress)
    names = tuple(str(name.value).encode() for name in found if isinstance(name, kinds))
    fingerprint = hashlib.sha256(der).hexdigest().encode()
    fields = (
        b"Client-Cert: :" + base64.b64encode(der) + b":\r\n"
        b"X-Client-Cert-Subject: " + _printable(subject) + b"\r\n"
        b"X-Client-Cert-SAN: " + _printable(b", ".join(names)) + b"\r\n"
        b"X-Client-Cert-Fingerprint: " + fingerprint + b"\r\n"
    )
    return ClientIdentity(subject, names, fingerprint, fields)


def _printable(text: bytes) -> bytes:
    """Safe in a field value: the authority signed it, but it need not have looked at control bytes."""
    return bytes(byte if 0x20 <= byte != 0x7F else 0x3F for byte in text[:SUBJECT_MAX])
