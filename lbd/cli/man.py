"""`lbd man`: the manual pages, made from the help of the commands, so that they cannot differ from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from lbd.cli.roff import Page

SIGNALS = (
    ("TERM, INT", "accept nobody, finish exchanges for up to drain_timeout, end; a second one: at once"),
    ("QUIT", "the same without a deadline"),
    ("HUP", "reload the configuration; when it cannot be put in force, nothing changes"),
    ("USR1", "open access and audit logs again, after a rotation"),
    ("USR2", "hot restart: start the executable again, which takes over the sockets, and drain"),
)  # fmt: skip
EXIT_CODES = (
    ("0", "stopped as asked, or done"),
    ("1", "could not start or failed while running; a command could not do what it should"),
    ("2", "wrong usage of the command"),
    ("3", "of lbd status and lbd top: no lbd is running there"),
    ("78", "the configuration is wrong; every error is on stderr"),
)
FILES = (
    ("/etc/lbd/lbd.yaml", "the configuration, where no other is named"),
    ("/etc/default/lbd", "environment of the systemd service"),
    ("/run/lbd/admin.sock", "usual place of the admin listener, when it is a unix socket"),
    ("/var/lib/lbd", "what outlives lbd: states set at run time, ACME accounts and certificates"),
    ("/var/log/lbd", "access logs that go to files"),
)
ENVIRONMENT = (
    ("LBD_ADMIN_TOKEN", "token for the admin listener, of commands that ask a running lbd"),
    ("LBD_CONFIG", "the configuration that the systemd service runs with"),
)


@click.command(short_help="Write the manual pages.", epilog="Example: lbd man /usr/local/share/man/man1")
@click.argument(
    "directory", metavar="[DIR]", required=False, type=click.Path(file_okay=False, path_type=Path)
)
def man(directory: Path | None) -> None:
    """Write the manual pages lbd.1, lbd-run.1 and so on to a directory; print lbd.1 without one.

    To read it at once: lbd man | man -l -
    """
    for name, page in pages():
        if directory is None:
            click.echo(page, nl=False)
            return
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{name}.1").write_text(page, encoding="utf-8")


def pages() -> Iterator[tuple[str, str]]:
    """Name and text of each: that of lbd first, then one for each verb."""
    from lbd.cli.main import lbd

    top = lbd.make_context("lbd", [], resilient_parsing=True)
    yield "lbd", _main_page(top)
    for verb, command in _commands(lbd, top):
        yield f"lbd-{verb}", _verb_page(verb, command, top)


def _commands(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            yield name, command


def _page(name: str, what: str) -> Page:
    from lbd import __version__

    page = Page(name, __version__)
    page.section("NAME")
    page.text(f"{name} - {what.rstrip('.')}")
    return page


def _main_page(context: click.Context) -> str:
    lbd = context.command
    assert isinstance(lbd, click.Group)
    page = _page("lbd", "TCP and HTTP load balancer daemon")
    page.section("SYNOPSIS")
    page.usage("lbd", lbd.collect_usage_pieces(context))
    page.section("DESCRIPTION")
    page.text(
        "lbd balances HTTP/1, HTTP/2, gRPC, WebSocket and TCP, with TLS on both sides. lbd run serves a "
        "configuration; commands that ask or change a running lbd find it at its admin listener, by the same "
        "-c FILE."
    )
    page.section("OPTIONS")
    page.terms(_options(lbd, context))
    page.section("COMMANDS")
    page.terms((f"lbd {name}", one.get_short_help_str(200)) for name, one in _commands(lbd, context))
    for title, rows in (
        ("SIGNALS", SIGNALS),
        ("EXIT STATUS", EXIT_CODES),
        ("FILES", FILES),
        ("ENVIRONMENT", ENVIRONMENT),
    ):
        page.section(title)
        page.terms(rows)
    page.section("SEE ALSO")
    page.names(f"lbd-{name}" for name, _ in _commands(lbd, context))
    return str(page)


def _verb_page(verb: str, command: click.Command, top: click.Context) -> str:
    context = click.Context(command, info_name=verb, parent=top)
    page = _page(f"lbd-{verb}", command.get_short_help_str(200))
    page.section("SYNOPSIS")
    page.usage(f"lbd {verb}", command.collect_usage_pieces(context))
    page.section("DESCRIPTION")
    page.text(_help(command))
    page.section("OPTIONS")
    page.terms(_options(command, context))
    if isinstance(command, click.Group):
        page.section("COMMANDS")
        for name, one in _commands(command, context):
            inner = click.Context(one, info_name=name, parent=context)
            page.part(f"lbd {verb} {name}")
            page.usage(f"lbd {verb} {name}", one.collect_usage_pieces(inner))
            page.text(_help(one))
            page.terms(_options(one, inner))
            page.code(_example(one))
    page.section("EXAMPLES")
    page.code(_example(command))
    page.section("SEE ALSO")
    page.names(["lbd"])
    return str(page)


def _help(command: click.Command) -> str:
    return command.help or command.get_short_help_str(200)


def _example(command: click.Command) -> str:
    return (command.epilog or "").removeprefix("Example: ")


def _options(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            yield record
