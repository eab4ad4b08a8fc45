"""The row of the limits: how near to them the traffic came, in both views."""

from collections.abc import Sequence
from typing import Final

from tools.dashboard.look import (
    GREEN,
    OF_CONNECTION,
    OF_TUNNEL,
    ORANGE,
    RED,
    YELLOW,
    Panel,
    framed,
    limited,
    lines,
    query,
)
from tools.dashboard.promql import CONNECTION, rate, series, total

from vpnagent.alerts.traffic import DIRECTIONS, LEVELS
from vpnagent.finding import Severity

SIZE: Final = (8, 10)
COLOURS: Final = {Severity.INFO: YELLOW, Severity.WARNING: ORANGE, Severity.CRITICAL: RED}
STEPS: Final = ((None, GREEN), *((float(above), COLOURS[severity]) for severity, above, _ in LEVELS))
SHARES: Final = ", ".join(f"{float(above):.0%}" for _, above, _ in LEVELS)
DASHED: Final = f"Dashed: {SHARES}, the levels of the alerts."


def utilisation() -> Sequence[Panel]:
    """Return the row's panels."""
    by_connection, by_tunnel, packets = [], [], []
    tunnel_limit = series("vpnagent_tunnel_bandwidth_limit_bits_per_second")
    for way, cloud_way in DIRECTIONS:
        both_views = f"{way}, the cloud's {cloud_way}"
        octets = f"vpnagent_tunnel_{way}_bytes_total"
        by_connection.append(query(_of_connection(octets), f"{OF_CONNECTION} {both_views}"))
        by_tunnel.append(query(f"8 * {rate(octets)} / {tunnel_limit}", f"{OF_TUNNEL} {both_views}"))
        packets.append(rate(f"vpnagent_tunnel_{way}_packets_total"))
    packet_limit = series("vpnagent_tunnel_packet_rate_limit")
    return [
        framed(
            limited(lines("percentunit"), STEPS),
            "Bandwidth by connection",
            "Share of the purchased bandwidth, each direction; all tunnels of the connection, chosen or not. "
            f"For a VPN gateway. Connections with one gateway_id share its bandwidth: add them up. {DASHED}",
            SIZE,
            *by_connection,
            runbook=["VpnGatewayBandwidthHigh"],
        ),
        framed(
            limited(lines("percentunit"), STEPS),
            "Bandwidth by tunnel",
            f"Share of each single tunnel's bandwidth, each direction. For a transit router. {DASHED}",
            SIZE,
            *by_tunnel,
            runbook=["VpnTunnelBandwidthHigh"],
        ),
        framed(
            limited(lines("percentunit"), STEPS),
            "Packet rate by tunnel",
            "Share of the packets per second that the cloud allows, in and out together. "
            f"For a transit router. {DASHED}",
            SIZE,
            query(f"({' + '.join(packets)}) / {packet_limit}", OF_TUNNEL),
            runbook=["VpnTunnelPacketRateHigh"],
        ),
    ]


def _of_connection(octets: str) -> str:
    whole = total(CONNECTION, rate(octets, chosen=CONNECTION))
    limit = series("vpnagent_connection_bandwidth_limit_bits_per_second")
    return f"8 * {whole} / on ({', '.join(CONNECTION)}) {limit}"
