"""ACME against a real authority (Pebble): both challenges, storage, renewal, failures, bad nonces.

First with small servers in the place of lbd's listeners, then through a whole lbd.
"""

from __future__ import annotations

import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certs.authority import Pebble, Proofs, free_port
from certs.making import make_ca
from certs.stage import Lines, LoopThread, config_of
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from harness.http_origin import EchoOrigin
from harness.lbd import Lbd
from harness.waiting import TIMEOUT, eventually

from lbd.control.certs.files import load_pair
from lbd.control.certs.issuer import Pace
from lbd.control.certs.keeper import CertificateKeeper

FAST = Pace(shortest_retry=0.1, longest_retry=0.5, poll=0.05, order=2 * TIMEOUT, look=0.05)
CHALLENGES = ("http-01", "tls-alpn-01")
LONG = 4 * TIMEOUT


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is never reached through a proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture(scope="module")
def proofs() -> Iterator[Proofs]:
    with Proofs() as servers:
        yield servers


@pytest.fixture(scope="module")
def pebble(program: Callable[[str], str], proofs: Proofs) -> Iterator[Pebble]:
    with Pebble(program("pebble"), *proofs.ports) as authority:
        yield authority


class Kept:
    """A keeper at work, with a clock that can be turned forward."""

    def __init__(self, settings: str, proofs: Proofs, hosts: str = "a.lbd.test") -> None:
        self.log, self.proofs, self.ahead = Lines(), proofs, 0.0
        self.proofs.is_mute = False
        self.proofs.shown.clear()
        self.proofs.installed.clear()
        config = config_of(f"{{acme: {{hosts: [{hosts}]}}}}", settings)
        self.keeper = CertificateKeeper(
            config,
            self.log,
            pace=FAST,
            clock=lambda: time.time() + self.ahead,  # type: ignore[arg-type]
        )

    def __enter__(self) -> Kept:
        self.keeper.load()
        self.loop = LoopThread().__enter__()
        self.loop.call(self.keeper.start, {"web": self.proofs}, self.proofs.publish)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.run(self.keeper.stop())
        self.loop.__exit__()

    def fingerprint(self, host: str = "a.lbd.test") -> str | None:
        found = {record.hosts: record.fingerprint for record in self.keeper.certificates()}
        return found[(host,)]

    def obtained(self, host: str = "a.lbd.test") -> str:
        try:
            found = eventually(lambda: self.fingerprint(host), f"{host} obtained", timeout=LONG)
        except AssertionError as error:
            error.add_note(f"log: {self.log.all}")
            raise
        assert found
        return found


@pytest.mark.parametrize("challenge", CHALLENGES)
def test_a_certificate_is_obtained_stored_and_put_in_force(
    pebble: Pebble, proofs: Proofs, tmp_path: Path, challenge: str
) -> None:
    with Kept(pebble.settings(tmp_path, challenge), proofs) as kept:
        assert proofs.installed == [[]]  # start does not wait for the authority
        fingerprint = kept.obtained()
        eventually(lambda: len(proofs.installed) == 2, "put in force")
        ((hosts, chain, key),) = proofs.installed[-1]
        leaf = x509.load_pem_x509_certificate(chain)
        assert (tuple(hosts), leaf.fingerprint(hashes.SHA256()).hex()) == (("a.lbd.test",), fingerprint)
        assert "Pebble" in leaf.issuer.rfc4514_string()
        assert b"PRIVATE KEY" in key
        assert kept.log.of("info")[0] == "certificate for a.lbd.test: ordered"
        eventually(lambda: kept.log.have("certificate for a.lbd.test: obtained, valid until "), "logged")
        assert kept.log.of("warning") + kept.log.of("error") == []
    shown = proofs.shown
    assert len(shown) == 1
    if challenge == "tls-alpn-01":
        assert shown == ["a.lbd.test"]
    else:
        assert shown[0].startswith("/.well-known/acme-challenge/")
    assert (proofs.paths, proofs.contexts) == ({}, {})  # the proof is taken back
    check_stored(tmp_path / "acme" / pebble.directory.split("/")[2].replace(":", "_"), fingerprint)


def check_stored(directory: Path, fingerprint: str) -> None:
    """0600 in 0700, nothing left over, and good."""
    assert {path.name for path in directory.iterdir()} == {"account.key", "account.json", "a.lbd.test.pem"}
    assert [stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()] == [0o600] * 3
    assert [stat.S_IMODE(path.stat().st_mode) for path in (directory, directory.parent)] == [0o700] * 2
    stored = str(directory / "a.lbd.test.pem")
    assert load_pair(stored, stored).fingerprint == fingerprint


def test_a_stored_certificate_is_in_force_at_once_and_not_ordered_again(
    pebble: Pebble, proofs: Proofs, tmp_path: Path
) -> None:
    with Kept(pebble.settings(tmp_path, "http-01"), proofs) as kept:
        first = kept.obtained()
    with Kept(pebble.settings(tmp_path, "http-01"), proofs, "a.lbd.test, b.lbd.test") as kept:
        assert len(proofs.installed[0]) == 1
        kept.obtained("b.lbd.test")  # by the account that exists
        assert kept.fingerprint() == first
        assert not kept.log.have("a.lbd.test: ordered")


