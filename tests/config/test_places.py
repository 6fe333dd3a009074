"""Places: where settings are written, in full and in thin form."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from lbd.config.loader import load, load_text
from lbd.config.schema import Config

TEXT = """# first
listeners:
  - name: web
    bind: ':1'
    routes:
      - {name: a, cluster: c}
      - name: b
        cluster: c
clusters:
  - name: c
    endpoints:
      - h:1
      - h:2
"""
LINES = {
    ("listeners",): 2,
    ("listeners", 0): 3,
    ("listeners", 0, "routes", 0): 6,
    ("listeners", 0, "routes", 1): 7,
    ("clusters", 0): 10,
    ("clusters", 0, "endpoints", 1): 13,
}


@pytest.mark.parametrize(("location", "line"), LINES.items())
def test_lines(location: tuple[int | str, ...], line: int) -> None:
    config = load_text(TEXT, "x.yaml")
    thin = pickle.loads(pickle.dumps(config)).places
    assert thin.root is None
    if len(location) > 1:
        assert config.places.of(*location) == thin.of(*location) == f"x.yaml:{line}"
        assert thin.of(*location, "retry", "limit") == f"x.yaml:{line}", "of the nearest that is known"
    assert config.places.thin().of(*location, "timeouts") == thin.of(*location, "timeouts")


def test_what_is_written_there_decides_not_where() -> None:
    assert load_text(TEXT, "x.yaml") == load_text("\n\n" + TEXT, "y.yaml")
    assert load_text(TEXT) != load_text(TEXT.replace("h:2", "h:3"))


def test_files_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("listeners: [{name: web, bind: ':1', cluster: c}]\n")
    (tmp_path / "b.yaml").write_text("clusters:\n\n  - {name: c, endpoints: ['h:1']}\n")
    places = load(tmp_path).places
    for one in (places, places.thin()):
        assert one.of("clusters", 0) == f"{tmp_path / 'b.yaml'}:3"
        assert one.of("listeners", 0) == f"{tmp_path / 'a.yaml'}:1"


def test_a_configuration_made_in_code_has_none() -> None:
    config = Config.model_validate({"listeners": [{"name": "w", "bind": ":1", "https_redirect": True}]})
    assert config.places.of("listeners", 0) is None
    assert pickle.loads(pickle.dumps(config)) == config
