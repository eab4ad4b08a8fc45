"""``vpnagent export``: the configuration in the words of other programs.

``terraform`` prints the cloud's half as resources of aliyun/alicloud, ``swanctl`` our half as charon would
be told it by VICI, ``keepalived`` what moves the addresses of two gateways. Pre-shared keys are never
printed. What the cloud's API has no word for is an error.

Pure but for reading the configuration file. Begin with ``swanctl`` or ``terraform``; docs/export.md
explains all three.
"""

from typing import TYPE_CHECKING

import click

from vpnagent.commands.options import config_option

if TYPE_CHECKING:
    from vpnagent.config.values import Config


@click.group()
def export() -> None:
    r"""Print the configuration in the words of other programs. Pre-shared keys are never printed.

    \b
    Example:
      vpnagent export terraform > cloud.tf
      vpnagent export swanctl
    """


@export.command()
@config_option
def terraform(config_path: str) -> None:
    r"""Print the cloud's half as resources of the provider aliyun/alicloud.

    \b
    Example:
      vpnagent export terraform --config vpnagent.yaml > cloud.tf
    What only the cloud knows is a variable; what Terraform cannot do is listed in the output by_hand.
    """
    from vpnagent.commands.export.cloud_connection import unspeakable
    from vpnagent.commands.export.terraform import terraform as text_of
    from vpnagent.config.wording import key_path
    from vpnagent.errors import ConfigError, Problem

    config = _load(config_path)
    if found := unspeakable(config):
        raise ConfigError(tuple(Problem(config_path, 0, key_path(path), text) for path, text in found))
    click.echo(text_of(config), nl=False)


@export.command()
@config_option
def swanctl(config_path: str) -> None:
    r"""Print the swanctl.conf that loads into charon what vpnagent loads.

    \b
    Example:
      vpnagent export swanctl > /etc/swanctl/conf.d/vpnagent.conf
    The file names the keys to put in, and what vpnagent does besides.
    """
    from vpnagent.commands.export.swanctl import swanctl as text_of

    click.echo(text_of(_load(config_path)), nl=False)


@export.command()
@config_option
@click.option("--node", type=click.Choice(("a", "b")), required=True, help="Which of the two gateways.")
@click.option(
    "--virtual-router-id",
    "first_id",
    type=click.IntRange(1, 240),
    default=51,
    show_default=True,
    help="The LAN's; the next ones are the uplinks'. No other VRRP there may have them.",
)
@click.option("--realtime", is_flag=True, help="Have keepalived run under a real-time priority.")
def keepalived(config_path: str, node: str, first_id: int, realtime: bool) -> None:
    r"""Print the keepalived.conf of one gateway of a pair.

    \b
    Example:
      vpnagent export keepalived --node a > /etc/keepalived/keepalived.conf
    It moves the LAN's virtual addresses, and the outer ones of tunnels that move.
    """
    from vpnagent.commands.export.keepalived import keepalived as text_of
    from vpnagent.commands.export.keepalived import unready
    from vpnagent.config.values import Device
    from vpnagent.config.wording import key_path
    from vpnagent.errors import ConfigError, Problem

    config = _load(config_path)
    if found := [*unready(config)]:
        raise ConfigError(tuple(Problem(config_path, 0, key_path(path), text) for path, text in found))
    click.echo(text_of(config, Device(node), first_id=first_id, realtime=realtime), nl=False)


def _load(config_path: str) -> "Config":
    """Return the configuration without its keys, and say what of it others may read otherwise."""
    from vpnagent.config.load import load
    from vpnagent.config.notation import notation

    config = load(config_path, read_secrets=False)
    for finding in notation(config):
        click.echo(f"note: {finding.subject}: {finding.code}: {finding.text}: {finding.hint}", err=True)
    return config
