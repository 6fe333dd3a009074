"""The examples in conf/: each loads, lbd.yaml names every setting and shows true defaults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lbd.config.loader import load, load_text
from lbd.config.observing import AccessLog
from lbd.config.reference import settings

CONF = Path(__file__).parents[2] / "conf"
FILES = sorted(CONF.glob("*.yaml"))
LISTS = (
    "listeners",
    "clusters",
    "listeners[].routes",
    "listeners[].tls.certificates",
    "clusters[].endpoints",
    "tests",
)


def test_there_are_examples() -> None:
    names = {file.name for file in FILES}
    assert {"lbd.yaml", "minimal.yaml", "tcp.yaml", "http-routing.yaml", "limits-and-timeouts.yaml"} <= names


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_example_loads(file: Path) -> None:
    assert load(file, env={}).listeners


def test_every_setting_occurs_in_lbd_yaml_at_its_place() -> None:
    """Commented or not: each setting stands below the setting that holds it."""
    missing = {path for path, _ in settings()} - written_paths(CONF / "lbd.yaml")
    # of the two places of access_log one shows its settings; the commented short form shows the other
    missing -= {f"listeners[].access_log.{name}" for name in AccessLog.model_fields}
    assert missing == set()


def written_paths(file: Path) -> set[str]:
    """Paths of all settings of a file, those in comments too, from indentation and from flow mappings."""
    paths: set[str] = set()
    open_settings: list[tuple[int, str]] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        uncommented = re.sub(r"^(\s*)# (?=\s*(?:- )?[a-z_][a-z0-9_]*:( |$))", r"\1", line)
        match = re.match(r"(\s*)((?:- )?)([a-z_][a-z0-9_]*):( .*)?$", uncommented)
        if match is None:
            continue
        # a list item holds its settings one level below the list's own key
        indent = len(match[1]) + len(match[2])
        open_settings = [(at, path) for at, path in open_settings if at < indent]
        prefix = open_settings[-1][1] + "." if open_settings else ""
        path = f"{prefix}{match[3]}"
        paths.add(path)
        inner = re.search(r"\{(.*)\}", match[4] or "")
        paths |= {f"{path}.{key}" for key in re.findall(r"([a-z_]+):", inner[1] if inner else "")}
        is_list = path in LISTS
        open_settings.append((indent, path + "[]" if is_list else path))
    return paths


def test_comments_of_lbd_yaml_show_true_defaults() -> None:
    """With the commented timeouts, limits and connections switched on the configuration stays the same."""
    text = (CONF / "lbd.yaml").read_text(encoding="utf-8")
    lines = text.splitlines()
    blocks = ("timeouts:", "limits:", "connections:", "log:")
    switched: list[str] = []
    inside: int | None = None
    for line in lines:
        match = re.match(r"( *)# ( *)([a-z_]+:)(.*)", line)
        if match and not match[2] and match[3] in blocks and not match[4].strip().startswith("{"):
            inside = len(match[1])
        elif not (match and match[2] and len(match[1]) == inside):
            inside = None
        is_simple = match is not None and not match[2] and match[3] in (
            "workers:",
            "drain_timeout:",
            "protocol:",
            "path:",
            "backlog:",
            "priority:",
            "weight:",
        )
        switched.append(re.sub(r"^( *)# ", r"\1", line) if inside is not None or is_simple else line)
    assert sum(a != b for a, b in zip(lines, switched, strict=True)) > 30
    before, after = load_text(text, env={}), load_text("\n".join(switched), env={})
    # a route has no timeouts and limits of its own by default; the comments there show those it inherits
    strip = {"listeners": {"__all__": {"routes": True}}}
    assert after.model_dump(exclude=strip) == before.model_dump(exclude=strip)
