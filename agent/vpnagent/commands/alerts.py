"""``vpnagent alerts``."""

import click

from vpnagent.commands.options import config_option, output_option, runbook_option, write


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
    from vpnagent.alerts.rule import Scope
    from vpnagent.alerts.rules import rule_file
    from vpnagent.config.load import load

    config = load(config_path, read_secrets=False)
    if not config.agent.metrics_listen:
        click.echo(f"note: {config_path}: agent.metrics_listen is empty: nothing can be scraped", err=True)
    scope = Scope(gateway=config.gateway.name, job=job, instance=instance, runbook_url=runbook_url)
    write(output, rule_file(config, scope))
