"""The rows of states: what is wrong, and where; what each tunnel was, carried, and negotiated."""

from collections.abc import Mapping, Sequence
from typing import Final

from grafana_foundation_sdk.builders import prometheus, table
from tools.dashboard.look import (
    BLUE,
    GREEN,
    GREY,
    OF_CONNECTION,
    OF_TUNNEL,
    ORANGE,
    PURPLE,
    RED,
    YELLOW,
    Panel,
    cells,
    coloured,
    counts,
    framed,
    grid,
    instant,
    lines,
    mirrored,
    query,
    tile,
    timeline,
)
from tools.dashboard.promql import (
    CONNECTION,
    GATEWAY,
    HOUR,
    TUNNEL,
    increase,
    occurrences,
    rate,
    series,
    total,
    zeros,
)

from vpnagent.knowledge.tunnels import TunnelState

TILE: Final = (3, 4)

STATES: Final[Mapping[TunnelState, str]] = {
    TunnelState.INIT: GREY,
    TunnelState.UP: GREEN,
    TunnelState.DEGRADED: YELLOW,
    TunnelState.HOLD_DOWN: BLUE,
    TunnelState.TRIAL: PURPLE,
    TunnelState.DOWN: RED,
    TunnelState.DRAINED: ORANGE,
}


def overview() -> Sequence[Panel]:
    """Return the row's panels."""
    return [*_tiles(), _gateways(), _tunnels()]


def _tiles() -> Sequence[Panel]:
    carrying = series("vpnagent_tunnel_forwarding", chosen=CONNECTION)
    return [
        framed(
            tile(),
            "Agents down",
            "Gateways whose agent does not answer Prometheus. Tunnels and routes stay as they are, and a "
            "prober that lives goes on with failover.",
            TILE,
            instant(zeros("up")),
            runbook=["VpnAgentDown"],
        ),
        framed(
            tile(),
            "charon down",
            "Gateways whose charon does not answer on its VICI socket: nothing is rekeyed or negotiated.",
            TILE,
            instant(zeros("vpnagent_charon_up")),
            runbook=["VpnCharonDown"],
        ),
        framed(
            tile(),
            "Not forwarding",
            "Connections of which no tunnel carries traffic: their networks cannot be reached through them.",
            TILE,
            instant(f"sum(1 - max by ({', '.join(CONNECTION)}) ({carrying}))"),
            runbook=["VpnTunnelDown"],
        ),
        framed(
            tile(),
            "Tunnels not up",
            "Tunnels in any state but up, standby ones too. The table below names them.",
            TILE,
            instant(zeros("vpnagent_tunnel_up")),
            runbook=["VpnTunnelDown", "VpnNoStandby"],
        ),
        framed(
            tile(((None, GREEN), (1, ORANGE))),
            "Paths degraded",
            "Tunnels whose probes are lost or late, beyond what the configuration allows.",
            TILE,
            instant(f"sum({series('vpnagent_path_degraded')})"),
            runbook=["VpnPathDegraded"],
        ),
        framed(
            tile(),
            "Networks not carried",
            "Local networks, with each remote one, whose packets do not go into a tunnel or whose answers "
            "do not come back, whatever the tunnels' states.",
            TILE,
            instant(zeros("vpnagent_network_carried")),
            runbook=["VpnNetworkNotCarried"],
        ),
        framed(
            tile(((None, GREEN), (1, ORANGE))),
            "Config refused",
            "Gateways that run another configuration than their file's: it was refused, or taken back.",
            TILE,
            instant(zeros("vpnagent_config_last_reload_successful")),
            runbook=["VpnConfigReloadFailed"],
        ),
        framed(
            tile(((None, GREEN), (0.5, BLUE))),
            "Failovers",
            "How often traffic was moved within the dashboard's range.",
            TILE,
            instant(f"sum({increase('vpnagent_failovers_total')})"),
            runbook=["VpnFailover"],
        ),
    ]


def _gateways() -> table.Panel:
    columns = {
        "instance": "Gateway",
        "version": "Version",
        "Value #B": "Agent",
        "Value #C": "charon",
        "Value #D": "Configuration",
    }
    panel = grid(columns, sort="Gateway")
    coloured(panel, "Agent", {0: ("down", RED), 1: ("up", GREEN)})
    coloured(panel, "charon", {-1: ("unknown", GREY), 0: ("down", RED), 1: ("up", GREEN)})
    words = {-1: ("unknown", GREY), 0: ("refused", ORANGE), 1: ("in force", GREEN)}
    coloured(panel, "Configuration", words)
    # Grafana merges only queries that all have rows, and names the values of a lone one otherwise: what a
    # gateway does not tell as its agent is down comes from its target.
    target = total(GATEWAY, series("up"))
    version = f"max by (job, instance, version) ({series('vpnagent_build_info')})"
    return framed(
        panel,
        "Gateways",
        "Each gateway at the end of the dashboard's range. What an agent that is down would tell is unknown.",
        (10, 8),
        cells(f"{version} or on (job, instance) {target}"),
        cells(target),
        *(
            cells(f"{total(GATEWAY, series(name))} or {target} * 0 - 1")
            for name in ("vpnagent_charon_up", "vpnagent_config_last_reload_successful")
        ),
        runbook=["VpnAgentDown", "VpnCharonDown", "VpnConfigReloadFailed"],
    )


