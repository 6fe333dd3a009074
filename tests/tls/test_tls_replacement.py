"""Certificates replaced on disk while lbd serves (hazard: renewals): new handshakes only, broken files never.

The files are looked at every two seconds and must be quiet for one look; what is wrong must last two more."""

from __future__ import annotations

from certs.making import DAY, make
from harness.http_origin import EchoOrigin
from harness.messages import get
from harness.waiting import TIMEOUT, eventually
from tls.speaking import TLS12, Served, TlsClient, TlsH2Client, World

CONFIG = """
admin: {bind: "127.0.0.1:0"}
listeners:
  - {name: web, bind: "127.0.0.1:0", cluster: app, tls: {certificates: [<good>]}}
  - {name: mixed, bind: "127.0.0.1:0", cluster: app, tls: {certificates: [<mixed>]}}
  - {name: gone, bind: "127.0.0.1:0", cluster: app, tls: {certificates: [<gone>]}}
  - {name: late, bind: "127.0.0.1:0", cluster: app, tls: {certificates: [<late>]}}
clusters: [{name: app, endpoints: [<origin>]}]
"""
BROKEN = ("mixed", "gone", "late")
ASK = get().replace(b"example.test", b"a.test")


def shown(lbd: Served, world: World, listener: str = "web") -> str:
    with TlsClient(lbd.address(listener), world.client_context()) as client:
        assert client.ask(ASK).status == 200
        return client.shown()


def replace_all(world: World) -> str:
    """A good pair for one listener; for the others a key that does not belong, no file, an expired one."""
    fresh = world.add("good", "a.test")
    world.files("mixed")[0].write_bytes(make("a.test", issuer=world.ca).cert_pem)
    world.files("gone")[0].unlink()
    make("a.test", issuer=world.ca, start=-3 * DAY, end=-DAY).write(world.directory, "late")
    return fresh.fingerprint


def test_replaced_while_connections_live(world: World, echo: EchoOrigin) -> None:
    pairs = {name: world.pair(name) for name in ("good", *BROKEN)}
    for name in pairs:
        world.add(name, "a.test")
    old = {name: world.made[name].fingerprint for name in pairs}
    with Served(CONFIG, origin=echo, **pairs) as lbd:
        with TlsClient(lbd.address(), world.client_context(version=TLS12)) as one, \
                TlsH2Client(lbd.address(), world.client_context(alpn=("h2",))) as two:
            assert one.ask(ASK).status == two.start().fetch(1).status == 200
            context, session = one.sock.context, one.sock.session
            new = replace_all(world)
            eventually(lambda: shown(lbd, world) == new, "the new certificate", timeout=2 * TIMEOUT)
            assert one.shown() == two.shown() == old["good"]
            assert one.ask(ASK).status == two.fetch(3).status == 200
            with TlsClient(lbd.address(), context, session=session) as client:
                assert client.ask(ASK).status == 200
        assert any("new certificate" in line and new[:16] in line for line in lbd.said())
        complaints = eventually(
            lambda: three if len(three := [line for line in lbd.said() if " ERROR " in line]) == 3 else None,
            "three files are refused", timeout=2 * TIMEOUT)
        for name in BROKEN:
            assert shown(lbd, world, name) == old[name]
            assert lbd.metric("lbd_tls_cert_failures_total", listener=name) == 1
            line = next(line for line in complaints if f"listeners.{name}." in line)
            assert "the old certificate stays in force" in line
        assert lbd.metric("lbd_tls_cert_failures_total", listener="web") == 0
