"""Whether the local networks can be reached: what comes for them does not leave by the default route."""

from collections.abc import Iterator

from vpnagent.checks.observation import Observation
from vpnagent.config.values import Config
from vpnagent.desired import desired
from vpnagent.finding import Finding, Severity
from vpnagent.routing.objects import KernelObjects, LocalWays
from vpnagent.walls import walled


def lan(config: Config, seen: Observation) -> Iterator[Finding]:
    """Yield the local networks that cannot be reached."""
    if seen.local_ways is not None:
        want = walled(desired(config, {}).kernel, KernelObjects(), seen.local_ways)
        yield from unrouted(config, want, seen.local_ways)


def unrouted(conf: Config, want: KernelObjects, ways: LocalWays) -> Iterator[Finding]:
    """Yield the local networks to which no way leads but the one to everywhere."""
    guard = want.filter_table.guard if want.filter_table else None
    if guard is None or guard.local_side is None or ways.default_interfaces & set(guard.local_side):
        return
    for network in sorted(ways.unrouted):
        every = len(ways.unrouted) == len(conf.gateway.local_networks)
        yield Finding(
            code="NoWayToLan",
            subject=str(network),
            severity=Severity.CRITICAL if every else Severity.WARNING,
            text=f"no route but the default one leads to the local network {network}, or to a part of it: "
            "what the cloud sends there is lost",
            hint="is the LAN's interface up, with its address and its routes? Where the default route is to "
            "lead there, name its interface in gateway.local_interfaces",
        )
