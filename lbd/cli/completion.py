"""`lbd completion bash|zsh|fish`: what makes a shell complete the commands and options of lbd."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command(
    short_help="Print a completion script for a shell.",
    epilog="Example: lbd completion bash > /etc/bash_completion.d/lbd",
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that makes a shell complete commands and options of lbd.

    zsh takes it as _lbd in a directory of its fpath, fish as ~/.config/fish/completions/lbd.fish.
    """
    from click.shell_completion import get_completion_class

    from lbd.cli.main import lbd

    kind = get_completion_class(shell)
    assert kind is not None
    # not source(): that of bash runs bash to look at its version
    made = kind(lbd, {}, "lbd", "_LBD_COMPLETE")
    click.echo(made.source_template % made.source_vars())
