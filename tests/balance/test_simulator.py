"""bench/sim: it repeats itself, and what it shows of balancers and guards."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from bench.sim.cli import main
from bench.sim.figures import Figures, figures_of, percentile, spread
from bench.sim.profiles import PROFILES
from bench.sim.run import Record, run

LIVELY = ("least_conn", "p2c", "peak_ewma", "least_conn_rt")


@cache
def record(profile: str, balancer: str, variant: str = "", seed: int = 1, seconds: float = 60) -> Record:
    return run(replace(PROFILES[profile](), seconds=seconds), balancer, variant, seed)


def figures(*what: str, seconds: float = 60) -> Figures:
    return figures_of(record(*what, seconds=seconds))


def test_the_same_seed_gives_the_same_run() -> None:
    profile = replace(PROFILES["fails-fast"](), seconds=25)
    one, two, other = (run(profile, "peak_ewma", "retried", seed) for seed in (1, 1, 2))
    assert (one.arrived, one.seconds, one.reasons) == (two.arrived, two.seconds, two.reasons)
    assert (one.events, one.attempts, one.counters) == (two.events, two.attempts, two.counters)
    assert one.seconds != other.seconds


def test_the_same_requests_come_whatever_the_balancer() -> None:
    one, two = (record("one-slow", name, seconds=10) for name in ("round_robin", "p2c"))
    assert sorted(one.arrived) == sorted(two.arrived)


@pytest.mark.parametrize("balancer", LIVELY)
def test_a_slow_endpoint_spoils_little(balancer: str) -> None:
    """The figure asked for: five times better than round_robin."""
    plain = figures("one-slow", "round_robin", seconds=20)
    assert figures("one-slow", balancer, seconds=20).p99 < plain.p99 / 5


@pytest.mark.parametrize("balancer", ["round_robin", "p2c", "maglev"])
def test_a_dead_endpoint_costs_no_request(balancer: str) -> None:
    found = figures("one-dead", balancer, seconds=30)
    assert (found.errors, found.recovery) == (0, 0.0)
    assert found.retries and found.ejections


def test_guards_hold_back_what_fails_at_once() -> None:
    bare, default, retried = (
        figures("fails-fast", "least_conn", variant, seconds=30)
        for variant in ("no guard", "default", "retried")
    )
    assert bare.errors > 1000 and bare.max_mean > 2  # it looks idle
    assert default.errors < 20
    assert retried.errors == 0


def test_a_breaker_spares_endpoints_that_all_fail() -> None:
    without, with_one = (record("all-failing", "p2c", variant, seconds=45) for variant in ("", "breaker"))
    kinds = [kind for _, kind, _ in with_one.events]
    assert "breaker open" in kinds and "breaker closed" in kinds[kinds.index("breaker open") :]
    assert sum(with_one.attempts.values()) < 0.8 * sum(without.attempts.values())
    assert with_one.codes[1:]


def test_a_budget_ends_a_storm_of_retries() -> None:
    budget, storm = (figures("retry-storm", "p2c", variant) for variant in ("budget 20%", "no budget"))
    assert budget.recovery is not None and budget.recovery < 15
    assert budget.retries_denied > budget.retries
    assert storm.errors > 5 * budget.errors


def test_an_adaptive_limit_keeps_answers_quick() -> None:
    without, adaptive = (figures("overload", "least_conn", variant) for variant in ("", "adaptive"))
    assert adaptive.p99 < 0.2 * without.p99
    assert adaptive.errors < 0.4 * without.errors


def test_a_slow_start_spares_a_cold_endpoint() -> None:
    without, with_one = (figures("cold-start", "round_robin", variant) for variant in ("", "slow_start"))
    assert with_one.p99 < without.p99 / 2


def test_few_keys_move_when_an_endpoint_goes() -> None:
    for balancer in ("hash", "ring_hash", "maglev"):
        moved = figures("cache-keys", balancer, seconds=51).moved
        assert moved is not None and 0.05 < moved < 0.13, balancer


def test_the_near_zone_and_region_serve_while_they_can() -> None:
    assert 0 < figures("zones", "p2c").cross_zone < 0.5 * figures("zones", "p2c").attempts
    names = record("regions", "p2c").attempts
    assert all(count > 0 for name, count in names.items() if name.startswith("us"))
    early = record("regions", "p2c", seconds=15).attempts
    assert not any(count for name, count in early.items() if name.startswith("us"))


def test_percentiles_and_spread() -> None:
    assert [percentile(range(1, 101), share) for share in (0.5, 0.99, 0.999)] == [50, 99, 100]
    assert percentile((), 0.5) == 0
    assert spread([1, 1, 1]) == (1.0, 0.0)
    assert spread([0, 2]) == (2.0, 1.0)
    assert spread([0, 0]) == (1.0, 0.0)


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = {"even": lambda: replace(PROFILES["even"](), seconds=2)}
    monkeypatch.setattr("bench.sim.cli.PROFILES", short)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- sim:begin -->\nold\n<!-- sim:end -->\nafter\n")
    arguments = ["--profile", "even", "--balancer", "p2c", "maglev:load_factor=1.5", "--publish", str(page)]
    assert main([*arguments, "--json", str(tmp_path / "figures.json")]) == 0
    assert "maglev:load_factor=1.5" in capsys.readouterr().out
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| `p2c` |" in text and "sim/sim-even-latency.svg" in text
    assert (tmp_path / "sim" / "sim-even-latency.svg").read_text().startswith("<svg")
    assert '"p99"' in (tmp_path / "figures.json").read_text()


def test_a_balancer_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--balancer", "roundrobin"]) == 2
    assert "unknown balancer 'roundrobin'; there are round_robin" in capsys.readouterr().err
