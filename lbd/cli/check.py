"""`lbd check`: is the configuration good?"""

from __future__ import annotations

from pathlib import Path

import click

from lbd.cli.loading import DEFAULT_PATH, EXIT_BAD_CONFIG, config_option, load_or_exit

EXIT_WARNED = 1


@click.command(epilog="Example: lbd check -c conf/lbd.yaml --strict")
@click.option("--strict", is_flag=True, help="Exit with 1 when there are warnings.")
@config_option
def check(path: Path, strict: bool) -> None:
    """Check a configuration, run its tests, and say everything that is wrong with it.

    Prints `FILE: ok`, or one line per mistake or failed test on stderr and exits with 78. Warnings
    (docs/lint.md) go to stderr, and do not count without --strict.
    """
    raise SystemExit(check_config(path, strict=strict))


def check_config(path: Path | None, *, strict: bool = False) -> int:
    """Load, test, print the outcome, return the exit code."""
    path = path or DEFAULT_PATH
    config = load_or_exit(path)
    if config.tests:
        from lbd.control.config_tests import failed_tests

        failed = failed_tests(None, config)
        if failed:
            click.echo("\n".join(failed), err=True)
            return EXIT_BAD_CONFIG
    from lbd.config.lint import lint

    warnings = lint(config)
    for warning in warnings:
        click.echo(str(warning), err=True)
    tested = f", {len(config.tests)} tests passed" if config.tests else ""
    warned = f", {len(warnings)} warnings" if warnings else ""
    click.echo(f"{path}: ok{tested}{warned}")
    return EXIT_WARNED if strict and warnings else 0
