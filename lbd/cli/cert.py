"""`lbd cert self-signed|show`: make a certificate for trials, and see which ones are or would be served."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from lbd.cli.loading import DEFAULT_PATH, load_or_exit

if TYPE_CHECKING:
    from lbd.control.certs.inventory import Shown

LONGEST_DAYS = 36500


@click.group(short_help="Make or show certificates.", epilog="Example: lbd cert show -c conf/tls.yaml")
def cert() -> None:
    """Make a self-signed certificate, or show the certificates of listeners."""


@cert.command(
    "self-signed",
    short_help="Make a certificate and its key.",
    epilog="Example: lbd cert self-signed localhost 127.0.0.1 --out /etc/lbd/tls",
)
@click.argument("hosts", metavar="HOST...", nargs=-1, required=True)
@click.option(
    "--out",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where to write the files; the current directory when absent.",
)
@click.option(
    "--days",
    type=click.IntRange(1, LONGEST_DAYS),
    default=365,
    show_default=True,
    help="How long it is valid.",
)
@click.option("--force", is_flag=True, help="Replace files that exist.")
def self_signed(hosts: tuple[str, ...], directory: Path, days: int, force: bool) -> None:
    """Write HOST.pem and HOST-key.pem, for host names, *.wildcards and IP addresses.

    The files are named like the first HOST. No client trusts the certificate until it is told to:
    it is for trials and for inside.
    """
    from lbd.control.certs.selfsigned import self_signed as make

    names = tuple(dict.fromkeys(_host(host) for host in hosts))
    stem = names[0].replace("*", "_").replace(":", "_")
    cert_path, key_path = directory / f"{stem}.pem", directory / f"{stem}-key.pem"
    for path in (cert_path, key_path):
        if not force and os.path.lexists(path):
            _fail(f"{path} exists; replace it with --force, or choose another directory with --out")
    chain, key = make(names, days)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write(key_path, key, 0o600, force)
        _write(cert_path, chain, 0o644, force)
    except OSError as error:
        _fail(f"{error.filename or directory}: cannot be written: {error.strerror}")
    click.echo(f"certificate {cert_path}\nkey         {key_path}")


def _host(value: str) -> str:
    """A name as it goes into a certificate; a usage error when it is none."""
    import ipaddress

    from lbd.config.patterns import parse_host_pattern

    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        pass  # not an address: it must be a name
    try:
        return parse_host_pattern(value)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="HOST") from None


def _write(path: Path, content: bytes, mode: int, force: bool) -> None:
    """A new file; with force, in place of what is there: a temporary file is renamed, so that a reader of
    the old one is never left with half a file, and nothing is written through a symbolic link."""
    target = path.with_name(f".{path.name}.{os.getpid()}") if force else path
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        target.replace(path)
    except OSError:
        target.unlink(missing_ok=True)
        raise


@cert.command(
    short_help="Show certificates and what is wrong with them.",
    epilog="Example: lbd cert show --connect 127.0.0.1:8443 --sni www.example.com",
)
@click.option(
    "-c",
    "--config",
    "path",
    metavar="FILE|DIR",
    type=click.Path(path_type=Path),
    help=f"Configuration.  [default: {DEFAULT_PATH}]",
)
@click.option(
    "--connect", "address", metavar="HOST:PORT", help="Ask a running listener in place of the files."
)
@click.option("--sni", metavar="NAME", help="Name to ask for with --connect; HOST when absent.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def show(path: Path | None, address: str | None, sni: str | None, as_json: bool) -> None:
    """Show the certificates that each listener would serve, or what a running one serves.

    Exits with 1 when one of them cannot be served or is not valid now.
    """
    if address is not None and path is not None:
        raise click.UsageError("give either -c or --connect, not both")
    if sni is not None and address is None:
        raise click.UsageError("--sni goes with --connect HOST:PORT")
    if address is not None:
        found = [_served(address, sni)]
    else:
        config = load_or_exit(path or DEFAULT_PATH)
        from lbd.control.certs.inventory import configured

        found = list(configured(config))
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
    else:
        click.echo("\n".join(_lines(found) or ["no listener has TLS"]))
    if any(one.problems for one in found):
        raise SystemExit(1)


def _served(address: str, sni: str | None) -> Shown:
    import ipaddress

    from lbd.config.units import parse_endpoint_address, split_address
    from lbd.control.certs.inventory import served

    try:
        host, port = split_address(parse_endpoint_address(address))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--connect") from None
    if sni is None:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            sni = host  # an address is never an SNI (RFC 6066, section 3)
    try:
        return served(host, port, sni)
    except (OSError, ValueError) as error:  # ValueError: a name that ssl does not take as SNI
        _fail(f"{address}: no TLS handshake: {error}")


def _lines(found: Sequence[Shown]) -> list[str]:
    lines = []
    for one in found:
        lines.append(f"{one.listener}: {', '.join(one.hosts) or 'no host'}")
        lines.append(f"  source      {one.source}{f' {one.file}' if one.file else ''}")
        if one.not_after is not None:
            from lbd.control.certs.files import format_time

            lines.append(f"  issuer      {one.issuer or 'none'}")
            lines.append(f"  valid until {format_time(one.not_after)} ({one.days_left} days)")
            lines.append(f"  sha256      {one.fingerprint}")
        lines += [f"  problem     {problem}" for problem in one.problems]
        lines += [f"  warning     {warning}" for warning in one.warnings]
    return lines


def _fail(message: str) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    raise SystemExit(1)
