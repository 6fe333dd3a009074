"""`lbd explain`: where a request would go, and why."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from lbd.cli.admin_client import admin_options, ask_or_exit, client_of, fail
from lbd.cli.loading import load_or_exit


@click.command(
    short_help="Say where a request would go, and why.",
    context_settings={"ignore_unknown_options": False},
    epilog="Example: lbd explain GET http://api.example.com/v1/users -H 'X-User: anna'",
)
@click.argument("words", metavar="[METHOD] URL | -- curl ...", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "-H", "--header", "fields", metavar="NAME:VALUE", multiple=True, help="Header field; repeatable."
)
@click.option("--client", metavar="IP", help="Address that it comes from.  [default: 127.0.0.1]")
@click.option("--listener", metavar="NAME", help="Listener that it reaches, in place of that of the URL.")
@click.option("--body", metavar="BYTES", type=int, help="Announced length of its body; -1: not announced.")
@click.option("--id", "request_id", metavar="ID", help="A past request in the recorder, in place of a URL.")
@click.option(
    "--file",
    "from_file",
    is_flag=True,
    help="By the configuration alone, as if all were well; no lbd is asked.",
)
@admin_options
def explain(
    words: tuple[str, ...],
    fields: tuple[str, ...],
    client: str | None,
    listener: str | None,
    body: int | None,
    request_id: str | None,
    from_file: bool,
    path: Path | None,
    address: str | None,
    as_json: bool,
) -> None:
    """Say where a request would go and why: routes, with the reasons of those that do not match, limits, the
    cluster and its fallbacks, each endpoint with its score or what speaks against it, and retries.

    A running lbd is asked; nothing is sent to an endpoint, and nothing changes. With --file the configuration
    is read instead. The request is given by flags, or as a curl command line behind `--`.
    """
    if request_id is not None:
        if words or from_file:
            raise click.UsageError(
                "--id names a past request of a running lbd: no URL and no --file beside it"
            )
        request: dict[str, Any] = {"id": request_id}
    else:
        request = _request(words, fields)
        more = {"client": client, "listener": listener, "body": body}
        request |= {name: value for name, value in more.items() if value is not None}
    found = _from_file(path, request) if from_file else _from_daemon(path, address, request)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    from lbd.cli.explain_text import lines

    for line in lines(found, coloured=sys.stdout.isatty()):
        click.echo(line)


def _request(words: tuple[str, ...], fields: tuple[str, ...]) -> dict[str, Any]:
    given = [_field(text) for text in fields]
    if words and words[0] == "curl":
        from lbd.cli.curl_line import NotUnderstood, parse_curl

        try:
            line = parse_curl(words[1:])
        except NotUnderstood as error:
            raise click.UsageError(str(error)) from None
        for word in line.unknown:
            click.echo(f"Warning: of the curl line, {word} is not taken into account", err=True)
        line.request["fields"] += given
        return line.request
    if len(words) > 2:
        raise click.UsageError("write [METHOD] URL, or a curl command line behind --")
    request: dict[str, Any] = {"fields": given} if given else {}
    if len(words) == 2:
        request["method"] = words[0]
    if words:
        url = words[-1]
        request["url"] = url if "://" in url else f"http://{url}"
    return request


def _field(text: str) -> list[str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.BadParameter(f"{text!r} is no field; write NAME:VALUE", param_hint="-H")
    return [name.strip(), value.strip()]


def _from_daemon(path: Path | None, address: str | None, request: dict[str, Any]) -> Any:
    client = client_of(path, address)
    return ask_or_exit(lambda: client.post("/api/explain", "outcome", request))


def _from_file(path: Path | None, request: dict[str, Any]) -> dict[str, Any]:
    from lbd.cli.loading import DEFAULT_PATH

    config = load_or_exit(path or DEFAULT_PATH)
    from lbd.control.dry_run import dry_run
    from lbd.control.explain import explain as explain_in

    try:
        with dry_run(config) as runtime:
            return explain_in(runtime, request)
    except ValueError as error:
        fail(str(error))
