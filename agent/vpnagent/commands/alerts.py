"""``vpnagent alerts``."""

import click

from vpnagent.commands.options import config_option

RUNBOOK_URL = "file:///usr/share/doc/vpnagent/runbook.md"


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
@click.option(
    "--runbook-url",
    default=RUNBOOK_URL,
    show_default=True,
    help="Where you keep docs/runbook.md; each alert adds its name as #fragment.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    default="-",
    help="Where the YAML goes. Default: standard output.",
)
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
    from vpnagent.alerts.rule import Scope
    from vpnagent.alerts.rules import rule_file
    from vpnagent.config.load import load

    config = load(config_path, read_secrets=False)
    if not config.agent.metrics_listen:
        click.echo(f"note: {config_path}: agent.metrics_listen is empty: nothing can be scraped", err=True)
    scope = Scope(gateway=config.gateway.name, job=job, instance=instance, runbook_url=runbook_url)
    text = rule_file(config, scope)
    with click.open_file(output, "w", encoding="utf-8", lazy=True, atomic=True) as file:
        file.write(text)
