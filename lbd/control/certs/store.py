"""What ACME keeps on disk: the account's key, and one file per host with its key and certificate.

    STATE_DIRECTORY/acme/DIRECTORY_HOST/account.key, account.json, HOST.pem

Directories are 0700, files 0600. A write is a temporary file, fsync, rename, fsync of the directory: a crash
leaves the old file or the new one. Key and certificate share a file, so that they cannot come apart.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from lbd.config import schema
from lbd.control.certs.errors import CertificateError
from lbd.control.certs.files import Certificate, covers, load_pair
from lbd.control.certs.selfsigned import key_to_pem


class Store:
    """The files of one ACME authority. Methods raise CertificateError with what to do."""

    def __init__(self, config: schema.Config) -> None:
        host = urlsplit(config.acme.directory).netloc.replace(":", "_").replace("[", "").replace("]", "")
        self.directory = Path(config.state_directory) / "acme" / host

    def prepare(self) -> None:
        """Make the directories, and find out now whether they can be written to."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.directory.parent.chmod(0o700)
            self.directory.chmod(0o700)
            with tempfile.TemporaryFile(dir=self.directory):
                pass
        except OSError as error:
            raise CertificateError(
                f"{self.directory}: cannot be written: {error.strerror}; "
                "create it for the user that runs lbd, or choose another state_directory",
                "state_directory",
            ) from None

    def account_key(self) -> ec.EllipticCurvePrivateKey:
        """The key of the account, made when there is none. A broken file is an error, never replaced."""
        path = self.directory / "account.key"
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except FileNotFoundError:
            key = ec.generate_private_key(ec.SECP256R1())
            self.write(path.name, key_to_pem(key))
            return key
        except OSError as error:
            raise CertificateError(f"{path}: cannot be read: {error.strerror}") from None
        except (ValueError, TypeError) as error:
            raise CertificateError(f"{path}: malformed account key ({error}); restore or remove it") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CertificateError(f"{path}: not an ECDSA key; restore or remove it")
        return key

    def known_email(self) -> str | None:
        """The address that the authority was last told, if any."""
        path = self.directory / "account.json"
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CertificateError(f"{path}: cannot be read ({error}); remove it") from None
        email = found.get("email") if isinstance(found, dict) else None
        return email if isinstance(email, str) else None

    def remember_email(self, email: str | None) -> None:
        """Keep what the authority was told."""
        self.write("account.json", json.dumps({"email": email}).encode())

    def path_of(self, host: str) -> Path:
        """The file of a host; the schema admits no host with a slash in it."""
        return self.directory / f"{host}.pem"

    def certificate(self, host: str) -> Certificate | None:
        """The stored certificate of a host, or None when there is none yet."""
        path = str(self.path_of(host))
        if not os.path.lexists(path):
            return None
        found = load_pair(path, path)
        if not covers(found.hosts, host):
            raise CertificateError(f"{path}: is for {', '.join(found.hosts) or 'no host'}; remove it")
        return found

    def save(self, host: str, certificate: Certificate) -> None:
        """Keep the certificate of a host, in place of the former one."""
        self.write(self.path_of(host).name, certificate.key_pem + certificate.chain_pem)

    def write(self, name: str, content: bytes) -> None:
        """Atomically, with mode 0600."""
        path = self.directory / name
        temporary = ""
        try:
            descriptor, temporary = tempfile.mkstemp(dir=self.directory, prefix=f".{name}.")  # 0600
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            Path(temporary).replace(path)
            temporary = ""
            _sync_directory(self.directory)
        except OSError as error:
            raise CertificateError(f"{path}: cannot be written: {error.strerror}") from None
        finally:
            if temporary:
                Path(temporary).unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    """A rename is durable once its directory is."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
