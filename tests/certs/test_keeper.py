"""CertificateKeeper over files: what replaces a certificate in force, and what does not.

Polls are made by hand (`look_once`), so that each test says how many it takes.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from certs.making import DAY, Made, make
from certs.stage import FakeTls, Lines, LoopThread, config_of
from certs.watched import NEVER, Watched, in_place
from harness.waiting import eventually

from lbd.config.transport import Certificate
from lbd.control.certs import keeper as keeper_module
from lbd.control.certs.keeper import CertificateKeeper


def by_rename(watched: Watched, new: Made) -> None:
    for path, content in zip(watched.paths[0], (new.cert_pem, new.key_pem), strict=True):
        temporary = path.with_suffix(".new")
        temporary.write_bytes(content)
        temporary.replace(path)


def by_unlinking(watched: Watched, new: Made) -> None:
    for path, content in zip(watched.paths[0], (new.cert_pem, new.key_pem), strict=True):
        path.unlink()
        path.write_bytes(content)


@pytest.mark.parametrize("replace", [by_rename, in_place, by_unlinking])
def test_a_replaced_certificate_is_put_in_force_once_it_is_quiet(tmp_path: Path, replace) -> None:  # type: ignore[no-untyped-def]
    async def scenario() -> None:
        async with Watched(tmp_path) as watched:
            await watched.polls(3)
            assert watched.in_force() == [watched.made[0].fingerprint]
            assert len(watched.tls.installed) == 1
            new = make("new.example.com")
            replace(watched, new)
            await watched.polls(1)
            assert len(watched.tls.installed) == 1  # seen, but it may still be being written
            await watched.polls(1)
            assert watched.in_force() == [new.fingerprint]
            assert watched.tls.installed[-1][0][0] == ("new.example.com",)
            await watched.polls(3)
            assert len(watched.tls.installed) == 2
            assert [record.hosts for record in watched.keeper.certificates()] == [("new.example.com",)]
            assert watched.log.of("error") == []
            assert watched.keeper.failures == {"web": 0}

    asyncio.run(scenario())


def test_swapped_links_as_of_certbot_and_kubernetes(tmp_path: Path) -> None:
    """certbot: each file is a link to archive/certN.pem; Kubernetes: one link to a directory of both."""
    old, new, newest = make("old.example.com"), make("new.example.com"), make("newest.example.com")
    for number, made in enumerate((old, new, newest)):
        made.write(tmp_path / f"..data{number}", "tls")
    (tmp_path / "..data").symlink_to("..data0")
    for name in ("tls.pem", "tls-key.pem"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    config = config_of(f"{{certificates: [{{cert: {tmp_path}/tls.pem, key: {tmp_path}/tls-key.pem}}]}}")

    async def scenario() -> None:
        tls = FakeTls()
        keeper = CertificateKeeper(config, Lines(), poll=NEVER)  # type: ignore[arg-type]
        keeper.load()
        keeper.start({"web": tls}, lambda paths: None)  # type: ignore[dict-item]
        swap(tmp_path / "..data", "..data1")
        for _ in range(2):
            await keeper.look_once()
        assert tls.fingerprints() == [new.fingerprint]
        for name in ("tls.pem", "tls-key.pem"):
            swap(tmp_path / name, f"..data2/{name}")
        for _ in range(2):
            await keeper.look_once()
        assert tls.fingerprints() == [newest.fingerprint]
        await keeper.stop()

    asyncio.run(scenario())


def swap(link: Path, target: str) -> None:
    temporary = link.with_name("swapped")
    temporary.symlink_to(target)
    temporary.replace(link)


def test_a_mismatch_of_a_moment_is_no_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path) as watched:
            new = make("new.example.com")
            watched.paths[0][0].write_bytes(new.cert_pem)
            await watched.polls(2)  # seen; read: a mismatch, not yet an error
            assert (watched.errors(), watched.log.of("error")) == ([None], [])
            watched.paths[0][1].write_bytes(new.key_pem)
            await watched.polls(2)
            assert watched.in_force() == [new.fingerprint]
            assert (watched.errors(), watched.log.of("error")) == ([None], [])

    asyncio.run(scenario())


BROKEN = {
    "mismatch": (lambda new: new.cert_pem, "not the key of the certificate in"),
    "cut": (lambda new: new.cert_pem[:300], "malformed certificate"),
    "empty": (lambda new: b"", "no PEM certificate"),
    "expired": (None, "expired at "),
    "future": (None, "not valid before "),
    "gone": (None, "no such file"),
    "directory": (None, "not a regular file|cannot be read"),
}


def break_it(watched: Watched, how: str) -> None:
    cert = watched.paths[0][0]
    content, _ = BROKEN[how]
    if content is not None:
        cert.write_bytes(content(make("new.example.com")))
    elif how == "expired":
        in_place(watched, make("new.example.com", start=-2 * DAY, end=-DAY))
    elif how == "future":
        in_place(watched, make("new.example.com", start=DAY, end=2 * DAY))
    else:
        cert.unlink()
        if how == "directory":
            cert.mkdir()


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_replacement_leaves_the_old_one_in_force(tmp_path: Path, how: str) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path) as watched:
            break_it(watched, how)
            await watched.polls(8)
            assert watched.in_force() == [watched.made[0].fingerprint]
            assert len(watched.tls.installed) == 1
            (line,) = watched.log.of("error")  # once, however often it is looked at
            assert line.startswith("listeners.web.tls.certificates[0].")
            assert line.endswith(" (the old certificate stays in force)")
            (record,) = watched.keeper.certificates()
            assert record.error is not None
            assert line.startswith(record.error)
            assert any(part in line for part in BROKEN[how][1].split("|"))
            assert record.fingerprint == watched.made[0].fingerprint
            assert watched.keeper.failures == {"web": 1}

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["mismatch", "expired", "gone"])
def test_after_a_broken_one_a_good_one_is_taken(tmp_path: Path, how: str) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path) as watched:
            break_it(watched, how)
            await watched.polls(4)
            good = make("good.example.com")
            in_place(watched, good)
            await watched.polls(2)
            assert watched.in_force() == [good.fingerprint]
            assert watched.errors() == [None]

    asyncio.run(scenario())


def test_the_old_one_put_back_ends_the_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path) as watched:
            shutil.copy(watched.paths[0][0], tmp_path / "backup")
            break_it(watched, "cut")
            await watched.polls(4)
            assert watched.errors() != [None]
            shutil.copy(tmp_path / "backup", watched.paths[0][0])
            await watched.polls(2)
            assert watched.errors() == [None]
            assert len(watched.tls.installed) == 1

    asyncio.run(scenario())


def test_a_certificate_of_the_future_is_taken_when_its_time_comes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path) as watched:
            new = make("new.example.com", start=DAY, end=9 * DAY)
            in_place(watched, new)
            await watched.polls(5)
            assert watched.in_force() == [watched.made[0].fingerprint]
            watched.ahead = 2 * 86400
            await watched.polls(2)
            assert watched.in_force() == [new.fingerprint]
            assert watched.errors() == [None]

    asyncio.run(scenario())


def test_touched_files_with_the_same_content_are_not_put_in_force_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path) as watched:
            for path in watched.paths[0]:
                os.utime(path, (1, 1))
            await watched.polls(4)
            assert len(watched.tls.installed) == 1
            assert len(watched.log.all) == 0

    asyncio.run(scenario())


def test_one_that_openssl_refuses_does_not_hold_up_a_good_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path, count=2, refused="weak.example.com") as watched:
            weak, good = make("weak.example.com"), make("good.example.com")
            weak.write(tmp_path, "c0")
            good.write(tmp_path, "c1")
            await watched.polls(6)
            assert watched.in_force() == [watched.made[0].fingerprint, good.fingerprint]
            refused = "listeners.web.tls.certificates[0]: certificate: ca md too weak"
            assert watched.errors() == [refused, None]
            assert len(watched.log.of("error")) == 1
            good.write(tmp_path, "c0")
            await watched.polls(2)
            assert watched.in_force() == [good.fingerprint] * 2

    asyncio.run(scenario())


def test_reload_reads_at_once_and_returns_what_is_wrong(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path, count=2) as watched:
            new = make("new.example.com")
            new.write(tmp_path, "c0")
            watched.paths[1][1].write_bytes(b"nonsense")
            (error,) = watched.keeper.reload()
            assert error.startswith("listeners.web.tls.certificates[1].key: ")
            assert watched.in_force() == [new.fingerprint, watched.made[1].fingerprint]
            assert watched.errors() == [None, error]
            await watched.polls(4)  # which is not said again
            assert watched.log.of("error") == []
            watched.made[1].write(tmp_path, "c1")
            assert watched.keeper.reload() == []
            assert watched.errors() == [None, None]

    asyncio.run(scenario())


def during_the_read(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object], *, before: bool) -> None:
    """Let something happen just before, or after, the thread of a poll reads the files."""
    real = keeper_module._read_all

    def read_all(settings: Sequence[Certificate]) -> object:
        monkeypatch.setattr(keeper_module, "_read_all", real)  # what happens may read, too
        if before:
            happens()
        found = real(settings)
        if not before:
            happens()
        return found

    monkeypatch.setattr(keeper_module, "_read_all", read_all)


def test_files_that_change_between_look_and_read_are_left_to_the_next_poll(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path) as watched:
            newest = make("newest.example.com")
            in_place(watched, make("new.example.com"))
            await watched.polls(1)
            with monkeypatch.context() as patch:
                during_the_read(patch, lambda: in_place(watched, newest), before=True)
                await watched.polls(1)
            assert len(watched.tls.installed) == 1
            await watched.polls(2)
            assert watched.in_force() == [newest.fingerprint]

    asyncio.run(scenario())


def test_what_was_read_before_a_reload_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path) as watched:
            newest = make("newest.example.com")
            in_place(watched, make("newer.example.com"))
            await watched.polls(1)

            def reload() -> None:
                in_place(watched, newest)
                watched.keeper.reload()

            with monkeypatch.context() as patch:
                during_the_read(patch, reload, before=False)
                await watched.polls(1)
            assert watched.in_force() == [newest.fingerprint]
            await watched.polls(2)
            assert watched.in_force() == [newest.fingerprint]
            assert watched.errors() == [None]

    asyncio.run(scenario())


def test_a_reload_takes_the_good_one_of_two(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Watched(tmp_path, count=2, refused="weak.example.com") as watched:
            good = make("good.example.com")
            make("weak.example.com").write(tmp_path, "c0")
            good.write(tmp_path, "c1")
            assert watched.keeper.reload() == [
                "listeners.web.tls.certificates[0]: certificate: ca md too weak"
            ]
            assert watched.in_force() == [watched.made[0].fingerprint, good.fingerprint]

    asyncio.run(scenario())


def test_a_rejected_file_is_not_read_again_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when a certificate of the future, whose time has come, was there before it."""

    async def scenario() -> None:
        async with Watched(tmp_path) as watched:
            in_place(watched, make("new.example.com", start=DAY, end=9 * DAY))
            await watched.polls(4)
            watched.paths[0][0].write_bytes(b"noise")
            await watched.polls(4)
            watched.ahead = 2 * 86400
            reads: list[int] = []
            during_the_read(monkeypatch, lambda: reads.append(1), before=True)
            await watched.polls(4)
            assert reads == []

    asyncio.run(scenario())


def test_polling_goes_on_by_itself_until_stopped(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.keeper.poll = 0.01
    new = make("new.example.com")
    with LoopThread() as loop:
        loop.call(watched.keeper.start, {"web": watched.tls}, lambda paths: None)
        in_place(watched, new)
        eventually(lambda: watched.in_force() == [new.fingerprint], "put in force")
        loop.run(watched.keeper.stop())
        assert watched.keeper._tasks == []


def test_a_defect_does_not_end_the_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(tmp_path)
    watched.keeper.poll = 0.01
    real = watched.keeper._apply
    calls: list[int] = []

    def fails_once(*arguments: object, **named: object) -> list[str]:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("a defect")
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(watched.keeper, "_apply", fails_once)
    new = make("new.example.com")
    with LoopThread() as loop:
        loop.call(watched.keeper.start, {"web": watched.tls}, lambda paths: None)
        in_place(watched, new)
        eventually(lambda: watched.in_force() == [new.fingerprint], "put in force")
        loop.run(watched.keeper.stop())
    assert watched.log.of("error") == ["internal error while watching certificates: RuntimeError: a defect"]
