"""docs/resilience.md: every policy has an example, which uses the setting that the row names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lbd.config.schema import Cluster

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "resilience.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([\w ]+) \| (`.*?) \| .* \| \[[\w.-]+\]\(\.\./(conf/[\w.-]+)\) \|$", re.MULTILINE)
ROWS = ROW.findall(DOCUMENT)
POLICIES = {
    "adaptive_limit", "breaker", "fallback", "health_check", "max_requests", "panic_threshold",
    "passive_check", "regions", "retry", "slow_start", "sticky", "zones",
}  # fmt: skip


@pytest.mark.parametrize(("policy", "setting", "example"), ROWS, ids=[policy for policy, _, _ in ROWS])
def test_example_uses_the_setting(policy: str, setting: str, example: str) -> None:
    name = re.findall(r"[a-z_]+", setting)
    text = (ROOT / example).read_text(encoding="utf-8")
    assert f"{name[0]}:" in text


def test_every_policy_has_a_row() -> None:
    assert set(Cluster.model_fields) >= POLICIES
    named = {name for _, setting, _ in ROWS for name in re.findall(r"[a-z_]+", setting)}
    assert named >= POLICIES
