"""W3C trace context, its grammar: what is taken up, and what is no context."""

from __future__ import annotations

import pytest

from lbd.engine.trace import Tracer, accepts_state, parse

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{ID}-{SPAN}-01"


def test_good_context() -> None:
    assert parse(GOOD.encode()) == (int(ID, 16), int(SPAN, 16), True)
    assert parse(f"00-{ID}-{SPAN}-00".encode()) == (int(ID, 16), int(SPAN, 16), False)
    assert parse(f"00-{ID}-{SPAN}-ff".encode()) == (int(ID, 16), int(SPAN, 16), True)
    assert parse(f"00-{ID}-{SPAN}-02".encode()) == (int(ID, 16), int(SPAN, 16), False)


@pytest.mark.parametrize("later", ["", "-", "-what comes then"])
def test_later_versions_may_have_more(later: str) -> None:
    assert parse(f"cc-{ID}-{SPAN}-01{later}".encode()) == (int(ID, 16), int(SPAN, 16), True)


@pytest.mark.parametrize("bad", [
    "", "00", GOOD[:-1], GOOD + "0", GOOD + "-", GOOD + "-00", GOOD.upper(), " " + GOOD, GOOD + " ",
    GOOD.replace("00-", "ff-", 1), GOOD.replace("00-", "0g-", 1), f"00-{'0' * 32}-{SPAN}-01",
    f"00-{ID}-{'0' * 16}-01", GOOD.replace("-", "_"), GOOD.replace("a", "\x00"), GOOD.replace("f", "g"),
    f"cc-{ID}-{SPAN}-01.x", f"00-{ID}-{SPAN}-0", f"00-{ID}-{SPAN}-0x", f"00{ID}-{SPAN}-01" + "--"])
def test_what_is_no_context(bad: str) -> None:
    assert parse(bad.encode("latin-1")) is None


@pytest.mark.parametrize("good", [
    "", "a=b", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "a=b, c=d\t,e=f", "a=b,,c=d", "t@sys=x", "0a=1",
    "a_-*/=!~ x", ",".join(f"k{n}=v" for n in range(32)), "k" * 256 + "=v"])
def test_good_states(good: str) -> None:
    assert accepts_state(good.encode())


@pytest.mark.parametrize("bad", [
    "a", "=b", "a=", "A=b", "a=b=c", "a b=c", "a=\x80", "a=b\x01", ",".join(f"k{n}=v" for n in range(33)),
    "k" * 257 + "=v", "a=" + "v" * 257, "a=b," + "x" * 600, "-a=b", "@a=b"])
def test_bad_states(bad: str) -> None:
    assert not accepts_state(bad.encode("latin-1"))


def test_settings_that_are_refused() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        Tracer(parent="sometimes")