def test_an_account_is_found_again_and_told_of_a_new_address(
    pebble: Pebble, proofs: Proofs, tmp_path: Path
) -> None:
    settings = pebble.settings(tmp_path, "http-01")
    with Kept(settings, proofs) as kept:
        kept.obtained()
    with Kept(settings.replace("a@b.test", "c@d.test"), proofs, "b.lbd.test") as kept:
        kept.obtained("b.lbd.test")
        store = kept.keeper.issuer.store  # type: ignore[union-attr]
        assert store.known_email() == "c@d.test"


def test_renewal_comes_a_third_of_the_life_before_the_end(
    pebble: Pebble, proofs: Proofs, tmp_path: Path
) -> None:
    with Kept(pebble.settings(tmp_path, "tls-alpn-01"), proofs) as kept:
        first = kept.obtained()
        kept.ahead = 59 * 86400  # of 90 days, 30 before the end: not yet
        kept.loop.call(lambda: None)
        before = kept.keeper.issuer.states["a.lbd.test"].renew_at  # type: ignore[union-attr]
        assert time.time() + kept.ahead < before <= time.time() + 64 * 86400
        kept.ahead = 64 * 86400
        eventually(lambda: kept.fingerprint() != first, "renewed", timeout=LONG)
        eventually(lambda: len(proofs.installed) == 3, "put in force")
        assert kept.log.of("info").count("certificate for a.lbd.test: ordered") == 2
        # by this clock the new one is as due as the old one was; that must not make a loop of orders
        renew_at = kept.keeper.issuer.states["a.lbd.test"].renew_at  # type: ignore[union-attr]
        assert renew_at > time.time() + kept.ahead + 8 * 86400


@pytest.mark.parametrize("challenge", CHALLENGES)
def test_a_failed_proof_is_explained_and_tried_again(
    pebble: Pebble, proofs: Proofs, tmp_path: Path, challenge: str
) -> None:
    kept = Kept(pebble.settings(tmp_path, challenge), proofs)
    proofs.is_mute = True
    with kept:
        eventually(lambda: kept.keeper.failures["web"] >= 2, "two failures", timeout=LONG)
        failed = kept.log.of("error")[0]
        reason = "unauthorized: " if challenge == "http-01" else ""
        assert failed.startswith(f"certificate for a.lbd.test: failed: {reason}")
        assert ", next try in " in failed
        assert all(record.error for record in kept.keeper.certificates())
        proofs.is_mute = False
        kept.obtained()
        assert [record.error for record in kept.keeper.certificates()] == [None]


def test_bad_nonces_are_tried_again(program: Callable[[str], str], proofs: Proofs, tmp_path: Path) -> None:
    with (
        Pebble(program("pebble"), *proofs.ports, reject_nonces=70) as pebble,
        Kept(pebble.settings(tmp_path, "http-01"), proofs) as kept,
    ):
        kept.obtained()
        assert kept.log.of("error") == []


def test_an_authority_with_an_unknown_certificate_is_not_trusted(
    pebble: Pebble, proofs: Proofs, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(make_ca("another").cert_pem)
    settings = pebble.settings(tmp_path, "http-01").replace(str(pebble.ca), str(other))
    with Kept(settings, proofs) as kept:
        eventually(lambda: kept.log.of("error"), "refused", timeout=LONG)
        assert "is not trusted" in kept.log.of("error")[0]
        assert "name its CA in acme.ca" in kept.log.of("error")[0]


LISTENERS = """
state_directory: <state>
acme: {directory: "<directory>", ca: "<ca>", challenge: <challenge>}
listeners:
  - name: web
    bind: 127.0.0.1:<http>
    cluster: app
  - name: secure
    bind: 127.0.0.1:<tls>
    tls: {acme: {hosts: [a.lbd.test, b.lbd.test]}, strict_sni: true}
    cluster: app
clusters: [{name: app, endpoints: [<origin>]}]
"""


@pytest.mark.parametrize("challenge", CHALLENGES)
def test_lbd_gets_its_certificates(program: Callable[[str], str], tmp_path: Path, challenge: str) -> None:
    http, tls = free_port(), free_port()
    with Pebble(program("pebble"), http, tls) as pebble, EchoOrigin() as origin:
        places = {
            "state": tmp_path, "directory": pebble.directory, "ca": pebble.ca, "challenge": challenge,
            "http": http, "tls": tls, "origin": origin,
        }  # fmt: skip
        with Lbd(LISTENERS, **places) as lbd:
            for host in ("a.lbd.test", "b.lbd.test"):
                leaf = eventually(lambda host=host: leaf_of(tls, host), f"{host} in force", timeout=LONG)
                names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
                assert names.get_values_for_type(x509.DNSName) == [host]
                assert "Pebble" in leaf.issuer.rfc4514_string()
            assert "certificate for b.lbd.test: obtained, valid until " in lbd.stderr
        with Lbd(LISTENERS, **places):  # the stored ones, at once
            assert leaf_of(tls, "a.lbd.test") is not None


def leaf_of(port: int, host: str) -> x509.Certificate | None:
    """What a listener shows for an SNI; None when it refuses the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as raw:
        try:
            with context.wrap_socket(raw, server_hostname=host) as tls:
                return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
        except ssl.SSLError:
            return None
