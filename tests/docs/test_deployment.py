"""docs/deployment.md: what it names is there, and its configuration is good."""

from __future__ import annotations

import re
from pathlib import Path

from lbd.cli.main import VERBS
from lbd.config.loader import load_text

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
CODE = "\n".join(re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL))


def test_all_files_are_installed() -> None:
    named = set(re.findall(r"install .*?(systemd/\S+)", CODE))
    there = {str(file.relative_to(ROOT)) for file in (ROOT / "systemd").rglob("*") if file.is_file()}
    assert named == there


def test_what_is_installed_is_removed() -> None:
    removal = "\n".join(re.findall(r"^rm -r.*$", CODE, re.MULTILINE))
    installed = re.findall(r"^install .* (\S+)$", CODE, re.MULTILINE)
    gone = re.findall(r" (/\S+)", removal)
    assert len(installed) == 7
    kept = {"/etc/systemd/system/lbd.socket"}  # optional, beside the walk
    assert {file for file in installed if not any(file.startswith(one) for one in gone)} == kept


def test_commands_exist() -> None:
    used = set(re.findall(r"(?:^|&& )lbd ([a-z]+)", CODE, re.MULTILINE))
    used |= set(re.findall(r"`lbd ([a-z]+)", DOCUMENT))
    assert used >= {"check", "reload", "status", "drain", "man", "completion"}
    assert used <= set(VERBS)


def test_configuration_is_good() -> None:
    (text,) = re.findall(r"<<'EOF'\n(.*?)EOF\n", CODE, re.DOTALL)
    assert load_text(text).listeners[0].name == "web"


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", DOCUMENT):
        assert (ROOT / "docs" / target).exists(), target
