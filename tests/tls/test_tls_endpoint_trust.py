"""TLS to endpoints: who is believed (RFC 6125, RFC 9525). One lbd, a cluster for each case."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from certs.making import DAY, make, make_ca
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from harness.client import Response
from harness.messages import get
from tls.speaking import SecureHttpOrigin, Served, World

CERTIFICATES = ("named", "wildcard", "partial", "address", "address-as-name", "expired", "future", "stranger",
                "selfsigned", "for-clients")
BELIEVED = [("named", "app.inside"), ("wildcard", "app.svc.inside"), ("address", None)]
REFUSED = [
    ("named", "other.inside", "hostname mismatch"), ("named", "inside", "hostname mismatch"),
    ("wildcard", "a.b.svc.inside", "hostname mismatch"), ("wildcard", "svc.inside", "hostname mismatch"),
    ("partial", "app.inside", "hostname mismatch"), ("named", None, "IP address mismatch"),
    ("address-as-name", None, "IP address mismatch"), ("expired", "app.inside", "certificate has expired"),
    ("future", "app.inside", "certificate is not yet valid"),
    ("stranger", "app.inside", "(certificate signature failure|unable to get local issuer|self-signed)"),
    ("selfsigned", "app.inside", "self-signed certificate"),
    ("for-clients", "app.inside", "(unsuitable certificate purpose|unsupported certificate purpose)"),
]


SKIPPED = ("named", "expired", "selfsigned")  # with insecure_skip_verify


@dataclass
class Stage:
    lbd: Served
    origins: dict[str, SecureHttpOrigin]

    def ask(self, shown: str, tls: str) -> tuple[Response, SecureHttpOrigin]:
        """Through the cluster with these settings to the endpoint with that certificate."""
        return self.lbd.ask(get(f"/{key(shown, tls)}")), self.origins[shown]

    def warnings(self, shown: str, tls: str) -> list[str]:
        return [line for line in self.lbd.lines if " WARNING " in line and f" {key(shown, tls)}" in line]


def key(shown: str, tls: str) -> str:
    """The cluster of a case, its route and its name in the log."""
    return re.sub(r"[^a-z]+", "-", f"{shown} {tls}").strip("-") + "-end"


def trusting(sni: str | None) -> str:
    return f"{{ca: CA, sni: {sni}}}" if sni else "{ca: CA}"


SYSTEM, SKIP = "{sni: app.inside}", "{insecure_skip_verify: true}"
CASES = [*((shown, trusting(sni)) for shown, sni in BELIEVED), ("named", SYSTEM),
         *((shown, trusting(sni)) for shown, sni, _ in REFUSED), *((shown, SKIP) for shown in SKIPPED)]


def show(world: World) -> None:
    """What the endpoints show."""
    world.add("named", "app.inside")
    world.add("wildcard", "*.svc.inside")
    world.add("partial", "a*p.inside")
    world.add("address", "127.0.0.1")
    world.add("address-as-name", "app.inside", common="127.0.0.1")
    world.add("expired", "app.inside", start=-3 * DAY, end=-DAY)
    world.add("future", "app.inside", start=DAY, end=3 * DAY)
    world.add("stranger", "app.inside", issuer=make_ca("World CA"))
    make("app.inside").write(world.directory, "selfsigned")
    client_only = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    world.add("for-clients", "app.inside", extensions=(client_only,))


@pytest.fixture(scope="module")
def stage(world: World) -> Iterator[Stage]:
    show(world)
    with ExitStack() as stack:
        origins = {name: stack.enter_context(SecureHttpOrigin(world.server_context(name)))
                   for name in CERTIFICATES}
        routes, clusters = [], []
        for shown, tls in CASES:
            name = key(shown, tls)
            routes.append(f"      - {{match: {{path: /{name}}}, cluster: {name}}}")
            tls = tls.replace("CA", str(world.ca_file))
            clusters.append(f"  - {{name: {name}, endpoints: [{origins[shown]}], tls: {tls}}}")
        config = ['admin: {bind: "127.0.0.1:0"}', "listeners:", '  - name: web', '    bind: "127.0.0.1:0"',
                  "    routes:", *routes, "clusters:", *clusters]
        yield Stage(stack.enter_context(Served("\n".join(config))), origins)


@pytest.mark.parametrize(("shown", "sni"), BELIEVED)
def test_believed(stage: Stage, shown: str, sni: str | None) -> None:
    """By name, by wildcard, by address."""
    response, origin = stage.ask(shown, trusting(sni))
    assert response.status == 200
    assert origin.protocols[-1] in (None, "http/1.1")
    assert stage.warnings(shown, trusting(sni)) == []


@pytest.mark.parametrize(("shown", "sni", "why"), REFUSED)
def test_not_believed(stage: Stage, shown: str, sni: str | None, why: str) -> None:
    """Nothing is said to such an endpoint; the log says why, once."""
    before = stage.lbd.errors("upstream_tls_failed"), len(stage.origins[shown].requests)
    for _ in range(2):
        response, origin = stage.ask(shown, trusting(sni))
        assert (response.status, response.reason) == (502, "upstream_tls_failed")
        assert len(origin.requests) == before[1]
    assert stage.lbd.errors("upstream_tls_failed") == before[0] + 2
    said = stage.warnings(shown, trusting(sni))
    assert len(said) == 1
    assert re.search(why, said[0], re.IGNORECASE), said[0]


def test_the_system_does_not_know_the_authority(stage: Stage) -> None:
    assert stage.ask("named", SYSTEM)[0].reason == "upstream_tls_failed"


@pytest.mark.parametrize("shown", SKIPPED)
def test_insecure_skip_verify_says_so(stage: Stage, shown: str) -> None:
    assert stage.ask(shown, SKIP)[0].status == 200
    said = stage.warnings(shown, SKIP)
    assert len(said) == 1
    assert "certificates are not verified (insecure_skip_verify)" in said[0]


def test_sni(stage: Stage) -> None:
    """The configured name; none for an address (RFC 6066 3: literal addresses are not permitted)."""
    for tls, sni in ((trusting("app.inside"), "app.inside"), (SKIP, None), (trusting(None), None)):
        stage.origins["named"].close_all()  # so that there is a new handshake
        _, origin = stage.ask("named", tls)
        assert origin.names[-1] == sni
