"""``vpnagent check``. A shell."""

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING

import click

from vpnagent.commands.options import DEFAULT_CONFIG, config_option, fail_on_option, json_option, problem
from vpnagent.control.protocol import NOT_FINE
from vpnagent.errors import ConfigError
from vpnagent.finding import Finding, Severity

if TYPE_CHECKING:
    from vpnagent.config.files import Absence
    from vpnagent.config.values import Config
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final

from vpnagent.checks.occupancy import CLOUD_RESOLVERS, NARROW_RANGES
from vpnagent.commands.explain.catalogue import Catalogue
from vpnagent.config.values import Config
from vpnagent.record import replace

COLOURS = {Severity.INFO: "cyan", Severity.WARNING: "yellow", Severity.CRITICAL: "red"}


@click.command()
@config_option
@json_option
@click.option("--file-only", is_flag=True, help="Check the file, and not this machine.")
@click.option("--region", help="Name this region's narrow ranges in the hints; for example cn-hangzhou.")
@fail_on_option(Severity.WARNING, "a finding")
def check(config_path: str, as_json: bool, file_only: bool, region: str | None, fail_on: str) -> None:
    r"""Check the configuration and this machine; say what breaks and what to do. Changes nothing.

    \b
    Example:
      vpnagent check
      vpnagent check --config vpnagent.yaml --file-only --fail-on critical
      vpnagent check --region cn-hangzhou
      vpnagent check --json | jq '.findings[] | select(.severity != "info")'
    It needs neither the daemon nor root nor, with --file-only, any key, and says what it could not look at.
    To learn the path's MTU it sends one packet of full size to each tunnel's peer, and some echo requests
    through each tunnel that is up. docs/check.md has every code.
    Exit status 0 when there is nothing to say but infos, 1 for a warning, 2 when the file cannot be used.
    """
    config, found = _file(config_path, as_json=as_json, file_only=file_only)
    if not file_only:
        found += asyncio.run(_machine(config, config_path))
    if region is not None:
        found = _with_ranges(found, region)
    found.sort(key=lambda finding: list(COLOURS).index(finding.severity), reverse=True)
    if as_json:
        _print_json(config_path, found)
    else:
        click.echo("".join(map(_lines, found)), nl=False)
        tunnels = len(config.tunnels())
        click.echo(f"{config_path}: valid: {len(config.connections)} connections, {tunnels} tunnels")
    sys.exit(NOT_FINE if any(_fails(finding, Severity(fail_on)) for finding in found) else 0)


def _file(config_path: str, *, as_json: bool, file_only: bool) -> "tuple[Config, list[Finding]]":
    """Return the configuration, and what there is to say of the file alone. Raises ConfigError."""
    from vpnagent.checks.judge import refused, secrets_not_looked_at

    pass
    from vpnagent.config.load import UnreadSecrets, load
    from vpnagent.config.weaknesses import weaknesses

    if config_path == DEFAULT_CONFIG and not os.path.lexists(config_path):
        raise problem(config_path, "there is no configuration yet: run vpnagent init")
    unseen = UnreadSecrets(_tolerated(file_only=file_only))
    try:
        config = load(config_path, unseen=unseen)
    except ConfigError as error:
        if as_json:
            _print_json(config_path, refused(error))
        raise
    return config, [*weaknesses(config), *probe_rate(config), *secrets_not_looked_at(unseen)]


def _tolerated(*, file_only: bool) -> "set[Absence]":
    """Return for which reasons a key need not be at hand.

    On the gateway a key that is not there is a fault, and one that is closed to the service is; elsewhere,
    and for other users, neither tells anything about the gateway.
    """
    from vpnagent.config.files import Absence, is_service

    return (
        {Absence.OUTSIDE}
        | ({Absence.MISSING} if file_only else set())
        | (set() if is_service() else {Absence.FORBIDDEN})
    )


def _fails(finding: Finding, least: Severity) -> bool:
    """Whether a finding is a reason to fail: a figure is none, nor is what could not be looked at."""
    if finding.severity is Severity.INFO and finding.code in ("NotLookedAt", "ProbeRate"):
        return False
    return finding.severity.reaches(least)


