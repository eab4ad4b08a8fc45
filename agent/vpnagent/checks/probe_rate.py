"""How many probes a second each target gets from this gateway: tunnels probe by themselves. Pure."""

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final

from vpnagent.config.values import Config
from vpnagent.finding import Finding, Severity

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
