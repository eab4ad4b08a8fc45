"""``vpnagent alerts``: Prometheus's alerting rules for one gateway, as YAML.

Each alert is one function of the configuration, because some depend on it (a connection with one tunnel has
no failover). Thresholds are shares of limits that the agent exports, so the rules need no printing again
when a limit changes.

Pure but for reading the configuration file and writing the rules; the daemon is not asked. Begin with
``rules``; what an alert means to an operator is in docs/alerts.md.
"""

from typing import Any, Final

import click
import yaml

from vpnagent.commands.alerts.rule import Scope
from vpnagent.commands.alerts.rules import health, traffic
from vpnagent.commands.options import config_option, output_option, runbook_option, write
from vpnagent.config.values import Config

WIDTH: Final = 1000  #: a template that is folded cannot be read, nor found by grep

HEADING: Final = """\
# Prometheus rules of gateway {gateway}, printed by vpnagent alerts; docs/alerts.md explains them.
# Print them anew when connections, their tunnels, gateway_id or probe intervals change; not for limits.
"""


def groups(config: Config, scope: Scope) -> dict[str, Any]:
    """Return a rule file as data; the rules of a group are evaluated in their order."""
    parts = {"traffic": traffic(config, scope), "health": health(config, scope)}
    return {
        "groups": [
            {"name": f"vpnagent-{scope.gateway}-{part}", "rules": [rule.plain(scope) for rule in rules]}
            for part, rules in parts.items()
        ]
    }


def rule_file(config: Config, scope: Scope) -> str:
    """Return the rule file as YAML."""
    text = yaml.dump(groups(config, scope), Dumper=_Dumper, sort_keys=False, width=WIDTH, allow_unicode=True)
    return HEADING.format(gateway=scope.gateway) + str(text)


class _Dumper(yaml.SafeDumper):
    """Writes an expression of several lines as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


# ``vpnagent alerts``.


@click.command()
@config_option
@click.option(
    "--job",
    default="vpnagent",
    show_default=True,
    help="Prometheus's name for the job that scrapes this gateway.",
)
@click.option(
    "--instance",
    metavar="HOST:PORT",
    help="This gateway among the job's targets. Default: the job has no other target.",
)
@runbook_option
@output_option
def alerts(config_path: str, job: str, instance: str | None, runbook_url: str, output: str) -> None:
    r"""Print this gateway's Prometheus rules. Asks neither the daemon nor for root, and opens no key.

    \b
    Example:
      vpnagent alerts --output /etc/prometheus/rules/idc-hz-1.yaml
      vpnagent alerts --job vpn --instance idc-hz-1:9786 --runbook-url https://wiki.example.com/vpnagent
      vpnagent alerts | promtool check rules
    Thresholds are shares of the limits that the agent exports. docs/alerts.md explains each alert,
    docs/runbook.md says what to do.
    """
    from vpnagent.commands.alerts.rule import Scope

    pass
    from vpnagent.config.load import load

    config = load(config_path, read_secrets=False)
    if not config.agent.metrics_listen:
        click.echo(f"note: {config_path}: agent.metrics_listen is empty: nothing can be scraped", err=True)
    scope = Scope(gateway=config.gateway.name, job=job, instance=instance, runbook_url=runbook_url)
    write(output, rule_file(config, scope))