def _print_json(config_path: str, found: list[Finding]) -> None:
    click.echo(json.dumps({"config": config_path, "findings": list(map(_row, found))}, indent=2))


async def _machine(config: "Config", config_path: str) -> list[Finding]:
    """Return what is wrong with this machine, and with the way of its hosts' packets."""
    from vpnagent.checks.judge import judge
    from vpnagent.checks.observe import observe
    from vpnagent.daemon.witness import look_once

    seen = await observe(config, config_path, thorough=True)
    return [*judge(config, seen), *await look_once(config, seen)]


def _with_ranges(found: list[Finding], region: str) -> list[Finding]:
    pass
    from vpnagent.commands.explain.observe import catalogue

    services = catalogue()
    if region not in regions(services):
        return [region_unknown(services, region), *found]
    return [with_ranges(finding, services, region) for finding in found]


def _row(finding: Finding) -> dict[str, str]:
    """Return a finding as JSON has it; ``key``, the subject's first name, stays for who reads it."""
    return {**finding.plain(), "key": finding.subject}


def _lines(finding: Finding) -> str:
    severity = click.style(finding.severity.value, fg=COLOURS[finding.severity])
    subject = f" {finding.subject}:" if "[" in finding.subject else ""  # a key of the file
    return f"{severity}: {finding.code}:{subject} {finding.text}\n    -> {finding.hint}\n"


# Name the narrow ranges of a region in the hints that offer them. Pure.


def with_ranges(finding: Finding, catalogue: Catalogue, region: str) -> Finding:
    """Return a finding whose hint says which networks to write instead of 100.64.0.0/10."""
    services = [service for service in catalogue.region(region) if not service.instances_only]
    networks = [str(network) for service in services for network in service.networks]
    networks += [f"{address}/32" for address in CLOUD_RESOLVERS]
    names = ", ".join(service.name for service in services)
    ranges = f"{region}'s narrow ranges ({names}, DNS; as of {catalogue.read}): [{', '.join(networks)}]"
    if lacking := catalogue.services_without(region):
        ranges += f"; of {' and '.join(lacking)} the table has none there: see the service's page"
    return replace(finding, hint=finding.hint.replace(NARROW_RANGES, ranges))


def region_unknown(catalogue: Catalogue, region: str) -> Finding:
    """Return that the table has nothing of a region, which may exist all the same."""
    return Finding(
        code="RegionUnknown",
        subject=region,
        severity=Severity.WARNING,
        text=f"the table of narrow ranges (as of {catalogue.read}) does not have {region}: "
        "no hint names its ranges",
        hint=f"it has {', '.join(regions(catalogue))}; of others see the cloud's page Regions and endpoints",
    )


def regions(catalogue: Catalogue) -> list[str]:
    """Return the regions that are known."""
    return sorted({service.region for service in catalogue.services if service.region})


# How many probes a second each target gets from this gateway: tunnels probe by themselves. Pure.

MODEST: Final = 50.0  #: probes per second that any host or resolver answers beside its work


def probe_rate(config: Config) -> Iterator[Finding]:
    """Yield the rate of each target: every tunnel asks its first one, and the next when that is silent."""
    rates: dict[IPv4Address, list[float]] = {}
    for tunnel in config.tunnels():
        for target in tunnel.probe.targets:
            rates.setdefault(target, []).append(1 / tunnel.probe.interval)
    for target, of_each in rates.items():
        rate = sum(of_each)
        high = rate > MODEST
        many = f"from {len(of_each)} tunnels" if len(of_each) > 1 else "from one tunnel"
        yield Finding(
            code="ProbeRate",
            subject=str(target),
            severity=Severity.WARNING if high else Severity.INFO,
            text=f"{target} gets up to {rate:g} probes a second {many} of this gateway"
            + (": a host may answer fewer, and what it leaves out looks like loss" if high else ""),
            hint=("a longer probe.interval, or targets of each tunnel's own; " if high else "")
            + "other gateways that probe it come on top",
        )
