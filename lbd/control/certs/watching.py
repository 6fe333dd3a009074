"""One certificate's two files, watched for replacement.

Both files must look the same at two polls in a row before they are read, and what is wrong with them must
last for two more before it is an error: tools such as certbot write one file after the other. Symbolic
links are followed, so that swapping a link (certbot, Kubernetes) is a change like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lbd.config import transport
from lbd.control.certs.errors import CertificateError
from lbd.control.certs.files import Certificate, load_pair

PATIENCE = 2  # reads of the same files before what is wrong with them counts

# (mtime in ns, size, inode, device) of each file, or (errno,)
Signature = tuple[tuple[int, ...], ...]
Outcome = Certificate | CertificateError


def look(setting: transport.Certificate) -> Signature:
    """What the two files look like now; blocks as long as stat(2) does."""
    return tuple(_look(path) for path in (setting.cert, setting.key))


def _look(path: str) -> tuple[int, ...]:
    try:
        found = Path(path).stat()
    except OSError as error:
        return (error.errno or 0,)
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def read(setting: transport.Certificate) -> tuple[Signature, Outcome]:
    """Read and check the two files; how they looked before. Blocks as long as read(2) does."""
    before = look(setting)
    try:
        return before, load_pair(setting.cert, setting.key, setting.hosts)
    except CertificateError as error:
        return before, error


@dataclass(slots=True, eq=False)
class WatchedPair:
    """A configured certificate: the one in force, and what is known of its files. Used on the loop only."""

    listener: str
    place: str  # listeners.web.tls.certificates[0]
    setting: transport.Certificate
    certificate: Certificate | None = None  # in force; kept when the files turn bad
    error: str | None = None  # why what is in the files now is not in force
    settled: Signature = ()  # of the files last decided about
    seen: Signature = ()  # at the last poll
    tries: int = 0
    again_at: float | None = None  # Unix seconds: when a certificate of the future becomes valid

    def is_due(self, now: Signature, time: float) -> bool:
        """Note what the files look like; True when they have changed, and are quiet since the last poll."""
        if now != self.seen:
            self.seen, self.tries = now, 0
            return False
        return now != self.settled or (self.again_at is not None and time >= self.again_at)

    def weigh(self, before: Signature, outcome: Outcome, time: float, patience: int = 1) -> Outcome | None:
        """Judge what was read: a Certificate to put in force, an error to report, or None: nothing to do yet.

        The caller then says `settle` (in force) or `reject`.
        """
        self.tries += 1
        self.again_at = None
        if isinstance(outcome, Certificate):
            if self.certificate is not None and _same(outcome, self.certificate):
                self.settle(before, self.certificate)
                return None
            problem = outcome.problem_at(time)
            if problem is None:
                return outcome
            self.again_at = outcome.not_before if time < outcome.not_before else None
            outcome = CertificateError(f"{self.setting.cert}: {problem}")
        return outcome if self.tries >= patience else None

    def settle(self, at: Signature, certificate: Certificate) -> None:
        """The files' certificate is in force."""
        self.certificate, self.error = certificate, None
        self.settled = self.seen = at
        self.again_at, self.tries = None, 0

    def reject(self, at: Signature, error: str) -> bool:
        """The files are not usable until they change; True when this was not known before."""
        is_new = error != self.error
        self.error = error
        self.settled = self.seen = at
        self.tries = 0
        return is_new

    def locate(self, error: CertificateError) -> str:
        """`listeners.web.tls.certificates[0].key: FILE: ...`"""
        return f"{self.place}.{error.setting}: {error}"


def _same(one: Certificate, other: Certificate) -> bool:
    return one.chain_pem == other.chain_pem and one.key_pem == other.key_pem
