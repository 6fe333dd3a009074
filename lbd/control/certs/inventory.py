"""What `lbd cert show` tells: the certificates that a configuration would serve, or that a server serves."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass

from lbd.config import schema
from lbd.control.certs.errors import CertificateError
from lbd.control.certs.files import Certificate, covers, describe_der, load_pair, validity_problem
from lbd.control.certs.store import Store

CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Shown:
    """A certificate, as far as it can be read; `not_after` is in Unix seconds."""

    listener: str  # or the address of the server
    source: str  # file, acme or connect
    file: str | None = None
    hosts: tuple[str, ...] = ()
    issuer: str | None = None
    not_after: float | None = None
    days_left: int | None = None
    fingerprint: str | None = None
    problems: tuple[str, ...] = ()  # why it cannot be served, or is refused by every client
    warnings: tuple[str, ...] = ()


def configured(config: schema.Config) -> Iterator[Shown]:
    """From the files, without starting anything; listeners in their order, defaults first."""
    for listener in config.listeners:
        if listener.tls is None:
            continue
        for setting in listener.tls.certificates:
            try:
                certificate = load_pair(setting.cert, setting.key, setting.hosts)
            except CertificateError as error:
                yield Shown(listener.name, "file", setting.cert, setting.hosts, problems=(str(error),))
            else:
                yield _describe(listener.name, "file", setting.cert, certificate)
        for host in listener.tls.acme.hosts if listener.tls.acme is not None else ():
            yield _stored(Store(config), listener.name, host)


def served(host: str, port: int, sni: str | None) -> Shown:
    """What a server shows to a client that asks for `sni` (None: without). OSError when it cannot be had.

    Trust is not judged: certificates of one's own authority are as welcome as any.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((host, port), CONNECT_SECONDS) as raw,
        context.wrap_socket(raw, server_hostname=sni) as tls,
    ):
        der = tls.getpeercert(binary_form=True)
    where = f"{host}:{port}" + (f" ({sni})" if sni else "")
    if der is None:
        return Shown(where, "connect", problems=("the server shows no certificate",))
    try:
        leaf = describe_der(der)
    except CertificateError as error:
        return Shown(where, "connect", problems=(str(error),))
    names = leaf.hosts + leaf.addresses
    problem = validity_problem(leaf.not_before, leaf.not_after)
    problems = [] if problem is None else [problem]
    if sni is not None and not covers(names, sni.lower().rstrip(".")):
        problems.append(f"does not cover {sni}, so clients refuse it")
    days_left = _days_left(leaf.not_after)
    return Shown(
        where,
        "connect",
        None,
        names,
        leaf.issuer,
        leaf.not_after,
        days_left,
        leaf.fingerprint,
        tuple(problems),
        leaf.warnings,
    )


def _stored(store: Store, listener: str, host: str) -> Shown:
    file = str(store.path_of(host))
    try:
        certificate = store.certificate(host)
    except CertificateError as error:
        return Shown(listener, "acme", file, (host,), problems=(str(error),))
    if certificate is None:
        problem = "not obtained yet, or not readable by this user; the log of lbd says more"
        return Shown(listener, "acme", file, (host,), problems=(problem,))
    return _describe(listener, "acme", file, certificate)


def _describe(listener: str, source: str, file: str, certificate: Certificate) -> Shown:
    problem = validity_problem(certificate.not_before, certificate.not_after)
    return Shown(
        listener,
        source,
        file,
        certificate.hosts + certificate.addresses,
        certificate.issuer,
        certificate.not_after,
        _days_left(certificate.not_after),
        certificate.fingerprint,
        () if problem is None else (problem,),
        certificate.warnings,
    )


def _days_left(not_after: float) -> int:
    return int((not_after - time.time()) // 86400)
