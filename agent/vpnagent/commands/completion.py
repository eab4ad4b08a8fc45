"""``vpnagent completion``."""

import click

from vpnagent.control.protocol import USAGE
from vpnagent.errors import ControlError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    r"""Print the completion script for SHELL.

    \b
    Example:
      vpnagent completion bash > /etc/bash_completion.d/vpnagent
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise ControlError(f"no completion for {shell}", USAGE)
    click.echo(kind(context.find_root().command, {}, "vpnagent", "_VPNAGENT_COMPLETE").source())