def _tunnels() -> table.Panel:
    columns = {
        "instance": "Gateway",
        "connection": "Connection",
        "tunnel": "Tunnel",
        "state": "State",
        "Value #B": "Forwarding",
        "Value #C": "IKE_SA",
        "Value #D": "CHILD_SA",
    }
    panel = grid(columns, sort="State")  # "up" is the last of them in the alphabet, too
    coloured(panel, "State", {state.value: (state.value, colour) for state, colour in STATES.items()})
    coloured(panel, "Forwarding", {0: ("no", GREY), 1: ("yes", GREEN)})
    coloured(panel, "IKE_SA", {0: ("none", RED), 1: ("established", GREEN)})
    coloured(panel, "CHILD_SA", {0: ("none", RED), 1: ("installed", GREEN)})
    return framed(
        panel,
        "Tunnels",
        "Each tunnel at the end of the dashboard's range; what is not up comes first. In active-standby the"
        " standby does not forward, and that is right.",
        (14, 8),
        cells(f"{total((*TUNNEL, 'state'), series('vpnagent_tunnel_state'))} == 1"),
        cells(total(TUNNEL, series("vpnagent_tunnel_forwarding"))),
        cells(total(TUNNEL, series("vpnagent_ike_sa_established"))),
        cells(total(TUNNEL, series("vpnagent_child_sa_installed"))),
    )


# The row of the tunnels: what each was, what it carried, and what was negotiated.


def tunnels() -> Sequence[Panel]:
    """Return the row's panels."""
    return [*_states(), *_traffic(), *_negotiations()]


def _states() -> Sequence[Panel]:
    words = {number: (state.value, colour) for number, (state, colour) in enumerate(STATES.items(), 1)}
    states = {word: series("vpnagent_tunnel_state", f'state="{word}"') for word, _ in words.values()}
    numbered = " or ".join(f"{states[word]} * {number}" for number, (word, _) in words.items())
    sas = f"{series('vpnagent_ike_sa_established')} + 2 * {series('vpnagent_child_sa_installed')}"
    sa_words = {
        0: ("none", RED),
        1: ("IKE_SA only", ORANGE),
        2: ("CHILD_SA only", YELLOW),
        3: ("both", GREEN),
    }
    return [
        framed(
            timeline(words),
            "Tunnel state",
            "The state of each tunnel, in the words of vpnagent status.",
            (24, 7),
            query(total(TUNNEL, numbered), OF_TUNNEL),
            runbook=["VpnTunnelDown"],
        ),
        framed(
            timeline({0: ("none", GREEN), 1: ("open", RED)}),
            "Incidents",
            "Each fault of a tunnel as one bar: from its first symptom, over trials and flaps, until"
            " the tunnel has been up for 30 s again.",
            (24, 5),
            query(total(TUNNEL, series("vpnagent_tunnel_incident")), OF_TUNNEL),
            runbook=["VpnTunnelDown"],
        ),
        framed(
            timeline({0: ("no", GREY), 1: ("yes", GREEN)}),
            "Forwarding",
            "Which tunnels carried their connection's traffic. Where it moves there was a failover.",
            (12, 7),
            query(series("vpnagent_tunnel_forwarding"), OF_TUNNEL),
            runbook=["VpnFailover"],
        ),
        framed(
            timeline(sa_words),
            "IKE_SA and CHILD_SA",
            "What was negotiated. A tunnel that has both and is down has a path on which something drops "
            "ESP.",
            (12, 7),
            query(sas, OF_TUNNEL),
            runbook=["VpnTunnelDown"],
        ),
        framed(
            timeline({0: ("missing", RED), 1: ("installed", GREEN)}),
            "Routes",
            "Prefixes whose route led into a tunnel.",
            (12, 7),
            query(series("vpnagent_route_installed"), OF_CONNECTION + " {{prefix}}"),
            runbook=["KernelRefused"],
        ),
        framed(
            timeline({0: ("not carried", RED), 1: ("carried", GREEN)}),
            "Networks",
            "Whether packets of hosts went into a tunnel, and answers back: forwarding, rules, routes, "
            "selectors.",
            (12, 7),
            query(series("vpnagent_network_carried"), OF_CONNECTION + " {{local}} {{remote}}"),
            runbook=["VpnNetworkNotCarried"],
        ),
    ]


def _traffic() -> Sequence[Panel]:
    return [
        framed(
            mirrored(lines("bps"), "/ transmit$/"),
            "Traffic",
            "Bits per second without ESP, as this gateway sees them: received above zero (the cloud's "
            "outbound), transmitted below (the cloud's inbound).",
            (12, 9),
            *_both_ways("vpnagent_tunnel_{}_bytes_total", " * 8"),
        ),
        framed(
            mirrored(lines("pps"), "/ transmit$/"),
            "Packets",
            "Packets per second, as this gateway sees them: received above zero, transmitted below.",
            (12, 9),
            *_both_ways("vpnagent_tunnel_{}_packets_total", ""),
        ),
    ]


def _both_ways(metric: str, factor: str) -> Sequence[prometheus.Dataquery]:
    return [query(rate(metric.format(way)) + factor, f"{OF_TUNNEL} {way}") for way in ("receive", "transmit")]


def _negotiations() -> Sequence[Panel]:
    failures = occurrences("vpnagent_negotiation_failures_total", (*TUNNEL, "reason"), HOUR)
    return [
        framed(
            counts(),
            "Rekeys within an hour",
            "Rekeys of the IKE_SA and the CHILD_SA. More than the lifetimes explain: the two ends do not "
            "agree.",
            (12, 8),
            query(increase("vpnagent_rekeys_total", HOUR), OF_TUNNEL),
        ),
        framed(
            counts(),
            "Negotiation failures within an hour",
            "Failed negotiations by reason, in the cloud's words; vpnagent status has a hint for each.",
            (12, 8),
            query(failures, OF_TUNNEL + " {{reason}}"),
            runbook=["VpnTunnelDown"],
        ),
    ]
