"""The status of everything, as the JSON object of the contract. Pure: knowledge in, plain values out.

Receive and transmit are this gateway's view: the cloud's "inbound" is our transmit.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Network
from itertools import islice
from typing import Final

from vpnagent.config.values import Config, Connection, Tunnel
from vpnagent.finding import Finding, Severity
from vpnagent.knowledge.incidents import Incident, of_tunnel
from vpnagent.knowledge.knowledge import Failover, Knowledge
from vpnagent.knowledge.tunnels import TunnelState
from vpnagent.netlink.rtnetlink import PROTOCOL
from vpnagent.pair import roles
from vpnagent.policy.desired import group_ids, route_metrics, sharers
from vpnagent.record import Json
from vpnagent.routing.objects import GUARD_METRIC, Diversion, KernelObjects
from vpnagent.witness.values import NetworkVerdict, Pair

# The state of each remote network's route: where packets for it go. Pure.

AT_ONCE: Final = 64  #: networks that are looked up in one round: some milliseconds

INSTALLED, GUARDED, MISSING, DIVERTED = "installed", "guarded", "missing", "diverted"
UNUSED = "unused"  #: the packets leave by an exit, as a leased line's route is better, or ours has given way


def route_state(*, nexthops: Collection[str], guarded: bool, diverted: bool, by_exit: bool = False) -> str:
    """Return a route's state in the words of the status contract."""
    if diverted:
        return DIVERTED
    if by_exit:
        return UNUSED
    return INSTALLED if nexthops else GUARDED if guarded else MISSING


def carries(config: Config, prefix: IPv4Network) -> bool:
    """Whether a network is a remote one."""
    return any(prefix in connection.remote_networks for connection in config.connections)


