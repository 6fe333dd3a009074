"""When certificates are ordered, without an authority: renewal, backoff; and the state on disk."""

from __future__ import annotations

import asyncio
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from certs.making import DAY, make
from certs.stage import Lines, config_of

from lbd.control.certs import keeper as keeper_module
from lbd.control.certs.acme import AcmeError
from lbd.control.certs.errors import CertificateError
from lbd.control.certs.files import parse_pair
from lbd.control.certs.issuer import Events, Issuer, Pace
from lbd.control.certs.keeper import CertificateKeeper
from lbd.control.certs.store import Store

SLOW = Pace(shortest_retry=3600, longest_retry=7200)
HOST = "a.lbd.test"
ACME = f"{{acme: {{hosts: [{HOST}]}}}}"


def issuer_of(directory: Path, log: Lines | None = None, pace: Pace = SLOW, renew: str = "30d") -> Issuer:
    config = config_of(
        f"{{acme: {{hosts: [{HOST}]}}}}", f"state_directory: {directory}\nacme: {{renew_before: {renew}}}\n"
    )
    nothing: Callable[..., None] = lambda *_: None  # noqa: E731
    events = Events(show=nothing, obtained=nothing, failed=nothing)
    return Issuer(
        config.acme,
        Store(config),
        [HOST],
        log or Lines(),
        events,
        pace=pace,
        random=Random(7),  # type: ignore[arg-type]
    )


def stored(issuer: Issuer, life: int = 90, host: str = HOST) -> float:
    """Put a fresh certificate in the store; when it ends."""
    made = make(host, start=-DAY, end=(life - 1) * DAY)
    issuer.store.prepare()
    issuer.store.save(HOST, parse_pair(made.cert_pem, made.key_pem))
    return made.certificate.not_valid_after_utc.timestamp()


@pytest.mark.parametrize(
    ("life", "renew", "margin"), [(90, "30d", 30), (90, "10d", 10), (90, "80d", 30), (6, "30d", 2)]
)
def test_renewal_is_at_most_a_third_of_the_life_before_the_end(
    tmp_path: Path, life: int, renew: str, margin: float
) -> None:
    issuer = issuer_of(tmp_path, renew=renew)
    end = stored(issuer, life)
    issuer.load()
    before = end - issuer.states[HOST].renew_at
    assert 0.9 * margin * 86400 <= before <= margin * 86400 + 1


def test_renewals_are_spread() -> None:
    assert len({Random(seed).uniform(0.9, 1) for seed in range(10)}) == 10  # what the issuer draws from


def test_backoff_doubles_with_jitter_up_to_its_bound(tmp_path: Path) -> None:
    issuer = issuer_of(tmp_path, pace=Pace())
    for failures in range(1, 200):
        doubled = 60.0 * 2 ** min(failures - 1, 30)
        wait = issuer._backoff(failures)
        assert min(doubled, 6 * 3600) <= wait <= min(doubled * 1.5, 6 * 3600)
    assert issuer._backoff(1) != issuer._backoff(1)


def test_failures_in_a_row_are_counted_and_a_short_retry_after_shortens_nothing(tmp_path: Path) -> None:
    issuer = issuer_of(tmp_path, pace=Pace())
    state = issuer.states[HOST]
    for failures in (1, 2, 3):
        issuer._fail(state, AcmeError("no", retry_after=1.0))
        assert state.failures == failures
        assert state.retry_at - time.monotonic() > 59 * 2 ** (failures - 1)


@pytest.mark.parametrize("kind", ["noise", "expired", "other host", "absent"])
def test_a_stored_file_that_is_not_usable_is_ordered_anew(tmp_path: Path, kind: str) -> None:
    log = Lines()
    issuer = issuer_of(tmp_path, log)
    if kind != "absent":
        host = "b.lbd.test" if kind == "other host" else HOST
        stored(issuer, life=0 if kind == "expired" else 90, host=host)
    if kind == "noise":
        issuer.store.path_of(HOST).write_bytes(b"\0noise")
    issuer.load()
    assert issuer.states[HOST].certificate is None
    assert issuer._delay(issuer.states[HOST]) <= 0
    assert bool(log.of("error")) is (kind in ("noise", "other host"))


def test_a_certificate_that_another_process_obtained_is_taken(tmp_path: Path) -> None:
    """Two daemons on one state directory, as during a restart: the second does not order again."""
    issuer = issuer_of(tmp_path)
    issuer.load()
    stored(issuer)
    asyncio.run(issuer._attempt(issuer.states[HOST]))
    assert issuer.states[HOST].certificate is not None


# the state on disk


def test_a_state_directory_that_cannot_be_written_is_an_error_at_start(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in the place of the directory")
    keeper = CertificateKeeper(config_of(ACME, f"state_directory: {tmp_path}/state"), Lines())  # type: ignore[arg-type]
    with pytest.raises(CertificateError, match=r"state_directory: .*cannot be written: Not a directory; "):
        keeper.load()


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "find_spec", lambda name: None)
    keeper = CertificateKeeper(config_of(ACME, f"state_directory: {tmp_path}/state"), Lines())  # type: ignore[arg-type]
    with pytest.raises(CertificateError) as caught:
        keeper.load()
    assert str(caught.value) == (
        "listeners.web.tls.acme: needs the ACME library; install it with: pip install 'lbd[acme]'"
    )


def test_without_acme_the_library_is_not_imported(tmp_path: Path) -> None:
    import subprocess

    cert, key = make(HOST).write(tmp_path)
    program = (
        "import sys\nfrom certs.stage import Lines, config_of\n"
        "from lbd.control.certs.keeper import CertificateKeeper\n"
        f"CertificateKeeper(config_of('{{certificates: [{{cert: {cert}, key: {key}}}]}}'), Lines()).load()\n"
        "sys.exit('acme' in sys.modules or 'requests' in sys.modules)"
    )
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2]), *filter(None, sys.path)]
    env = {"PYTHONPATH": ":".join(paths)}
    done = subprocess.run([sys.executable, "-c", program], env=env, check=False, timeout=60)
    assert done.returncode == 0


def test_writes_are_atomic_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = issuer_of(tmp_path).store
    store.prepare()
    store.write("x.pem", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lbd.control.certs.store.os.fsync", full)
    with pytest.raises(CertificateError, match=r"x\.pem: cannot be written: No space left on device"):
        store.write("x.pem", b"new")
    monkeypatch.undo()
    assert (store.directory / "x.pem").read_bytes() == b"old"
    assert [path.name for path in store.directory.iterdir()] == ["x.pem"]
    assert stat.S_IMODE((store.directory / "x.pem").stat().st_mode) == 0o600


def test_a_damaged_account_key_is_never_replaced(tmp_path: Path) -> None:
    store = issuer_of(tmp_path).store
    store.prepare()
    first = store.account_key()
    assert store.account_key().private_numbers() == first.private_numbers()
    (store.directory / "account.key").write_bytes(b"noise")
    with pytest.raises(CertificateError, match="malformed account key"):
        store.account_key()
    assert (store.directory / "account.key").read_bytes() == b"noise"
