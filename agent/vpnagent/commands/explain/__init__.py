"""``vpnagent explain``: which way packets for a name or an address go from here, and what to do about it.

It resolves the name, asks the kernel for the way, and sends one echo request or makes one TCP connection;
then it reasons about what it saw. ``services.yaml`` lists known addresses of the cloud's services.

``observe`` does the I/O, with deadlines; only the echo request needs a privilege. All else is pure. Begin
with ``reasoning``, then ``advice``, where each piece of advice is one function. A shell.
"""

import asyncio
import json
import sys
from typing import Any

import click

from vpnagent.commands.options import config_option, json_option, socket_for, socket_option
from vpnagent.control.client import ask
from vpnagent.control.protocol import NOT_FINE
from vpnagent.errors import ControlError


@click.command()
@click.argument("target")
@config_option
@socket_option
@json_option
def explain(target: str, config_path: str, socket_path: str | None, as_json: bool) -> None:
    r"""Say which way packets for TARGET go, HOST or ADDRESS with or without :PORT, and what to do.

    \b
    Example:
      vpnagent explain oss-cn-hangzhou-internal.aliyuncs.com:443
      vpnagent explain 172.16.0.10
    Sends one echo request or, to a port, makes one TCP connection. Needs neither root nor the daemon; with
    the daemon it tells the tunnel's state. Exit status 0 when it answers and nothing is wrong, else 1.
    """
    from vpnagent.commands.explain import present
    from vpnagent.commands.explain.advice import advise, is_fine
    from vpnagent.commands.explain.observe import catalogue, look, resolve
    from vpnagent.commands.explain.reasoning import explain as reasoned
    from vpnagent.commands.explain.reasoning import networks_of, target_of, tunnels_of
    from vpnagent.config.load import load

    asked = target_of(target)
    config = load(config_path, read_secrets=False)
    status, remark = _status(socket_for(socket_path, config_path))
    addresses, why_not = ((asked.address,), "") if asked.address else resolve(asked.host)
    services, tunnels = catalogue(), tunnels_of(status)
    seen = asyncio.run(look(addresses, asked.port))
    networks = networks_of(status)
    found = tuple(reasoned(config, services, a, seen[a], tunnels, networks) for a in addresses)
    findings = advise(services, asked, found, why_not)
    if as_json:
        answer = present.as_json(services, asked, found, findings, remark)
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(present.lines(services, asked, found, findings, remark)))
    sys.exit(0 if is_fine(findings) else NOT_FINE)


def _status(socket_path: str) -> tuple[dict[str, Any], str]:
    """Return the daemon's status, or an empty one and why it could not be asked."""
    try:
        return dict(ask(socket_path, "status", timeout=3)), ""
    except ControlError as error:
        return {}, f"without the states of the tunnels: {error}"
