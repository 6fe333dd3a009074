"""`lbd cert`: files with the right modes, what show says of good and bad certificates, exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import socketserver
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from certs.making import DAY, make, make_ca
from cryptography import x509

ROOT = Path(__file__).parents[2]


def lbd(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lbd", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"},
        cwd=cwd,
        timeout=60,
        check=False,
    )


def test_self_signed_writes_two_files(tmp_path: Path) -> None:
    hosts = ("A.example.com", "*.b.example.com", "127.0.0.1")
    done = lbd("cert", "self-signed", *hosts, "--days", 7, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "certificate a.example.com.pem\nkey         a.example.com-key.pem\n"
    assert {path.name for path in tmp_path.iterdir()} == {"a.example.com.pem", "a.example.com-key.pem"}
    assert stat.S_IMODE((tmp_path / "a.example.com-key.pem").stat().st_mode) == 0o600
    leaf = x509.load_pem_x509_certificate((tmp_path / "a.example.com.pem").read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example.com", "*.b.example.com"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_self_signed_does_not_overwrite_without_force(tmp_path: Path) -> None:
    out = tmp_path / "new" / "tls"
    assert lbd("cert", "self-signed", "a.example.com", "--out", out, cwd=tmp_path).returncode == 0
    first = (out / "a.example.com.pem").read_bytes()
    done = lbd("cert", "self-signed", "a.example.com", "--out", out, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: {out}/a.example.com.pem exists; "
        "replace it with --force, or choose another directory with --out\n"
    )
    assert (out / "a.example.com.pem").read_bytes() == first
    (out / "a.example.com-key.pem").chmod(0o644)
    assert lbd("cert", "self-signed", "a.example.com", "--out", out, "--force", cwd=tmp_path).returncode == 0
    assert (out / "a.example.com.pem").read_bytes() != first
    assert stat.S_IMODE((out / "a.example.com-key.pem").stat().st_mode) == 0o600
    assert len(list(out.iterdir())) == 2


@pytest.mark.parametrize(("host", "stem"), [("*.example.com", "_.example.com"), ("::1", "__1")])
def test_file_names_of_unusual_hosts(tmp_path: Path, host: str, stem: str) -> None:
    assert lbd("cert", "self-signed", host, cwd=tmp_path).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"{stem}.pem", f"{stem}-key.pem"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("self-signed",), "Missing argument 'HOST...'"),
        (("self-signed", "../../etc/passwd"), "is not a host name"),
        (("self-signed", "a b"), "'a b' is not a host name"),
        (("self-signed", "a.example.com", "--days", "0"), "0 is not in the range"),
        (("show", "--sni", "a"), "--sni goes with --connect HOST:PORT"),
        (("show", "--connect", "a:1", "-c", "x"), "give either -c or --connect, not both"),
        (("show", "--connect", "a"), "'a' has no port; write host:port"),
        (("show", "--connect", ":1"), "has no host"),
    ],
)
def test_usage_errors_are_2(tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    done = lbd("cert", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_1(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = lbd("cert", "self-signed", "a.example.com", "--out", "file/sub", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: file/sub: cannot be written: Not a directory\n"


@pytest.mark.parametrize("verb", [("cert",), ("cert", "self-signed"), ("cert", "show")])
def test_help_has_an_example_and_nothing_is_cut(tmp_path: Path, verb: tuple[str, ...]) -> None:
    done = lbd(*verb, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"Example: lbd {' '.join(verb)}" in done.stdout
    assert "...\n" not in done.stdout.partition("Commands:")[2]


def write_config(directory: Path, *pairs: tuple[Path, Path], acme: str = "") -> Path:
    entries = ", ".join(f"{{cert: {cert}, key: {key}}}" for cert, key in pairs)
    path = directory / "lbd.yaml"
    path.write_text(
        f"state_directory: {directory}/state\n"
        f"listeners:\n- {{name: plain, bind: ':80', cluster: app}}\n"
        f"- {{name: web, bind: ':443', cluster: app, tls: {{certificates: [{entries}]{acme}}}}}\n"
        "clusters: [{name: app, endpoints: ['127.0.0.1:9001']}]\n"
    )
    return path


def test_show_describes_what_would_be_served(tmp_path: Path) -> None:
    made = make("a.example.com", "*.b.example.com", issuer=make_ca())
    config = write_config(tmp_path, made.write(tmp_path))
    done = lbd("cert", "show", "-c", config, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    end = made.certificate.not_valid_after_utc
    assert done.stdout.splitlines() == [
        "web: a.example.com, *.b.example.com",
        f"  source      file {tmp_path}/site.pem",
        "  issuer      CN=Test CA",
        f"  valid until {end:%Y-%m-%dT%H:%M:%SZ} (29 days)",
        f"  sha256      {made.fingerprint}",
    ]
    (shown,) = json.loads(lbd("cert", "show", "-c", config, "--json", cwd=tmp_path).stdout)
    assert shown["fingerprint"] == made.fingerprint
    assert shown["not_after"] == end.timestamp()
    assert (shown["listener"], shown["days_left"], shown["problems"]) == ("web", 29, [])


def test_show_tells_problems_and_exits_with_1(tmp_path: Path) -> None:
    good, other = make("a.example.com"), make("b.example.com")
    expired = make("c.example.com", start=-3 * DAY, end=-2 * DAY)
    (cert, key), (other_cert, _) = good.write(tmp_path, "good"), other.write(tmp_path, "other")
    pairs = ((other_cert, key), (cert, key), expired.write(tmp_path, "old"))
    config = write_config(tmp_path, *pairs, acme=", acme: {hosts: d.example.com}")
    done = lbd("cert", "show", "-c", config, "--json", cwd=tmp_path)
    assert done.returncode == 1
    mismatch, fine, late, absent = json.loads(done.stdout)
    assert "not the key of the certificate" in mismatch["problems"][0]
    assert (fine["problems"], fine["hosts"]) == ([], ["a.example.com"])
    assert late["problems"][0].startswith("expired at ")
    assert late["days_left"] < 0
    assert (absent["source"], absent["hosts"]) == ("acme", ["d.example.com"])
    assert "not obtained yet" in absent["problems"][0]
    assert not (tmp_path / "state").exists()  # showing makes nothing


def test_show_without_tls_says_so(tmp_path: Path) -> None:
    done = lbd("cert", "show", "-c", ROOT / "conf" / "minimal.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "no listener has TLS\n")


def test_a_bad_configuration_is_78(tmp_path: Path) -> None:
    done = lbd("cert", "show", "-c", "nope.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (78, "")


@contextlib.contextmanager
def tls_server(cert: Path, key: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError), context.wrap_socket(self.request, server_side=True) as tls:
                tls.recv(1)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_show_connect_tells_what_is_served(tmp_path: Path) -> None:
    made = make("a.example.com")
    with tls_server(*made.write(tmp_path)) as port:
        address = f"127.0.0.1:{port}"
        done = lbd("cert", "show", "--connect", address, "--sni", "a.example.com", "--json", cwd=tmp_path)
        (shown,) = json.loads(done.stdout)
        assert (done.returncode, done.stderr) == (0, "")
        assert (shown["fingerprint"], shown["source"]) == (made.fingerprint, "connect")
        other = lbd("cert", "show", "--connect", address, "--sni", "b.example.com", cwd=tmp_path)
        assert other.returncode == 1
        assert "  problem     does not cover b.example.com, so clients refuse it\n" in other.stdout
        assert lbd("cert", "show", "--connect", address, cwd=tmp_path).returncode == 0  # without SNI
    gone = lbd("cert", "show", "--connect", address, cwd=tmp_path)
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr.startswith(f"Error: {address}: no TLS handshake: ")
