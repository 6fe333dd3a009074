"""Reading and checking a certificate and its key: every mistake is an error that names file and remedy."""

from __future__ import annotations

import os
import ssl
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from certs.making import DAY, Made, make, make_ca
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from lbd.control.certs.errors import CertificateError
from lbd.control.certs.files import covers, format_time, load_pair, parse_pair
from lbd.control.certs.selfsigned import self_signed


def load(made: Made, directory: Path, *hosts: str):  # type: ignore[no-untyped-def]
    cert, key = made.write(directory)
    return load_pair(str(cert), str(key), hosts)


def test_a_good_pair(tmp_path: Path) -> None:
    made = make("A.example.com.", "*.Example.com", "127.0.0.1", "::1", issuer=make_ca())
    found = load(made, tmp_path)
    assert found.hosts == ("a.example.com", "*.example.com")
    assert found.addresses == ("127.0.0.1", "::1")
    assert found.fingerprint == made.fingerprint
    assert found.issuer == "CN=Test CA"
    assert (found.chain_pem, found.key_pem) == (made.cert_pem, made.key_pem)
    assert found.not_after == made.certificate.not_valid_after_utc.timestamp()
    assert found.warnings == ()
    assert found.problem_at(time.time()) is None
    assert "PRIVATE" not in repr(found)


def test_other_text_around_the_blocks_is_left_out(tmp_path: Path) -> None:
    """Files of openssl have descriptions; HAProxy's have the key in the same file."""
    made = make("a.example.com")
    both = tmp_path / "both.pem"
    both.touch(mode=0o600)
    both.write_bytes(b"subject=CN = a\r\n" + made.key_pem + b"Bag Attributes\n" + made.cert_pem + b"the end")
    found = load_pair(str(both), str(both))
    assert (found.chain_pem, found.key_pem) == (made.cert_pem, made.key_pem)


def test_the_common_name_counts_without_alternative_names_only() -> None:
    without = make("b.example.com", san=False)
    found = parse_pair(without.cert_pem, without.key_pem)
    assert found.hosts == ("b.example.com",)
    assert "no subjectAltName" in found.warnings[0]
    other = make("a.example.com", common="b.example.com")
    assert parse_pair(other.cert_pem, other.key_pem).hosts == ("a.example.com",)


def test_configured_hosts_replace_those_of_the_certificate() -> None:
    made = make("a.example.com", "*.b.example.com")
    hosts = ("a.example.com", "x.b.example.com", "c.example.com")
    found = parse_pair(made.cert_pem, made.key_pem, hosts, cert_name="c.pem")
    assert found.hosts == hosts
    assert found.warnings == ("c.pem: does not cover c.example.com, so clients will refuse it",)


@pytest.mark.parametrize("name", ["f*.example.com", "*", "a b", "*.*.example.com", "a.example.com:443"])
def test_names_that_match_no_client_are_left_out_with_a_warning(name: str) -> None:
    made = make("a.example.com", name)
    found = parse_pair(made.cert_pem, made.key_pem)
    assert found.hosts == ("a.example.com",)
    assert repr(name) in found.warnings[0]


def test_warnings_about_chain_and_purpose(tmp_path: Path) -> None:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    made = make("a.example.com", extensions=(usage,))
    made.chain = (make_ca("stranger").certificate,)
    warnings = parse_pair(made.cert_pem, made.key_pem, cert_name="c.pem").warnings
    assert "not for servers" in warnings[0]
    assert warnings[1] == "c.pem: certificate 2 did not issue certificate 1; order the chain"


def test_a_key_that_everybody_can_read_is_a_warning(tmp_path: Path) -> None:
    cert, key = make("a.example.com").write(tmp_path)
    assert load_pair(str(cert), str(key)).warnings == ()
    key.chmod(0o644)
    assert load_pair(str(cert), str(key)).warnings == (
        f"{key}: every user of this machine can read this private key; run: chmod o= {key}",
    )


@pytest.mark.parametrize(
    ("start", "end", "problem"),
    [
        (-2 * DAY, -timedelta(minutes=1), "expired at "),
        (DAY, 2 * DAY, "not valid before "),
        (-DAY, DAY, None),
    ],
)
def test_validity(start: timedelta, end: timedelta, problem: str | None) -> None:
    made = make("a.example.com", start=start, end=end)
    found = parse_pair(made.cert_pem, made.key_pem).problem_at(time.time())
    assert found == problem if problem is None else found is not None and found.startswith(problem)


def pem(key: object, password: bytes | None = None) -> bytes:
    how = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)  # type: ignore[attr-defined,no-any-return]


