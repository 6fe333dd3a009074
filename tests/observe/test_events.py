"""What lbd's log keeps of its last lines; and histograms as the dashboard gets them."""

from __future__ import annotations

import random
import threading

import pytest

from lbd.observe.histogram import BOUNDS, SHOWN_BOUNDS, histogram_parts
from lbd.observe.log import KEPT, Log
from lbd.observe.text import HistogramFamily


def test_the_last_lines_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log()
    for number in range(KEPT + 10):
        log.info(f"line {number}")
    kept = log.events()
    assert len(kept) == KEPT and [kept[0].number, kept[-1].number, log.last] == [11, KEPT + 10, KEPT + 10]
    assert kept[-1].text == f"line {KEPT + 9}" and kept[-1].level == "info"
    assert [event.number for event in log.events(KEPT + 8)] == [KEPT + 9, KEPT + 10]
    assert capsys.readouterr().err.count("\n") == KEPT + 10


def test_whatever_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log("error")
    log.info("quiet")
    log.debug("never")
    assert [event.text for event in log.events()] == ["quiet"] and capsys.readouterr().err == ""
    log.set_level("debug")
    log.debug("written")
    assert len(log.events()) == 1 and "written" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_and_no_control_character(capsys: pytest.CaptureFixture[str], form: str) -> None:
    log = Log("info", form, ["long-secret-of-somebody"])  # type: ignore[arg-type]
    log.warning("a\x1b[31m\nlong-secret-of-somebody\u202e" + "x" * 5000)
    (event,) = log.events()
    assert event.text.startswith("a\\x1b[31m\\n***\\u202exxx") and len(event.text) == 3000
    assert "secret" not in capsys.readouterr().err


def test_threads_get_numbers_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log()
    threads = [threading.Thread(target=lambda: [log.info("x") for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.number for event in log.events()] == list(range(1, 401))


def test_parts_are_the_rows_of_the_metrics() -> None:
    dice = random.Random(3)
    for _ in range(50):
        counts = [dice.choice([0, 0, 0, dice.randint(1, 9)]) for _ in BOUNDS]
        text = HistogramFamily("lbd_x", "X.").samples([], [0.0, counts]).decode()
        rows = [float(line.split()[1]) for line in text.splitlines() if "_bucket{" in line]
        parts = histogram_parts([0.0, counts])
        assert len(SHOWN_BOUNDS) == len(rows) - 1 and parts == sorted(parts)
        for index, cumulative in enumerate(rows):
            assert sum(count for i, count in parts if i <= index) == cumulative
