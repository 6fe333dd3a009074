"""The command `lbd`: a table of verbs; the file of a verb is imported when the verb is called.

Invariant: importing this module imports click and nothing heavier (no pydantic, yaml or rich), and a verb
imports what it needs inside its function: start-up time and resident memory of the daemon are paid for
what is used. Exit codes: 0; 1 failure while running; 2 usage; 78 bad configuration.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from lbd import __version__

# verb -> module; the function in it is named like the verb, with _ for -
VERBS = {
    "run": "lbd.cli.run",
    "check": "lbd.cli.check",
    "demo": "lbd.cli.demo",
    "proxy": "lbd.cli.proxy",
    "reload": "lbd.cli.reload",
    "stop": "lbd.cli.stop",
    "status": "lbd.cli.status",
    "explain": "lbd.cli.explain",
    "plan": "lbd.cli.plan",
    "replay": "lbd.cli.replay",
    "top": "lbd.cli.top",
    "drain": "lbd.cli.drain",
    "undrain": "lbd.cli.drain",
    "disable": "lbd.cli.disable",
    "enable": "lbd.cli.disable",
    "weight": "lbd.cli.weight",
    "recorder": "lbd.cli.recorder",
    "connections": "lbd.cli.connections",
    "log-level": "lbd.cli.log_level",
    "config": "lbd.cli.config",
    "cert": "lbd.cli.cert",
    "monitoring": "lbd.cli.monitoring",
    "completion": "lbd.cli.completion",
    "man": "lbd.cli.man",
    "version": "lbd.cli.version",
}


class Verbs(click.Group):
    """A group whose verbs live in files of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(import_module(VERBS[cmd_name]), cmd_name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS:
            ctx.fail(f"there is no command {args[0]!r}{_suggest(args[0])}")
        return super().resolve_command(ctx, args)


def _suggest(word: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, VERBS, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; commands are {', '.join(VERBS)}"


@click.group(
    cls=Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Try it without any configuration: lbd demo",
)
@click.option("-t", "test", is_flag=True, help="Check the configuration and exit, like the command check.")
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="Configuration for -t.")
@click.version_option(__version__, message="lbd %(version)s", help="Print the version and exit.")
@click.pass_context
def lbd(ctx: click.Context, test: bool, path: Path | None) -> None:
    """A TCP and HTTP load balancer daemon."""
    if test and ctx.invoked_subcommand is None:
        from lbd.cli.check import check_config

        ctx.exit(check_config(path))
    elif test or path is not None:
        raise click.UsageError(
            "-t and -c FILE go together and without a command; or write: lbd check -c FILE"
        )
    elif ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """Entry point of the console script."""
    lbd(prog_name="lbd")


if __name__ == "__main__":
    main()
