"""CertificateKeeper at start: what load() refuses, warns of and tells, and a real listener."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from certs.making import DAY, make
from certs.stage import Lines, config_of
from certs.watched import Watched

from lbd.config.loader import load_text
from lbd.control.certs.errors import CertificateError
from lbd.control.certs.keeper import CertificateKeeper
from lbd.control.certs.selfsigned import challenge_certificate
from lbd.engine.tls import ServerTls, TlsError


def test_load_tells_all_problems_at_once(tmp_path: Path) -> None:
    good, other = make("a.example.com"), make("b.example.com")
    cert, key = good.write(tmp_path, "good")
    other_cert, _ = other.write(tmp_path, "other")
    config = load_text(
        f"""
listeners:
  - {{name: one, bind: ':1', cluster: app, tls: {{certificates: [{{cert: {cert}, key: {key}}},
       {{cert: {other_cert}, key: {key}}}]}}}}
  - {{name: plain, bind: ':3', cluster: app}}
  - {{name: two, bind: ':2', cluster: app, tls: {{certificates: [{{cert: {tmp_path}/none, key: {key}}}]}}}}
clusters: [{{name: app, endpoints: ['127.0.0.1:9001']}}]
""",
        env={},
    )
    with pytest.raises(CertificateError) as caught:
        CertificateKeeper(config, Lines()).load()  # type: ignore[arg-type]
    mismatch = f"not the key of the certificate in {other_cert}; give the two that belong together"
    assert str(caught.value).splitlines() == [
        f"listeners.one.tls.certificates[1].key: {key}: {mismatch}",
        f"listeners.two.tls.certificates[0].cert: {tmp_path}/none: no such file; check the path",
    ]


def test_an_expired_certificate_is_a_warning_at_start(tmp_path: Path) -> None:
    cert, key = make("a.example.com", start=-2 * DAY, end=-DAY).write(tmp_path)
    log = Lines()
    keeper = CertificateKeeper(config_of(f"{{certificates: [{{cert: {cert}, key: {key}}}]}}"), log)  # type: ignore[arg-type]
    keeper.load()
    (warning,) = log.of("warning")
    assert warning.startswith(f"listeners.web.tls.certificates[0]: {cert}: expired at ")


def test_start_fails_with_what_openssl_refuses(tmp_path: Path) -> None:
    async def scenario() -> None:
        watched = Watched(tmp_path, refused="a.example.com")
        with pytest.raises(CertificateError, match=r"listeners\.web\.tls: certificate: ca md too weak"):
            await watched.__aenter__()

    asyncio.run(scenario())


def test_a_real_listener_takes_what_a_keeper_installs(tmp_path: Path) -> None:
    async def scenario() -> None:
        watched = Watched(tmp_path, count=2)
        tls = ServerTls("web")
        watched.keeper.start({"web": tls}, lambda paths: None)
        assert tls.contexts == 2
        tls.set_challenges({"a.example.com": challenge_certificate("a.example.com", "token.thumbprint")})
        with pytest.raises(TlsError):
            tls.install([(("a.example.com",), watched.made[0].cert_pem, watched.made[1].key_pem)])
        await watched.keeper.stop()

    asyncio.run(scenario())


def test_records_are_in_order_with_what_is_configured(tmp_path: Path) -> None:
    cert, key = make("a.example.com", "b.example.com").write(tmp_path)
    config = config_of(f"{{certificates: [{{cert: {cert}, key: {key}, hosts: [b.example.com]}}]}}")
    keeper = CertificateKeeper(config, Lines())  # type: ignore[arg-type]
    keeper.load()
    (record,) = keeper.certificates()
    assert (record.listener, record.hosts, record.source) == ("web", ("b.example.com",), "file")
    assert record.not_after is not None
    assert record.not_after > time.time()
