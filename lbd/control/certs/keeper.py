"""CertificateKeeper: puts certificates in force in all listeners with TLS, and keeps them fresh.

    load() -> start(targets, publish) -> ... reload() ... -> stop()

All state is used on the loop only; files are looked at and read off the loop. A replacement that is broken
in any way leaves the old certificate in force, is logged once, counted and shown by `certificates`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from lbd.config import schema, transport
from lbd.control.certs.errors import CertificateError
from lbd.control.certs.files import Certificate
from lbd.control.certs.offloop import off_loop
from lbd.control.certs.selfsigned import challenge_certificate
from lbd.control.certs.watching import PATIENCE, Outcome, Signature, WatchedPair, look, read
from lbd.engine.tls import ServerTls, TlsError
from lbd.observe.log import Log

if TYPE_CHECKING:
    from lbd.control.certs.acme import Challenge
    from lbd.control.certs.issuer import Issuer, Pace

POLL_SECONDS = 2.0
CHALLENGE_PATH = b"/.well-known/acme-challenge/"  # RFC 8555, section 8.3

class Target(Protocol):
    """What certificates are put in force in: a ServerTls, or those of all workers."""

    def install(self, certificates: Sequence[tuple[Sequence[str], bytes, bytes]]) -> None: ...
    def set_challenges(self, challenges: Mapping[str, tuple[bytes, bytes]]) -> None: ...


Publish = Callable[[Mapping[bytes, bytes]], None]
Found = tuple[WatchedPair, Signature, Outcome]


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """A certificate of a listener, for metrics and people. Without one in force `not_after` is None."""

    listener: str
    hosts: tuple[str, ...]
    not_after: float | None  # Unix seconds
    fingerprint: str | None
    source: str  # file or acme
    error: str | None  # why it is not replaced
    file: str | None = None  # of one that comes from files
    not_before: float | None = None  # Unix seconds
    issuer: str | None = None


class CertificateKeeper:
    """The certificates of all listeners of one configuration. Intervals in seconds; `clock` is Unix time."""

    def __init__(
        self,
        config: schema.Config,
        log: Log,
        *,
        poll: float = POLL_SECONDS,
        clock: Callable[[], float] = time.time,
        pace: Pace | None = None,
    ) -> None:
        self.config = config
        self.log = log
        self.poll = poll
        self.clock = clock
        self.pace = pace
        tls = {one.name: one.tls for one in config.listeners if one.tls is not None}
        self.failures = dict.fromkeys(tls, 0)  # replacements and orders that failed, per listener
        self.pairs = [
            WatchedPair(name, f"listeners.{name}.tls.certificates[{index}]", setting)
            for name, settings in tls.items()
            for index, setting in enumerate(settings.certificates)
        ]
        self.acme_hosts = {name: one.acme.hosts for name, one in tls.items() if one.acme is not None}
        self.issuer: Issuer | None = None
        self._targets: Mapping[str, Target] = {}
        self._publish: Publish = _nowhere
        self._tasks: list[asyncio.Task[None]] = []

    def load(self) -> None:
        """Read all files and what ACME has stored; CertificateError with one line for each problem."""
        problems: list[str] = []
        for pair in self.pairs:
            before, outcome = read(pair.setting)
            if isinstance(outcome, Certificate):
                pair.settle(before, outcome)
                self._warn(pair, outcome)
            else:
                problems.append(pair.locate(outcome))
        try:
            self._load_acme()
        except CertificateError as error:
            problems.append(f"{error.setting}: {error}")
        if problems:
            raise CertificateError("\n".join(problems))

    def _warn(self, pair: WatchedPair, certificate: Certificate) -> None:
        problem = certificate.problem_at(self.clock())
        late = () if problem is None else (f"{pair.setting.cert}: {problem}",)
        for warning in (*late, *certificate.warnings):
            self.log.warning(f"{pair.place}: {warning}")

    def _load_acme(self) -> None:
        """The issuer, if a listener asks for one; the only place that needs the library."""
        if not self.acme_hosts:
            return
        if find_spec("acme") is None:
            listener = next(iter(self.acme_hosts))
            raise CertificateError(
                "needs the ACME library; install it with: pip install 'lbd[acme]'",
                f"listeners.{listener}.tls.acme",
            )
        from lbd.control.certs.issuer import Events, Issuer, Pace
        from lbd.control.certs.store import Store

        hosts = list(dict.fromkeys(host for hosts in self.acme_hosts.values() for host in hosts))
        events = Events(show=self._show, obtained=self._on_obtained, failed=self._on_failed)
        self.issuer = Issuer(
            self.config.acme,
            Store(self.config),
            hosts,
            self.log,
            events,
            pace=self.pace or Pace(),
            clock=self.clock,
        )
        self.issuer.load()

    def start(self, targets: Mapping[str, Target], publish: Publish) -> None:
        """Put everything in force, and begin to watch and to order. CertificateError: OpenSSL refuses one.

        `targets` has the TLS settings of each listener by name; `publish` replaces the answers to requests
        for /.well-known/acme-challenge/TOKEN. Needs a running loop.
        """
        self._targets, self._publish = targets, publish
        refused = {name: self._install(name) for name in self.failures}
        problems = [f"listeners.{name}.tls: {problem}" for name, problem in refused.items() if problem]
        if problems:
            raise CertificateError("\n".join(problems))
        if self.pairs:
            self._tasks.append(asyncio.create_task(self._watch(), name="certificate files"))
        if self.issuer is not None:
            self._tasks.append(asyncio.create_task(self.issuer.run(), name="ACME"))

    def rehearse(self) -> None:
        """Would OpenSSL take what was loaded? CertificateError when not. Nothing is put in force."""
        problems = []
        for name in self.failures:
            self._targets = {name: ServerTls(name)}
            problem = self._install(name)
            problems += [f"listeners.{name}.tls: {problem}"] if problem is not None else []
        self._targets = {}
        if problems:
            raise CertificateError("\n".join(problems))

    async def stop(self) -> None:
        """End all background work; certificates stay in force."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(end, Exception):
                self.log.error(f"internal error in certificates: {type(end).__name__}: {end}")

    def reload(self) -> list[str]:
        """Read all files now; what is wrong with them, one line each, which is not logged here."""
        return self._take(_read_all([pair.setting for pair in self.pairs]))

    async def reload_aside(self) -> list[str]:
        """The same, but the files are read off the loop."""
        return self._take(await off_loop(_read_all, [pair.setting for pair in self.pairs]))

    def _take(self, outcomes: Sequence[tuple[Signature, Outcome]]) -> list[str]:
        found = [(pair, *outcome) for pair, outcome in zip(self.pairs, outcomes, strict=True)]
        return self._apply(found, patience=1, is_quiet=True)

    def certificates(self) -> Iterator[CertificateRecord]:
        """What each listener has; the first one of a listener is its default."""
        for name in self.failures:
            for pair in self.pairs:
                if pair.listener == name:
                    names = pair.setting.hosts
                    yield _record(name, names, pair.certificate, "file", pair.error, pair.setting.cert)
            for host in self.acme_hosts.get(name, ()):
                state = self.issuer.states[host] if self.issuer is not None else None
                certificate, error = (state.certificate, state.error) if state is not None else (None, None)
                yield _record(name, (host,), certificate, "acme", error)

    # files

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.poll)
            try:
                await self.look_once()
            except Exception as error:  # a defect must not end the watch
                self.log.error(f"internal error while watching certificates: {type(error).__name__}: {error}")

    async def look_once(self) -> None:
        """One poll of all files."""
        signatures = await off_loop(_look_at_all, [pair.setting for pair in self.pairs])
        looks = zip(self.pairs, signatures, strict=True)
        due = [pair for pair, signature in looks if pair.is_due(signature, self.clock())]
        if not due:
            return
        outcomes = await off_loop(_read_all, [pair.setting for pair in due])
        # what has changed since the look, or was settled by a reload meanwhile, is left to the next poll
        read_now = zip(due, outcomes, strict=True)
        quiet = [(pair, *outcome) for pair, outcome in read_now if outcome[0] == pair.seen]
        self._apply(quiet, patience=PATIENCE)

    def _apply(self, found: Sequence[Found], patience: int, is_quiet: bool = False) -> list[str]:
        """Put in force what is good, remember what is not; the lines about the latter."""
        errors: list[str] = []
        accepted: dict[WatchedPair, tuple[Signature, Certificate]] = {}
        for pair, before, outcome in found:
            weighed = pair.weigh(before, outcome, self.clock(), patience)
            if isinstance(weighed, Certificate):
                accepted[pair] = (before, weighed)
            elif weighed is not None:
                errors.append(self._reject(pair, before, pair.locate(weighed), is_quiet))
        for name in dict.fromkeys(pair.listener for pair in accepted):
            mine = {pair: item for pair, item in accepted.items() if pair.listener == name}
            errors += self._replace(name, mine, is_quiet)
        return errors

    def _replace(
        self, name: str, accepted: Mapping[WatchedPair, tuple[Signature, Certificate]], is_quiet: bool
    ) -> list[str]:
        """All at once; when OpenSSL refuses, one by one, so that a good one does not wait for a bad one."""
        problem = self._install(name, {pair: certificate for pair, (_, certificate) in accepted.items()})
        if problem is not None and len(accepted) > 1:
            return [
                error
                for pair, item in accepted.items()
                for error in self._replace(name, {pair: item}, is_quiet)
            ]
        for pair, (before, certificate) in accepted.items():
            if problem is not None:
                return [self._reject(pair, before, f"{pair.place}: {problem}", is_quiet)]
            pair.settle(before, certificate)
            self._warn(pair, certificate)
            self.log.info(f"{pair.place}: new certificate {certificate.fingerprint[:16]} is in force")
        return []

    def _reject(self, pair: WatchedPair, before: Signature, error: str, is_quiet: bool) -> str:
        if pair.reject(before, error):
            self.failures[pair.listener] += 1
            if not is_quiet:
                self.log.error(f"{error} (the old certificate stays in force)")
        return error

    def _install(self, name: str, replaced: Mapping[WatchedPair, Certificate] | None = None) -> str | None:
        """All certificates of a listener, some in place of former ones; what OpenSSL minds, if at all."""
        entries: list[tuple[Sequence[str], bytes, bytes]] = []
        for pair in self.pairs:
            certificate = (replaced or {}).get(pair, pair.certificate)
            if pair.listener == name and certificate is not None:
                entries.append((certificate.hosts, certificate.chain_pem, certificate.key_pem))
        for host in self.acme_hosts.get(name, ()):
            state = self.issuer.states[host] if self.issuer is not None else None
            if state is not None and state.certificate is not None:
                entries.append(((host,), state.certificate.chain_pem, state.certificate.key_pem))
        try:
            self._targets[name].install(entries)
        except TlsError as error:
            return str(error)
        return None

    # ACME

    def _show(self, challenge: Challenge | None) -> None:
        """Present the proof for the order in hand, everywhere; None takes it back."""
        paths: dict[bytes, bytes] = {}
        shown: dict[str, tuple[bytes, bytes]] = {}
        if challenge is not None and challenge.kind == "http-01":
            paths[CHALLENGE_PATH + challenge.token.encode()] = challenge.key_authorization.encode()
        elif challenge is not None:
            shown[challenge.host] = challenge_certificate(challenge.host, challenge.key_authorization)
        self._publish(paths)
        for target in self._targets.values():
            target.set_challenges(shown)

    def _on_obtained(self, host: str, certificate: Certificate) -> None:
        for name, hosts in self.acme_hosts.items():
            if host in hosts and (problem := self._install(name)) is not None:
                self.failures[name] += 1
                self.log.error(f"listeners.{name}.tls.acme: certificate for {host}: {problem}")

    def _on_failed(self, host: str) -> None:
        for name, hosts in self.acme_hosts.items():
            self.failures[name] += host in hosts


def _look_at_all(settings: Sequence[transport.Certificate]) -> list[Signature]:
    return [look(setting) for setting in settings]


def _read_all(settings: Sequence[transport.Certificate]) -> list[tuple[Signature, Outcome]]:
    return [read(setting) for setting in settings]


def _record(
    listener: str,
    hosts: Sequence[str],
    certificate: Certificate | None,
    source: str,
    error: str | None,
    file: str | None = None,
) -> CertificateRecord:
    if certificate is None:
        return CertificateRecord(listener, tuple(hosts), None, None, source, error, file)
    return CertificateRecord(
        listener,
        certificate.hosts or certificate.addresses,
        certificate.not_after,
        certificate.fingerprint,
        source,
        error,
        file,
        certificate.not_before,
        certificate.issuer,
    )


def _nowhere(paths: Mapping[bytes, bytes]) -> None:
    """Before start there is nobody to publish to."""
