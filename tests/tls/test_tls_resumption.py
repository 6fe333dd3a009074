"""Sessions that go on by ticket (RFC 5077, RFC 8446 4.6.1): how many, for whom, and when not."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
from harness.http_origin import EchoOrigin
from harness.messages import get
from tls.speaking import SECURE, TLS12, TLS13, Served, TlsClient, TlsH2Client, World, handshake_error

ASK = get().replace(b"example.test", b"a.test")
TWO = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app, tls: {certificates: [<site>, <other>]}}
  - {name: second, bind: "127.0.0.1:0", cluster: app, tls: {certificates: [<site>]}}
  - name: mutual
    bind: "127.0.0.1:0"
    tls: {certificates: [<site>], client_certificate: {ca: <ca>}}
    cluster: app
clusters: [{name: app, endpoints: [<origin>]}]
"""
versions = pytest.mark.parametrize("version", [TLS12, TLS13])


@pytest.fixture(scope="module")
def both(world: World, echo: EchoOrigin) -> Iterator[Served]:
    world.add("other", "b.test")
    pairs = {name: world.pair(name) for name in ("site", "other")}
    with Served(TWO, ca=world.ca_file, origin=echo, **pairs) as lbd:
        yield lbd


def session_of(lbd: Served, context: ssl.SSLContext, sni: str = "a.test",
               listener: str = "web") -> ssl.SSLSession:
    with TlsClient(lbd.address(listener), context, sni) as client:
        assert client.ask(ASK).status in (200, 421)
        assert not client.sock.session_reused
        session = client.sock.session
        assert session is not None
        return session


def resumes(lbd: Served, context: ssl.SSLContext, session: ssl.SSLSession, sni: str = "a.test",
            listener: str = "web") -> bool:
    """Does the connection go on with that session? It serves either way."""
    with TlsClient(lbd.address(listener), context, sni, session) as client:
        assert client.ask(ASK.replace(b"a.test", sni.encode())).status == 200
        return bool(client.sock.session_reused)


@versions
def test_resumed(secure: Served, world: World, version: ssl.TLSVersion) -> None:
    context = world.client_context(version=version)
    before = secure.metric("lbd_tls_handshakes_total", resumed="yes")
    session = session_of(secure, context)
    assert session.has_ticket
    assert resumes(secure, context, session)
    assert resumes(secure, context, session)
    assert secure.metric("lbd_tls_handshakes_total", resumed="yes") == before + 2


def test_resumed_over_http2(secure: Served, world: World) -> None:
    context = world.client_context(alpn=("h2",))
    with TlsH2Client(secure.address(), context) as client:
        assert client.start().fetch(1).status == 200
        session = client.sock.session
    with TlsH2Client(secure.address(), context, session=session) as client:
        assert client.start().fetch(1).status == 200
        assert client.sock.session_reused


@versions
def test_none_without_tickets(world: World, echo: EchoOrigin, version: ssl.TLSVersion) -> None:
    config = SECURE.replace("<site>]", "<site>], session_tickets: false")
    with Served(config, site=world.pair("site"), origin=echo) as lbd:
        context = world.client_context(version=version)
        with TlsClient(lbd.address(), context) as client:
            assert client.ask(ASK).status == 200
            session = client.sock.session
        assert session is None or not session.has_ticket
        if session is not None:
            assert not resumes(lbd, context, session)
        assert lbd.metric("lbd_tls_handshakes_total", resumed="yes") == 0


@versions
def test_a_client_that_only_listens_gets_its_tickets(world: World, version: ssl.TLSVersion) -> None:
    """Tickets wait for the first response; a client that says nothing gets them all the same."""
    from harness.origin import Origin, send

    config = SECURE.replace("cluster: app", "protocol: tcp\n    cluster: app")
    with Origin([send(b"220 hello\r\n")]) as origin, \
            Served(config, site=world.pair("site"), origin=origin) as lbd:
        context = world.client_context(version=version)
        with TlsClient(lbd.address(), context) as client:
            assert client.read_until(b"\r\n") == b"220 hello\r\n"
            session = client.sock.session
        assert session.has_ticket
        with TlsClient(lbd.address(), context, session=session) as client:
            assert client.read_until(b"\r\n") == b"220 hello\r\n"
            assert client.sock.session_reused


@versions
def test_a_ticket_of_another_listener_does_not_carry_over(
    both: Served, world: World, version: ssl.TLSVersion
) -> None:
    """Above all not to the listener that asks for a certificate: its session would be without one."""
    context = world.client_context(version=version)
    session = session_of(both, context)
    assert not resumes(both, context, session, listener="second")
    before = both.errors("client_certificate_refused", "mutual")
    with pytest.raises(ssl.SSLError, match=r"CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE"), \
            TlsClient(both.address("mutual"), context, session=session) as client:
        client.send(ASK)
        assert client.recv() == b"", "served without a certificate"
    assert both.errors("client_certificate_refused", "mutual") == before + 1


def test_a_session_goes_no_further_than_the_name_it_was_made_for(both: Served, world: World) -> None:
    """TLS 1.2: whoever resumes a.test's session under b.test's name has verified a.test only."""
    context = world.client_context(version=TLS12)
    session = session_of(both, context)
    with TlsClient(both.address(), context, "b.test", session) as client:
        response = client.ask(ASK.replace(b"a.test", b"b.test"))
        assert (response.status == 421) is bool(client.sock.session_reused)
        assert client.ask(ASK).status == (200 if client.sock.session_reused else 421)


@versions
def test_a_broken_ticket_is_a_full_handshake(
    secure: Served, echo: EchoOrigin, world: World, version: ssl.TLSVersion
) -> None:
    """Of another process, that is: its keys are its own."""
    context = world.client_context(version=version)
    with Served(SECURE, site=world.pair("site"), origin=echo) as other:
        session = session_of(other, context)
    assert not resumes(secure, context, session)
    assert handshake_error(secure.address(), context) == ""
