"""What the prober is to do, made from the configuration and what is known. Pure.

The prober works on its own with what it is given here: targets, groups and members, and the very packets
that have charon terminate and initiate each tunnel.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from vici.protocol import Message, Packet

from vpnagent.config.values import Config, Connection, ProbeMethod, Tunnel, TunnelKey, UdpEncapsulation
from vpnagent.ipsec import actions as ipsec
from vpnagent.ipsec import messages
from vpnagent.knowledge.tunnels import SaStatus
from vpnagent.policy.desired import group_ids, ipsec_connections, nexthop_ids, sharers
from vpnagent.policy.selection import UNKNOWN, Verdicts
from vpnagent.probe.actions import PathReport
from vpnagent.probe.intent import (
    ConnectionIntent,
    GroupIntent,
    GroupRoutes,
    Intent,
    ProbeTarget,
    TunnelIntent,
    ViciRequests,
)
from vpnagent.routing.objects import KernelState, Peer

NONE: Mapping[TunnelKey, str] = MappingProxyType({})
INITIATE_TIMEOUT = 20.0  #: seconds that charon may take to bring a tunnel up for a trial


def intent(
    config: Config,
    *,
    verdicts: Verdicts,
    statuses: Mapping[TunnelKey, SaStatus],
    kernel: KernelState,
    paths: Mapping[TunnelKey, PathReport],
    ike_ping: bool,
) -> Intent:
    """Return everything that the prober is to do; without ``ike_ping`` no peer's IKE daemon is asked."""
    ids = nexthop_ids(config)
    members = {id_: group.members for id_, group in kernel.objects.groups.items()}

    def tunnel_intent(connection: Connection, tunnel: Tunnel) -> TunnelIntent:
        verdict = verdicts.get(tunnel.key, UNKNOWN)
        status = statuses.get(tunnel.key, SaStatus())
        path = paths.get(tunnel.key)
        peer = Peer(tunnel.remote_address, tunnel.local_address)
        return TunnelIntent(
            key=tunnel.key,
            role=tunnel.role,
            weight=tunnel.weight,
            nexthop_id=ids[tunnel.interface],
            interface=tunnel.interface,
            outer_interface=kernel.outgoing.get(peer, tunnel.uplink),
            source=config.source_of(connection),
            targets=targets(tunnel),
            method=tunnel.probe.method,
            port=0 if tunnel.probe.method is ProbeMethod.ICMP else tunnel.probe.port,
            interval=tunnel.probe.interval,
            detect_multiplier=tunnel.probe.detect_multiplier,
            hold_down=tunnel.probe.hold_down,
            dscp=tunnel.probe.dscp,
            confirm_count=tunnel.probe.confirm_count,
            confirm_interval=tunnel.probe.confirm_interval,
            remote_address=tunnel.remote_address,
            local_address=tunnel.local_address,
            bandwidth=connection.bandwidth,
            packet_rate=connection.packet_rate,
            ike_ping=ike_ping,
            child_sa_installed=verdict.child_sa_installed,
            encapsulated=status.encapsulated,
            drained=verdict.drained,
            failed_trials=path.failed_trials if path else None,
        )

    return Intent(
        generation=1,
        connections=tuple(
            ConnectionIntent(
                name=connection.name,
                forwarding=connection.forwarding,
                on_path_down=connection.on_path_down,
                priority=connection.priority,
                tunnels=tuple(tunnel_intent(connection, tunnel) for tunnel in connection.tunnels),
            )
            for connection in config.connections
        ),
        groups=tuple(
            GroupIntent(id=id_, connections=names, members=members.get(id_, ()))
            for names, id_ in group_ids(config).items()
        ),
    )


def without(whole: Intent, standby: Collection[TunnelKey]) -> Intent:
    """Return an intent without the tunnels of the other gateway: the prober never touches those."""
    connections = (
        replace(connection, tunnels=tuple(t for t in connection.tunnels if t.key not in standby))
        for connection in whole.connections
    )
    return replace(whole, connections=tuple(connections)) if standby else whole


def group_routes(config: Config) -> tuple[GroupRoutes, ...]:
    """Return what goes with each nexthop group when the kernel or the prober takes it away."""
    prefixes: dict[int, list[str]] = {}
    ids = group_ids(config)
    connections = {connection.name: connection for connection in config.connections}
    first = {ids[names]: connections[names[0]] for names in ids}
    for prefix, names in sharers(config).items():
        prefixes.setdefault(ids[names], []).append(str(prefix))
    return tuple(
        GroupRoutes(
            group=id_,
            prefixes=" ".join(of_group),
            source=config.source_of(first[id_]),
            metric=first[id_].route_metric,
        )
        for id_, of_group in sorted(prefixes.items())
    )


def targets(tunnel: Tunnel) -> tuple[ProbeTarget, ...]:
    """Return the tunnel's targets; the other host of its /30 is known to answer through it."""
    inside = tunnel.inside_address
    peers = {host for host in inside.network.hosts() if host != inside.ip} if inside else set()
    return tuple(ProbeTarget(address=t, inside_peer=t in peers) for t in tunnel.probe.targets)


def vici_requests(config: Config, former: Mapping[TunnelKey, str] = NONE) -> tuple[ViciRequests, ...]:
    """Return, for each tunnel, the packets that terminate it and bring it up.

    ``former`` are the VICI names of the SAs that tunnels have under a name of before.
    """
    connections = ipsec_connections(config).values()
    return tuple(
        ViciRequests(
            tunnel=connection.key,
            terminate=(
                _packet("terminate", {"ike": former.get(connection.key, connection.name), "timeout": "-1"}),
            ),
            initiate=_initiate(connection),
            initiate_encapsulated=(_encapsulated(connection), *_initiate(connection)),
        )
        for connection in connections
    )


def _initiate(connection: ipsec.CharonConnection) -> tuple[bytes, ...]:
    timeout = f"{INITIATE_TIMEOUT * 1000:.0f}"
    return tuple(
        _packet("initiate", {**messages.initiate(connection.name, child), "timeout": timeout})
        for child in messages.child_names(connection)
    )


def _encapsulated(connection: ipsec.CharonConnection) -> bytes:
    """Load the connection with UDP encapsulation forced: IKE and ESP then share one fate."""
    forced = replace(connection, udp_encapsulation=UdpEncapsulation.ALWAYS)
    return _packet("load-conn", messages.load_conn(forced))


def _packet(command: str, message: Mapping[str, object]) -> bytes:
    return bytes(Packet.request(command, Message.serialize(dict(message))))


def held(paths: Iterable[PathReport]) -> frozenset[str]:
    """Return the VICI names of the tunnels that only the prober may bring up now."""
    return frozenset(path.tunnel.owner for path in paths if path.held)
