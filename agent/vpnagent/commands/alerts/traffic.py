"""Traffic against its limits: the tables of the cloud's page (4.3), exactly. Pure.

A VPN gateway instance is judged per direction, a transit router's connection per single tunnel: each
direction's bandwidth, and the packet rate of both directions together.

Every level is a share of a limit that the agent exports, so that 300 Mbps of 1000 stay 30 % when the
limit changes. What is compared is the share that was held: the lowest two-minute rate of the last five
minutes. One number has one level, so that at most one severity fires, a rise from one level to the next
leaves no gap, and traffic that swings about a threshold holds the level below it all the time. With
``for`` instead, bands would never fire on such traffic, and plain thresholds would all fire at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vpnagent.commands.alerts.rule import AT_ONCE, Alert, Recording, Rule, Scope, of_connections
from vpnagent.config.values import Attachment, Config
from vpnagent.finding import Severity

RATE: Final = "2m"  #: at least four scrapes of 30 s; the cloud's own metrics have periods of 60 s
HELD: Final = "5m"  #: so long a level must last; a copy that takes three minutes is no trouble

#: severity, above which share of the limit it begins, and at which the next one takes over
LEVELS: Final = (
    (Severity.INFO, "0.3", "0.5"),
    (Severity.WARNING, "0.5", "0.85"),
    (Severity.CRITICAL, "0.85", None),
)

#: this gateway's word and the cloud's: what we transmit comes in there
DIRECTIONS: Final = (("transmit", "inbound"), ("receive", "outbound"))

GATEWAY_BANDWIDTH: Final = "gateway:vpnagent_bandwidth_utilisation:ratio_rate2m"
TUNNEL_BANDWIDTH: Final = "tunnel:vpnagent_bandwidth_utilisation:ratio_rate2m"
TUNNEL_PACKET_RATE: Final = "tunnel:vpnagent_packet_rate_utilisation:ratio_rate2m"

SHARE: Final = "{{ $value | humanizePercentage }}"
TUNNEL: Final = "{{ $labels.connection }}/{{ $labels.tunnel }}"
BOTH_VIEWS: Final = "{{ $labels.direction }} (the cloud's {{ $labels.cloud_direction }})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Utilisation:
    """A recorded share of a limit, and what is told when it is high."""

    alert: str
    record: str
    summary: str
    description: str


GATEWAY: Final = Utilisation(
    alert="VpnGatewayBandwidthHigh",
    record=GATEWAY_BANDWIDTH,
    summary=f"VPN gateway {{{{ $labels.vpn_gateway }}}}: {BOTH_VIEWS} at {SHARE} of its bandwidth",
    description=f"All tunnels of the VPN gateway have used at least {SHARE} of the bandwidth bought, "
    f"{BOTH_VIEWS}, for {HELD}. Near 100 % the cloud drops packets, probes too.",
)
BANDWIDTH: Final = Utilisation(
    alert="VpnTunnelBandwidthHigh",
    record=TUNNEL_BANDWIDTH,
    summary=f"Tunnel {TUNNEL}: {BOTH_VIEWS} at {SHARE} of its bandwidth",
    description=f"The tunnel has used at least {SHARE} of its bandwidth limit, {BOTH_VIEWS}, for {HELD}. "
    "Near 100 % the cloud drops packets, probes too.",
)
PACKET_RATE: Final = Utilisation(
    alert="VpnTunnelPacketRateHigh",
    record=TUNNEL_PACKET_RATE,
    summary=f"Tunnel {TUNNEL}: {SHARE} of its packet rate",
    description=f"The tunnel has carried, in and out together, at least {SHARE} of the packets per second "
    f"that the cloud allows it, for {HELD}. Near 100 % the cloud drops packets, probes too.",
)


def traffic(config: Config, scope: Scope) -> Iterator[Rule]:
    """Yield what is recorded, and the alerts on it; nothing for an attachment that is not configured."""
    instances = vpn_gateways(config)
    for vpn_gateway, connections in instances.items():
        for direction, cloud_direction in DIRECTIONS:
            labels = {
                "vpn_gateway": vpn_gateway,
                "direction": direction,
                "cloud_direction": cloud_direction,
            }
            expr = _of_gateway(scope, direction, connections)
            yield Recording(record=GATEWAY_BANDWIDTH, expr=expr, labels=labels)
    if instances:
        yield from _alerts(scope, GATEWAY)
    routed = [c.name for c in config.connections if c.attachment is Attachment.TRANSIT_ROUTER]
    if routed:
        for direction, cloud_direction in DIRECTIONS:
            labels = {"direction": direction, "cloud_direction": cloud_direction}
            yield Recording(record=TUNNEL_BANDWIDTH, expr=_of_tunnel(scope, direction, routed), labels=labels)
        yield Recording(record=TUNNEL_PACKET_RATE, expr=_packets(scope, routed))
        yield from _alerts(scope, BANDWIDTH)
        yield from _alerts(scope, PACKET_RATE)


def vpn_gateways(config: Config) -> dict[str, list[str]]:
    """Return the connections of each VPN gateway instance: those with one ``gateway_id`` share it."""
    instances: dict[str, list[str]] = {}
    for connection in config.connections:
        if connection.attachment is Attachment.VPN_GATEWAY:
            instances.setdefault(connection.gateway_id or connection.name, []).append(connection.name)
    return instances


def _alerts(scope: Scope, told: Utilisation) -> Iterator[Alert]:
    held = f"min_over_time({scope.recorded(told.record)}[{HELD}])"
    for severity, above, up_to in LEVELS:
        yield Alert(
            name=told.alert,
            severity=severity,
            expr=f"{held} > {above}" + (f" <= {up_to}" if up_to else ""),
            hold=AT_ONCE,
            summary=told.summary,
            description=told.description,
        )


def _of_gateway(scope: Scope, direction: str, connections: list[str]) -> str:
    ours = of_connections(connections)
    sent = scope.series(f"vpnagent_tunnel_{direction}_bytes_total", ours)
    limit = scope.series("vpnagent_connection_bandwidth_limit_bits_per_second", ours)
    return (
        f"8 * sum without (connection, tunnel) (rate({sent}[{RATE}]))\n/ max without (connection) ({limit})"
    )


def _of_tunnel(scope: Scope, direction: str, connections: list[str]) -> str:
    sent = scope.series(f"vpnagent_tunnel_{direction}_bytes_total", of_connections(connections))
    return f"8 * rate({sent}[{RATE}])\n/ {scope.series('vpnagent_tunnel_bandwidth_limit_bits_per_second')}"


def _packets(scope: Scope, connections: list[str]) -> str:
    transmitted, received = (
        scope.series(f"vpnagent_tunnel_{direction}_packets_total", of_connections(connections))
        for direction, _ in DIRECTIONS
    )
    limit = scope.series("vpnagent_tunnel_packet_rate_limit")
    return f"(rate({transmitted}[{RATE}])\n  + rate({received}[{RATE}]))\n/ {limit}"