GOOD = make("a.example.com")
OTHER = make("b.example.com")
MISTAKES = {
    "other key": (GOOD.cert_pem, OTHER.key_pem, "key", "not the key of the certificate in"),
    "wrong order": (OTHER.cert_pem + GOOD.cert_pem, GOOD.key_pem, "cert", "belongs to certificate 2"),
    "empty cert": (b"", GOOD.key_pem, "cert", "no PEM certificate"),
    "swapped": (GOOD.key_pem, GOOD.cert_pem, "cert", "a private key; it must hold -----BEGIN CERTIFICATE"),
    "no key": (GOOD.cert_pem, GOOD.cert_pem, "key", "no PEM private key"),
    "cut cert": (GOOD.cert_pem[:200], GOOD.key_pem, "cert", "malformed certificate"),
    "cut key": (GOOD.cert_pem, GOOD.key_pem[:100], "key", "malformed private key"),
    "binary": (b"\0\xff" * 50, GOOD.key_pem, "cert", "no PEM certificate"),
    "passphrase": (GOOD.cert_pem, pem(GOOD.key, b"secret"), "key", "protected by a passphrase; remove it"),
    "short RSA": (GOOD.cert_pem, pem(rsa.generate_private_key(65537, 1024)), "key", "RSA key of 1024 bits"),
    "DSA": (GOOD.cert_pem, pem(dsa.generate_private_key(2048)), "key", "type of key is not supported"),
    "long chain": (GOOD.cert_pem * 17, GOOD.key_pem, "cert", "17 certificates"),
    "large": (GOOD.cert_pem + b"\n" * 2**20, GOOD.key_pem, "cert", "larger than 1 MiB"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str, tmp_path: Path) -> None:
    cert_pem, key_pem, setting, text = MISTAKES[mistake]
    cert, key = tmp_path / "c.pem", tmp_path / "k.pem"
    cert.write_bytes(cert_pem)
    key.write_bytes(key_pem)
    with pytest.raises(CertificateError) as caught:
        load_pair(str(cert), str(key))
    assert text in str(caught.value)
    assert caught.value.setting == setting
    assert str(caught.value).startswith(str(cert if setting == "cert" else key))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "Ed25519", "RSA"],
)
def test_kinds_of_keys(key: object) -> None:
    """The key is what is looked at: of another certificate here, which must be the only complaint."""
    with pytest.raises(CertificateError, match="not the key of the certificate"):
        parse_pair(GOOD.cert_pem, pem(key))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    _, key = GOOD.write(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    texts = {"none": "no such file", ".": "cannot be read|not a regular", "fifo": "not a regular"}
    for name, text in texts.items():
        with pytest.raises(CertificateError, match=text):
            load_pair(str(tmp_path / name), str(key))


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.binary(max_size=200), st.integers(0, 700), st.integers(0, 255))
def test_whatever_the_bytes_there_is_a_pair_or_a_certificate_error(noise: bytes, at: int, byte: int) -> None:
    damaged = bytearray(GOOD.cert_pem)
    damaged[at % len(damaged)] = byte
    for cert_pem, key_pem in (
        (bytes(damaged), GOOD.key_pem),
        (b"-----BEGIN CERTIFICATE-----\n" + noise + b"\n-----END CERTIFICATE-----\n", GOOD.key_pem),
        (GOOD.cert_pem, b"-----BEGIN PRIVATE KEY-----\n" + noise + b"\n-----END PRIVATE KEY-----\n"),
    ):
        try:
            parse_pair(cert_pem, key_pem)
        except CertificateError as error:
            assert str(error).isprintable()


def test_a_certificate_with_a_malformed_extension_is_an_error() -> None:
    bad = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x05\x82\x0a")
    made = make("a.example.com", san=False, extensions=(bad,))
    with pytest.raises(CertificateError, match="malformed"):
        parse_pair(made.cert_pem, made.key_pem)


@pytest.mark.parametrize(
    ("names", "host", "expected"),
    [
        (("a.example.com",), "a.example.com", True),
        (("a.example.com",), "b.example.com", False),
        (("*.example.com",), "a.example.com", True),
        (("*.example.com",), "a.b.example.com", False),
        (("*.example.com",), "example.com", False),
        (("*.example.com",), "*.example.com", True),
        (("*.example.com",), "*.a.example.com", False),
        (("localhost",), "localhost", True),
        (("*.",), "localhost", False),
        ((), "localhost", False),
    ],
)
def test_covers(names: tuple[str, ...], host: str, expected: bool) -> None:
    assert covers(names, host) is expected


def test_times_beyond_the_calendar() -> None:
    assert format_time(0) == "1970-01-01T00:00:00Z"
    assert format_time(1e18) == "1000000000000000000"


def test_a_self_signed_certificate_is_trusted_by_who_is_told_to(tmp_path: Path) -> None:
    chain, key = self_signed(("a.example.com", "127.0.0.1"), 30)
    found = parse_pair(chain, key)
    assert (found.hosts, found.addresses, found.warnings) == (("a.example.com",), ("127.0.0.1",), ())
    assert 29 * 86400 < found.not_after - time.time() <= 30 * 86400
    (tmp_path / "c.pem").write_bytes(chain)
    (tmp_path / "k.pem").write_bytes(key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    client = ssl.create_default_context(cafile=str(tmp_path / "c.pem"))
    assert shake_hands(server, client, "a.example.com")
    assert shake_hands(server, client, "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, client, "b.example.com")


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bool:
    """Both sides in memory, in turns; True when both are done."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        waiting = []
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                waiting.append(side)
        if not waiting:
            return True
    return False


def test_reading_does_not_wait_for_a_fifo(tmp_path: Path) -> None:
    """A writer that never comes must not hang the daemon: the read ends by itself."""
    os.mkfifo(tmp_path / "fifo")
    ended = threading.Event()

    def read() -> None:
        try:
            load_pair(str(tmp_path / "fifo"), str(tmp_path / "fifo"))
        except CertificateError:
            ended.set()

    threading.Thread(target=read, daemon=True).start()
    assert ended.wait(5)
