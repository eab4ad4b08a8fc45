"""``vpnagent export``: the configuration in the words of other programs, Terraform and swanctl.conf.

``terraform`` prints the cloud's half as resources of aliyun/alicloud, ``swanctl`` our half as charon would
be told it by VICI. Pre-shared keys are never printed. What the cloud's API has no word for is an error.

Pure but for reading the configuration file. Begin with ``swanctl`` or ``terraform``; docs/export.md
explains both.
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


def _load(config_path: str) -> "Config":
    """Return the configuration without its keys, and say what of it others may read otherwise."""
    from vpnagent.config.load import load
    from vpnagent.config.notation import notation

    config = load(config_path, read_secrets=False)
    for finding in notation(config):
        click.echo(f"note: {finding.subject}: {finding.code}: {finding.text}: {finding.hint}", err=True)
    return config
