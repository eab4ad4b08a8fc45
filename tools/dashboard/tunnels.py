"""The row of the tunnels: what each was, what it carried, and what was negotiated."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import prometheus
from tools.dashboard.look import (
    GREEN,
    GREY,
    OF_CONNECTION,
    OF_TUNNEL,
    ORANGE,
    RED,
    YELLOW,
    Panel,
    counts,
    framed,
    lines,
    mirrored,
    query,
    timeline,
)
from tools.dashboard.overview import STATES
from tools.dashboard.promql import HOUR, TUNNEL, increase, occurrences, rate, series, total


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
