"""``vpnagent hooks test``. A shell."""

import asyncio
import time
from typing import TYPE_CHECKING

import click

from vpnagent.commands.options import config_option
from vpnagent.control.protocol import NOT_FINE, USAGE
from vpnagent.errors import ControlError

if TYPE_CHECKING:
    from vpnagent.config.values import Hook


@click.group()
def hooks() -> None:
    r"""Whom the daemon tells of events.

    \b
    Example:
      vpnagent hooks test
      vpnagent hooks test oncall
    """


@hooks.command()
@config_option
@click.argument("name", required=False)
def test(config_path: str, name: str | None) -> None:
    r"""Send one test event to every hook of the file, or to the hook NAME, and print what came back.

    \b
    Example:
      vpnagent hooks test
      vpnagent hooks test oncall --config /etc/vpnagent/vpnagent.yaml
    It needs no daemon. Root runs hooks as the service's user. The exit status is 1 if a hook refuses.
    """
    from vpnagent.config.load import load

    config = load(config_path)
    chosen = [hook for hook in config.hooks if name in (None, hook.name)]
    if not chosen:
        known = ", ".join(hook.name for hook in config.hooks) or "none is configured"
        raise ControlError(
            f"no hook is named {name}: {known}" if name else f"{config_path}: no hook is configured", USAGE
        )
    if not all(_tried(hook, config.gateway.name) for hook in chosen):
        click.get_current_context().exit(NOT_FINE)


def _tried(hook: "Hook", gateway: str) -> bool:
    """Send the test event and print what came back; return whether it arrived."""
    from vpnagent.events.event import Happening, event_of
    from vpnagent.events.hooks import HookError, tell
    from vpnagent.finding import EventType, Severity

    happening = Happening(
        type=EventType.HOOK_TEST,
        at=time.time(),
        severity=Severity.INFO,
        text="This is a test of vpnagent hooks test. Nothing is wrong.",
    )
    try:
        said = asyncio.run(tell(hook, (event_of(happening, 0),), gateway=gateway))
    except HookError as error:
        click.echo(f"{hook.name} ({hook.type.value}): failed: {error}")
        return False
    click.echo(f"{hook.name} ({hook.type.value}): delivered{f': {said}' if said else ''}")
    return True
