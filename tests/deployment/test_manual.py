"""Manual pages and completion: as man and the shells take them, and that they say what the commands do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lbd.cli.main import VERBS, lbd
from lbd.cli.man import EXIT_CODES, SIGNALS, pages
from lbd.cli.roff import escape

ROOT = Path(__file__).parents[2]
PAGES = dict(pages())
CONTEXT = lbd.make_context("lbd", [], resilient_parsing=True)
Find = Callable[[str], str]


def commands() -> dict[str, click.Command]:
    """All that there are, by what is typed; hidden ones as well."""
    found = {}
    for verb in VERBS:
        command = lbd.get_command(CONTEXT, verb)
        assert command is not None
        found[verb] = command
        if isinstance(command, click.Group):
            found |= {f"{verb} {name}": inner for name, inner in command.commands.items()}
    return found


@pytest.mark.parametrize("name", commands())
def test_every_command_has_help_with_an_example_of_itself(name: str) -> None:
    command = commands()[name]
    assert command.help and (command.epilog or "").startswith("Example: lbd ")
    assert (command.epilog or "").startswith(f"Example: lbd {name}")
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, option.name


def rendered(man: str, page: str, directory: Path) -> str:
    file = directory / "page.1"
    file.write_text(page)
    done = subprocess.run(
        [man, "--warnings", "-P", "cat", "-l", str(file)],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return re.sub(r".\x08|\x1b\[[\d;]*m", "", done.stdout)


@pytest.mark.parametrize("name", PAGES)
def test_man_shows_the_page_without_a_warning(program: Find, tmp_path: Path, name: str) -> None:
    program("groff")
    text = rendered(program("man"), PAGES[name], tmp_path)
    words = " ".join(text.split())
    command = commands()[name.removeprefix("lbd-")] if name != "lbd" else lbd
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert all(re.search(rf"(?<!\S){re.escape(word)}(?!\w)", words) for word in option.opts), (
                option.opts
            )
    assert text.startswith(f"{name.upper()}(1)") and f"NAME {name} " in words
    assert "SEE ALSO" in text and max(map(len, text.splitlines())) <= 80


def test_pages_are_those_of_the_commands() -> None:
    assert list(PAGES) == ["lbd", *(f"lbd-{verb}" for verb in VERBS)]
    for inner in ("config dump", "config schema", "monitoring show", "cert show"):
        assert escape(f"lbd {inner}") in PAGES[f"lbd-{inner.split()[0]}"]
    assert "reference" not in PAGES["lbd-config"]  # it is hidden


def test_pages_agree_with_the_documentation() -> None:
    document = (ROOT / "docs" / "operations.md").read_text()
    signals = re.findall(r"^\| ((?:[A-Z]+\d?)(?:, [A-Z]+)*) \|", document, re.MULTILINE)
    assert sorted(signals) == sorted(name for name, _ in SIGNALS)
    codes = re.findall(r"^\| (\d+) \| ", document, re.MULTILINE)
    assert codes == [code for code, _ in EXIT_CODES]


def test_written_and_printed(tmp_path: Path) -> None:
    directory = tmp_path / "share" / "man1"
    assert CliRunner().invoke(lbd, ["man", str(directory)]).exit_code == 0
    assert {file.name: file.read_text() for file in directory.iterdir()} == {
        f"{name}.1": page for name, page in PAGES.items()
    }
    assert CliRunner().invoke(lbd, ["man"]).output == PAGES["lbd"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".TH is text", r"\&.TH is text"),
        ("'quoted", r"\&'quoted"),
        (r"a\nb", r"a\enb"),
        ("--json and\n  more", r"\-\-json and more"),
    ],
)
def test_roff_takes_text_as_text(text: str, expected: str) -> None:
    assert escape(text) == expected


# completion


def script(shell: str) -> str:
    return CliRunner().invoke(lbd, ["completion", shell]).output


def completed(directory: Path, *words: str) -> list[str]:
    """What bash offers for the last word, by its own machinery."""
    program = directory / "lbd"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m lbd "$@"\n')
    program.chmod(0o755)
    line = " ".join(f"'{word}'" for word in words)
    ask = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _lbd_completion lbd"
    done = subprocess.run(
        ["bash", "-c", f"{script('bash')}\n{ask}; printf '%s\\n' \"${{COMPREPLY[@]}}\""],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    assert completed(tmp_path, "lbd", "rel") == ["reload"]
    assert set(completed(tmp_path, "lbd", "status", "--")) >= {"--json", "--admin", "--config"}
    assert completed(tmp_path, "lbd", "monitoring", "show", "al") == ["alerts.yaml"]
    assert completed(tmp_path, "lbd", "config", "") == ["dump", "schema"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_take_the_script(program: Find, tmp_path: Path, shell: str) -> None:
    (tmp_path / "script").write_text(script(shell))
    done = subprocess.run(
        [program(shell), "-n", str(tmp_path / "script")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "") and "_LBD_COMPLETE" in script(shell)


def test_other_shells_are_refused() -> None:
    assert CliRunner().invoke(lbd, ["completion", "csh"]).exit_code == 2
