"""Versions, ciphers and the doors that TLS once had: openssl's own client and Python's, RFC 8996, 9325.

Every refusal is read off lbd's alert, so that a client that cannot speak the old version does not pass."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.http_origin import EchoOrigin
from harness.messages import get
from harness.waiting import TIMEOUT, eventually
from tls.speaking import SECURE, TLS12, TLS13, Served, TlsClient, World

Program = Callable[[str], str]
ASK = b"GET /asked HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"


def s_client(program: Program, lbd: Served, *options: str, data: bytes = ASK) -> str:
    """What `openssl s_client` says: the handshake, lbd's alert, the response."""
    command = [program("openssl"), "s_client", "-connect", "{}:{}".format(*lbd.address()), "-servername",
               "a.test", "-ign_eof", *options]
    done = subprocess.run(command, input=data, capture_output=True, timeout=2 * TIMEOUT, check=False)
    return (done.stdout + done.stderr).decode("latin-1")


@pytest.mark.parametrize(("option", "name"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_openssl_is_served(program: Program, secure: Served, option: str, name: str) -> None:
    said = s_client(program, secure, option)
    assert f"New, {name}, Cipher is" in said
    assert "HTTP/1.1 200" in said
    assert "Compression: NONE" in said
    assert "Secure Renegotiation IS NOT supported" not in said or name == "TLSv1.3"


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_python_is_served(secure: Served, world: World, version: object) -> None:
    context = world.client_context(version=version)  # type: ignore[arg-type]
    with TlsClient(secure.address(), context) as client:
        assert client.sock.version() == version.name.replace("_", ".")  # type: ignore[attr-defined]
        assert client.sock.compression() is None
        assert client.shown() == world.made["site"].fingerprint
        for path in ("/one", "/two", "/three"):
            answer = client.ask(get(path))
            assert (answer.status, answer.json()["target"]) == (200, path)


@pytest.mark.parametrize("option", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused_with_the_alert_that_says_so(
    program: Program, secure: Served, option: str
) -> None:
    before = secure.errors("handshake_failed")
    said = s_client(program, secure, option, "-cipher", "ALL:@SECLEVEL=0")
    assert "alert protocol version" in said
    assert "HTTP/1.1" not in said
    assert secure.errors("handshake_failed") == before + 1


WEAK = ["AES128-SHA", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384",
        "AECDH-AES128-SHA", "DHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-NULL-SHA",
        "PSK-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-CCM8"]


@pytest.mark.parametrize("cipher", WEAK)
def test_ciphers_without_forward_secrecy_or_authenticated_encryption_are_refused(
    program: Program, secure: Served, cipher: str
) -> None:
    psk = ["-psk", "00ff"] if cipher.startswith("PSK") else []
    said = s_client(program, secure, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0", *psk)
    assert "alert handshake failure" in said
    assert "HTTP/1.1" not in said


def test_weak_ciphers_are_not_chosen_by_accident(program: Program, secure: Served) -> None:
    """A client that offers everything, the weak first, gets a strong one."""
    offer = "AES128-SHA:ECDHE-ECDSA-AES128-SHA:ALL:@SECLEVEL=0"
    said = s_client(program, secure, "-tls1_2", "-cipher", offer)
    assert "Cipher is ECDHE-ECDSA-AES128-GCM-SHA256" in said
    assert "HTTP/1.1 200" in said


def test_min_version(world: World, program: Program, echo: EchoOrigin) -> None:
    config = SECURE.replace("<site>]", '<site>], min_version: "1.3"')
    with Served(config, site=world.pair("site"), origin=echo) as lbd:
        assert "alert protocol version" in s_client(program, lbd, "-tls1_2")
        assert "HTTP/1.1 200" in s_client(program, lbd, "-tls1_3")


def test_configured_ciphers(world: World, program: Program, echo: EchoOrigin) -> None:
    config = SECURE.replace("<site>]", "<site>], ciphers: ECDHE-ECDSA-CHACHA20-POLY1305")
    with Served(config, site=world.pair("site"), origin=echo) as lbd:
        assert "alert handshake failure" in s_client(
            program, lbd, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")
        assert "Cipher is ECDHE-ECDSA-CHACHA20-POLY1305" in s_client(program, lbd, "-tls1_2")
        assert "Cipher is TLS_AES_256_GCM_SHA384" in s_client(
            program, lbd, "-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384")


def test_renegotiation_is_refused(program: Program, secure: Served) -> None:
    """`R` makes s_client renegotiate (CVE-2009-3555, CVE-2011-1473); lbd says no_renegotiation."""
    host, port = secure.address()
    process = subprocess.Popen(
        [program("openssl"), "s_client", "-connect", f"{host}:{port}", "-tls1_2"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    assert process.stdin and process.stdout
    said = b""
    try:
        while b"Extended master secret" not in said:
            piece = process.stdout.read1(65536)  # type: ignore[attr-defined]
            assert piece, said
            said += piece
        process.stdin.write(b"R\n")
        process.stdin.flush()
        process.wait(TIMEOUT)
        said += process.stdout.read()
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    assert b"RENEGOTIATING" in said
    assert b"no renegotiation" in said
    eventually(lambda: secure.metric("lbd_connections_open", listener="web") == 0, "the connection is over")


def allow_early_data(session: Path) -> None:
    """Make a saved session claim that its ticket takes early data: the field [15] of OpenSSL's structure."""
    lines = session.read_text().splitlines()
    der = base64.b64decode("".join(lines[1:-1]))
    at = 4
    while at < len(der) and not 0xAF <= der[at] <= 0xBF:  # its fields stand in the order of their tags
        short = der[at + 1] < 0x80
        width = 0 if short else der[at + 1] & 0x7F
        size = der[at + 1] if short else int.from_bytes(der[at + 2 : at + 2 + width], "big")
        at += 2 + width + size
    body = der[4:at] + bytes.fromhex("af0402024000") + der[at:]
    whole = b"\x30\x82" + len(body).to_bytes(2, "big") + body
    session.write_text("\n".join((lines[0], base64.encodebytes(whole).decode().strip(), lines[-1], "")))


def test_early_data_is_not_taken(
    program: Program, secure: Served, echo: EchoOrigin, tmp_path: Path
) -> None:
    """A replay could repeat it (RFC 8470). Tickets allow none, and a client that sends some all the same gets
    its request of after the handshake served, no more."""
    session, early = tmp_path / "session.pem", tmp_path / "early"
    said = s_client(program, secure, "-tls1_3", "-sess_out", str(session))
    assert "Max Early Data: 0" in said
    early.write_bytes(ASK.replace(b"/asked", b"/early"))
    options = ("-tls1_3", "-sess_in", str(session), "-early_data", str(early))
    assert "Early data was not sent" in s_client(program, secure, *options)
    allow_early_data(session)
    said = s_client(program, secure, *options)
    assert "Early data was rejected" in said
    assert "Reused, TLSv1.3" in said
    assert said.count("HTTP/1.1 200") == 1
    assert "/early" not in echo.targets()
