"""The certificate of a run: P-256, self-signed, made in the run's directory and gone with it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.compare.process import BenchError

DAYS = "2"
SECONDS = 20


@dataclass(frozen=True)
class Certificate:
    """PEM files: certificate, private key, and both in one file, as HAProxy wants them."""

    cert: Path
    key: Path
    both: Path


def make_certificate(directory: Path) -> Certificate:
    """A key and a certificate for 127.0.0.1. Raises BenchError when openssl is missing or fails."""
    program = shutil.which("openssl")
    if program is None:
        raise BenchError("works over TLS need openssl (Debian: apt install openssl)")
    made = Certificate(*(directory / name for name in ("cert.pem", "key.pem", "both.pem")))
    command = [
        program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
        "-keyout", str(made.key), "-out", str(made.cert), "-days", DAYS, "-subj", "/CN=lbd bench",
        "-addext", "subjectAltName=IP:127.0.0.1",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"openssl did not make a certificate within {SECONDS} s") from error
    if done.returncode:
        raise BenchError(f"openssl makes no certificate: {done.stderr.strip()[-300:]}")
    made.both.touch(mode=0o600)
    made.both.write_text(made.cert.read_text() + made.key.read_text())
    return made