def in_turn(config: Config, have: KernelObjects, turn: int) -> dict[IPv4Network, frozenset[str]]:
    """Return the networks whose turn it is to be looked up, each with the tunnels, also those still there."""
    every = sharers(config)
    turns = max(1, -(-len(every) // AT_ONCE))
    tunnels = frozenset((*(tunnel.interface for tunnel in config.tunnels()), *have.links))
    return dict.fromkeys(islice(every, turn % turns, None, turns), tunnels)


def diverted(diversions: Mapping[IPv4Network, Diversion]) -> Iterator[Finding]:
    """Yield whose packets go elsewhere, and what leads them there."""
    for prefix, astray in sorted(diversions.items()):
        owner = " of ours" if astray.protocol == PROTOCOL else ""
        route = f"the route {astray.entry}{owner} of table {astray.table}" if astray.entry else "a rule"
        yield Finding(
            code="RouteDiverted",
            subject=str(prefix),
            severity=Severity.CRITICAL,
            text=f"packets {astray.asker} for the remote network {prefix} go out by {astray.interface} and "
            f"not into a tunnel: {route} has them",
            hint=f"ip rule show; ip route show table {astray.table}: remove the rule or the route. "
            "A way that is meant is named in exits",
        )


def status(known: Knowledge) -> Json:
    """Return the status object (docs/status.md names its fields)."""
    connections = [_connection(known, connection) for connection in known.config.connections]
    return {
        "gateway": known.config.gateway.name,
        "state": worst_of([c["state"] for c in connections]),
        "config": {"loaded_at": rfc3339(known.loaded_at), "error": known.config_error},
        "prober": {"connected": known.probe.connected},
        "charon": {
            "connected": known.charon.connected,
            "version": known.charon.version,
            "error": known.charon.error,
        },
        "connections": connections,
        "routes": _routes(known),
        "incidents": [_incident(incident) for incident in known.incidents.open],
        "warnings": [_finding(known, f) for f in known.findings.current],
    }


def worst_of(states: list[str]) -> str:
    """Return the state of the whole: up when all are up, down when none carries anything."""
    if not states or all(state == "down" for state in states):
        return "down"
    return "up" if all(state == "up" for state in states) else "degraded"


def state_of(tunnels: list[str], *, carried: bool, whole: bool = True) -> str:
    """Return a connection's state: without a tunnel that carries its traffic it is not up.

    ``whole``: no packet of a carried network is known to go astray.
    """
    worst = worst_of(tunnels)
    if not carried:
        return "down"
    return "degraded" if worst == "down" or not whole else worst


def rfc3339(wall: float, timespec: str = "milliseconds") -> str:
    """Return wall-clock seconds as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def _connection(known: Knowledge, connection: Connection) -> Json:
    tunnels = [_tunnel(known, connection, tunnel) for tunnel in connection.tunnels]
    here = [t["state"] for t in tunnels if t["state"] != TunnelState.STANDBY_DEVICE.value]
    states = ["up" if state == TunnelState.UP.value else "down" for state in here]
    selected = known.kernel.selected.get(connection.name, ())
    networks = _networks(known, connection)
    lost = any(network["carried"] is False for network in networks)
    missing = known.kernel.missing - known.kernel.by_exit.keys()
    lost = lost or not missing.isdisjoint(connection.remote_networks)
    by_lines = known.kernel.by_exit.keys() >= set(connection.remote_networks)
    others = () if selected else _instead(known, connection)
    whole = not any(verdict.in_part for verdict in known.carried(connection.name))
    failover = known.kernel.failovers.get(connection.name)
    carried = bool(selected or by_lines or others) and not lost
    return {
        "name": connection.name,
        "state": state_of(states, carried=carried, whole=whole) if here else "up",  # the other gateway's
        "forwarding": connection.forwarding.value,
        "active": list(selected),
        "carried_by": list(others),
        "remote_networks": [str(n) for n in connection.remote_networks],
        "networks": networks,
        "tunnels": tunnels,
        "last_failover": _failover(failover) if failover else None,
    }


def _instead(known: Knowledge, connection: Connection) -> tuple[str, ...]:
    """Return the connections of another priority that carry all networks of one that carries none."""
    carrying = [
        c
        for c in known.config.connections
        if c.priority != connection.priority and known.kernel.selected.get(c.name)
    ]
    of_networks = [
        [c.name for c in carrying if prefix in c.remote_networks] for prefix in connection.remote_networks
    ]
    return tuple(dict.fromkeys(n for names in of_networks for n in names)) if all(of_networks) else ()


def _networks(known: Knowledge, connection: Connection) -> list[Json]:
    """Return what the witness says of each local network with each remote one; null: not looked yet."""
    verdicts = {v.pair: v for v in known.carried(connection.name)}
    pairs = (
        Pair(connection.name, local, remote)
        for local in known.config.local_networks_of(connection)
        for remote in connection.remote_networks
    )
    standby = known.standby().issuperset(tunnel.key for tunnel in connection.tunnels)
    unseen = roles.REASON if standby else "not looked at yet"
    return [_network(pair, verdicts.get(pair), unseen) for pair in pairs]


def _network(pair: Pair, verdict: NetworkVerdict | None, unseen: str) -> Json:
    return {
        "local": str(pair.local),
        "remote": str(pair.remote),
        "carried": verdict.carried if verdict else None,
        "by": (verdict.by or None) if verdict else None,
        "reason": verdict.reason if verdict else unseen,
    }


def _tunnel(known: Knowledge, connection: Connection, tunnel: Tunnel) -> Json:
    view = known.tunnels.views.get(tunnel.key)
    counters = known.kernel.traffic.of(tunnel.key)
    rate = known.kernel.rates.rate(tunnel.interface)
    return {
        "name": tunnel.name,
        "role": tunnel.role.value,
        "state": view.state.value if view else TunnelState.INIT.value,
        "reason": view.reason if view else "starting",
        "since": rfc3339(_since(known, tunnel)),
        "forwarding": tunnel.name in known.kernel.selected.get(connection.name, ()),
        "interface": tunnel.interface,
        "remote_address": str(tunnel.remote_address),
        "ike_sa": view.sa.ike.value if view else "none",
        "child_sa": view.sa.child.value if view else "none",
        "selectors": [
            {"local": list(local), "remote": list(remote)}
            for local, remote in (view.sa.selectors if view else ())
        ],
        "negotiation_failure": _negotiation_failure(known, tunnel),
        "path": _path(known, tunnel),
        "rx_bytes": counters.rx_bytes,
        "tx_bytes": counters.tx_bytes,
        "rx_packets": counters.rx_packets,
        "tx_packets": counters.tx_packets,
        "rx_bits_per_second": round(rate.rx_bits_per_second),
        "tx_bits_per_second": round(rate.tx_bits_per_second),
        "utilisation_ratio": round(
            max(rate.rx_bits_per_second, rate.tx_bits_per_second) / connection.bandwidth, 4
        ),
    }


def _since(known: Knowledge, tunnel: Tunnel) -> float:
    """Return since when the tunnel is in its state; trials and restarts make what is down no younger."""
    view = known.tunnels.views.get(tunnel.key)
    if view is None:
        return known.loaded_at
    incident = known.incidents.of(key := of_tunnel(tunnel.key))
    if incident is None or view.state not in (TunnelState.DOWN, TunnelState.TRIAL):
        return view.since
    return incident.symptoms[key].since


def _negotiation_failure(known: Knowledge, tunnel: Tunnel) -> Json | None:
    failed = known.charon.failures.get(tunnel.key)
    if failed is None:
        return None
    return {"reason": failed.reason.value, "text": failed.text, "hint": failed.hint}


def _path(known: Knowledge, tunnel: Tunnel) -> Json:
    path = known.probe.paths.get(tunnel.key)
    if path is None or not known.probe.reported:
        target = str(tunnel.probe.targets[0])
        return {"state": "init", "rtt_seconds": None, "loss_ratio": None, "target": target}
    return {
        "state": path.state.value,
        "reason": path.reason,
        "rtt_seconds": None if path.rtt is None else round(path.rtt, 6),
        "loss_ratio": round(path.loss_ratio, 4),
        "target": str(path.target),
        "waiting_for_peer": path.waiting_for_peer,
        "suspected": path.suspected,
        "flinches": known.probe.counted.flinches(tunnel.key),
    }


def _routes(known: Knowledge) -> list[Json]:
    ids = group_ids(known.config)
    state = known.kernel.state
    order = [t.interface for t in known.config.tunnels()]
    metrics = route_metrics(known.config)
    routes: list[Json] = []
    for prefix, names in sorted(sharers(known.config).items()):
        present = state.objects.routes if state else {}
        route = present.get((prefix, metrics[prefix]))
        astray = known.kernel.by_exit.get(prefix)
        guarded = (prefix, GUARD_METRIC) in present
        nexthops: list[str] = []
        if state and route is not None and route.group == ids[names] and route.group in state.objects.groups:
            objects = state.objects
            members = objects.groups[route.group].members
            nexthops = [objects.nexthops[id_].interface for id_, _ in members if id_ in objects.nexthops]
        routes.append(
            {
                "prefix": str(prefix),
                "nexthops": sorted(nexthops, key=order.index),
                "by": astray.interface if astray else None,
                "state": route_state(
                    nexthops=nexthops,
                    guarded=guarded,
                    diverted=prefix in known.kernel.diversions,
                    by_exit=astray is not None,
                ),
            }
        )
    return routes


def _failover(failover: Failover) -> Json:
    return {
        "at": rfc3339(failover.at),
        "from": list(failover.old),
        "to": list(failover.new),
        "reason": failover.reason,
        "detection_seconds": round(failover.detection_seconds, 6),
        "switch_seconds": round(failover.switch_seconds, 6),
        "first_reply_seconds": failover.first_reply_seconds,
        "text": failover.text,
        "timeline": [
            {
                "at": rfc3339(moment.at, "microseconds"),
                "offset_seconds": round(moment.at - failover.at, 6),
                "what": moment.what,
            }
            for moment in failover.timeline()
        ],
    }


def _incident(incident: Incident) -> Json:
    return {
        "id": incident.id,
        "since": rfc3339(incident.began),
        "cause": incident.cause._asdict(),
        "recovering": incident.recovering,
        "symptoms": [
            {**key._asdict(), "since": rfc3339(symptom.since), "recovering": symptom.fine_since is not None}
            for key, symptom in incident.symptoms.items()
        ],
    }


def _finding(known: Knowledge, finding: Finding) -> Json:
    incident = known.incidents.explaining(finding)
    return {
        **finding.plain(),
        "since": rfc3339(finding.since),
        "incident": incident.id if incident else None,
    }
