"""The outline of the YAML: what is told stands as keys, what is not as questions, in the file's order."""

import posixpath
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from vpnagent.commands.import_.assemble import ESP, IKE, SHARED, Assembly
from vpnagent.commands.import_.json_object import DocumentFacts, DocumentValue, Told, same, written
from vpnagent.commands.import_.peers import ImportedConnection, ImportedTunnel
from vpnagent.commands.import_.yaml_text import (
    Entry,
    Item,
    Leaf,
    OpenQuestion,
    OutlineSection,
    Remark,
    Sequence,
)
from vpnagent.config.values import CLOUD_SERVICES
from vpnagent.config.weaknesses import GUOMI
from vpnagent.config.wording import listed
from vpnagent.secret import Secret

_LOCAL_NETWORKS: Final = OpenQuestion(
    "gateway",
    "{local_networks: [10.1.0.0/16]}",
    "which networks of the data centre are behind this gateway? 0.0.0.0/0 in the document (destination "
    "routing mode) does not tell. --local-network does.",
)
_ATTACHMENT: Final = OpenQuestion(
    "attachment",
    "vpn-gateway",
    "vpn-gateway or transit-router: what is the connection attached to? The document does not tell. "
    "--attachment does.",
)
_BANDWIDTH: Final = OpenQuestion(
    "bandwidth",
    "1000Mbps",
    "which bandwidth was bought? Utilisation and alerts are measured against it; without an answer, against "
    "1000Mbps.",
)
_REMOTE_NETWORKS: Final = OpenQuestion(
    "remote_networks",
    "[100.64.0.0/10, 172.16.0.0/16]",
    "which networks are behind the cloud's end: the VPC's, and 100.64.0.0/10 for the cloud services? "
    "0.0.0.0/0 in the document (destination routing mode) does not tell. --remote-network does.",
)
_REMOTE_ADDRESS: Final = OpenQuestion(
    "remote_address",
    "203.0.113.1",
    "which is the cloud's address of this tunnel? The document does not tell.",
)
_LOCAL_ID: Final = OpenQuestion(
    "local_id",
    "198.51.100.10",
    "what does the cloud know this gateway by: the address of the customer gateway, behind NAT the public "
    "one? The document does not tell.",
)
_CERTIFICATE: Final = OpenQuestion(
    "certificate",
    "{certificate: guomi/gateway.crt, private_key: guomi/gateway.key, ca: guomi/cloud.crt}",
    "where are this gateway's certificate, its key, and the CA of the cloud's? No document has them.",
)
_ROLE: Final = OpenQuestion(
    "role",
    "active",
    "is this the active tunnel? DescribeVpnConnection tells (Role: master), and --active; without an answer, "
    "the first tunnel is active.",
)


def layout(assembly: Assembly, psk_directory: str | None) -> tuple[Entry, ...]:
    """Return the whole file. Without a directory, pre-shared keys are asked for like all that is missing."""
    networks = _leaves(assembly.gateway, "local_networks")
    return (
        *map(Remark, assembly.notes),
        Leaf("version", 1),
        OutlineSection("gateway", tuple(networks)) if networks else _LOCAL_NETWORKS,
        Sequence(
            "connections",
            tuple(
                Item(connection.view.where, tuple(_connection(connection, assembly, psk_directory)))
                for connection in assembly.connections
            ),
        ),
    )


def _connection(
    connection: ImportedConnection, assembly: Assembly, psk_directory: str | None
) -> Iterator[Entry]:
    facts, gateway = connection.facts, assembly.gateway
    yield Leaf("name", str(connection.name.value), connection.name.sources)
    yield from _leaves(facts, "attachment") or [_ATTACHMENT]
    yield from _leaves(facts, "gateway_id", "network_type")
    yield from _leaves(facts, "bandwidth") or [_BANDWIDTH]
    yield from _leaves(facts, "remote_networks") or [_REMOTE_NETWORKS]
    if "local_networks" in facts and not same(*(f["local_networks"].value for f in (facts, gateway))):
        yield from _leaves(facts, "local_networks")
    yield from _priority(connection, assembly.connections)
    yield from _leaves(facts, "traffic_selectors")
    yield from _leaves(facts, "udp_encapsulation")
    yield from _sections(facts)
    yield from _guomi(connection)
    if connection.parts:
        parts = listed([str(part.name.value) for part in connection.parts], "and")
        yield Remark(
            f"in the cloud it is {parts}, a connection for each pair of networks: IKE version 1 has a "
            "CHILD_SA for each, under one IKE_SA."
        )
    yield from _remarks(facts)
    if any("inside_address" not in tunnel.facts for tunnel in connection.tunnels):
        yield _probe(facts)
    asks_role = len(connection.tunnels) > 1 and not connection.says("attachment", "transit-router")
    asks_role = asks_role and not any("role" in tunnel.facts for tunnel in connection.tunnels)
    yield Sequence(
        "tunnels",
        tuple(
            Item(
                tunnel.view.where,
                (
                    Leaf("name", str(tunnel.name.value), tunnel.name.sources),
                    *_leaves(tunnel.facts, "role"),
                    *([_ROLE] if asks_role and index == 0 else []),
                    *_line(tunnel, assembly.connections),
                    *_tunnel(tunnel),
                    *_key(connection, tunnel, psk_directory),
                    *(_leaves(tunnel.facts, "inside_address") or _inside_address(tunnel.facts)),
                    *_own_settings(connection, tunnel),
                ),
            )
            for index, tunnel in enumerate(connection.tunnels)
        ),
    )


def _tunnel(tunnel: ImportedTunnel) -> Iterator[Entry]:
    facts = tunnel.facts
    yield from _leaves(facts, "remote_address") or [_REMOTE_ADDRESS]
    if "remote_id" not in facts:
        where = tunnel.view.absent.get("remote_id", tunnel.view.where)
        yield Remark(f"{where} tells no identity of the cloud's end: remote_address is expected.")
    yield from _leaves(facts, "remote_id")
    yield from _leaves(facts, "local_id") or [_LOCAL_ID]
    gateway, identity = facts.get("customer_gateway"), facts.get("local_id")
    if gateway and identity and gateway.value != identity.value:
        yield Remark(
            f"{gateway.sources[0]} has {written(gateway.value)}: that is where the cloud expects this "
            "gateway's packets from."
        )


def _key(
    connection: ImportedConnection, tunnel: ImportedTunnel, psk_directory: str | None
) -> Iterator[Entry]:
    """Yield what the two ends know each other by, or the question for it."""
    facts, psk_file = tunnel.facts, connection.psk_file(tunnel)
    if not tunnel.psk and _mark_of_guomi(connection):
        yield _CERTIFICATE
    elif tunnel.psk and psk_directory is not None:
        path = posixpath.normpath(posixpath.join(psk_directory, psk_file))
        yield Leaf("psk_file", path, facts["psk"].sources)
    else:
        holder = f"{facts['psk'].sources[0]} has it: --psk-directory DIR puts it" if tunnel.psk else "Put it"
        yield OpenQuestion(
            "psk_file",
            posixpath.join(psk_directory or "psk", psk_file),
            f"where is the pre-shared key? {holder} into a file of mode 0600.",
        )


def _mark_of_guomi(connection: ImportedConnection) -> Told | None:
    """Return what tells that a connection is Guomi's, if it is."""
    for facts in (connection.facts, *(tunnel.facts for tunnel in connection.tunnels)):
        for key in ("ike.encryption", "ike.integrity", "esp.encryption", "esp.integrity", "remote_ca"):
            if key in facts and (key == "remote_ca" or facts[key].value in GUOMI):
                return facts[key]
    return None


def _guomi(connection: ImportedConnection) -> Iterator[Remark]:
    if mark := _mark_of_guomi(connection):
        yield Remark(
            f"this is a Guomi connection ({mark.sources[0]}): SM4 and SM3, IKE version 1, and certificates "
            "in place of pre-shared keys. No strongSwan release can do that. Use a VPN gateway of the "
            "ordinary type, with aes and sha on both ends; see AlgorithmMissing in docs/check.md."
        )


def _priority(connection: ImportedConnection, connections: tuple[ImportedConnection, ...]) -> Iterator[Entry]:
    """Yield a rank for a connection that is not the first to its networks: weights of routes are not told."""
    before = connections[: connections.index(connection)]
    ours = set(_networks(connection.facts))
    sharing = [c for c in before if ours.intersection(_networks(c.facts))]
    if sharing and not connection.says("attachment", "transit-router"):
        yield Remark(
            f"it shares networks with {listed([str(c.name.value) for c in sharing], 'and')} and comes after: "
            "the lowest priority goes first, as the weights of the cloud's routes should have it."
        )
        yield Leaf("priority", len(sharing))


def _line(tunnel: ImportedTunnel, connections: tuple[ImportedConnection, ...]) -> Iterator[Entry]:
    """Yield what tells two lines to one address of the cloud apart."""
    peer = _value(tunnel, "remote_address")
    lines = [t for c in connections for t in c.tunnels if peer and _value(t, "remote_address") == peer]
    if len({_value(line, "local_id") for line in lines}) > 1:
        number = next(n for n, line in enumerate(lines) if line is tunnel)
        yield OpenQuestion(
            "local_address",
            f"192.0.2.{10 + number}",
            "which address of this gateway is this line's? Tunnels to one address of the cloud are told "
            "apart by it; uplink: INTERFACE holds each to its provider.",
        )


def _value(tunnel: ImportedTunnel, key: str) -> DocumentValue | None:
    return tunnel.facts[key].value if key in tunnel.facts else None


def _sections(facts: DocumentFacts) -> Iterator[OutlineSection]:
    asks = "ike.dpd" in facts and facts["ike.dpd"].value is True  # as everybody does: not worth a line
    for phase, keys in (("ike", IKE[:-1] if asks else IKE), ("esp", ESP)):
        if leaves := _leaves(facts, *keys):
            yield OutlineSection(phase, tuple(leaves))


def _own_settings(connection: ImportedConnection, tunnel: ImportedTunnel) -> Iterator[Entry]:
    """Yield what the tunnels of the connection do not have in common."""
    own = {key: told for key, told in tunnel.facts.items() if key in SHARED and key not in connection.facts}
    yield from _leaves(own, "udp_encapsulation")
    yield from _sections(own)


def _inside_address(facts: DocumentFacts) -> Iterator[OpenQuestion]:
    if told := facts.get("inside_candidates"):
        both = told.value if isinstance(told.value, tuple) else ()
        yield OpenQuestion(
            "inside_address",
            both[-1],
            f"{listed(both)}: which is this gateway's end of the tunnel? {told.sources[0]} does not tell "
            "whose LocalBgpIp is. DescribeVpnConnection does: PeerBgpIp is this gateway's.",
        )


def _probe(facts: DocumentFacts) -> OpenQuestion:
    return OpenQuestion(
        "probe",
        f"{{targets: [{_probable_target(facts)}]}}",
        "which address behind the tunnels, in one of the remote_networks, answers pings? It is probed, to "
        "tell whether a tunnel works.",
    )


def _probable_target(facts: DocumentFacts) -> str:
    """Return an example: where the cloud's own health check comes from, or the DNS of the cloud services."""
    networks = _networks(facts)
    if told := facts.get("health_check"):
        source = written(told.value)
        if not networks or any(IPv4Address(source) in network for network in networks):
            return source
    dns = IPv4Address("100.100.2.136")
    reached = not networks or any(dns in network for network in networks)
    return str(dns if reached else next(iter(networks[0].hosts())))


def _remarks(facts: DocumentFacts) -> Iterator[Remark]:
    told = facts.get("bgp")
    if told and told.value == "on":
        yield Remark(
            f"BGP is on ({told.sources[0]}), and vpnagent does not speak it: the cloud needs static "
            "routes to the data centre, or this gateway a speaker such as FRR."
        )
    if facts["traffic_selectors"].value != "networks":
        return
    if told and told.value == "on":
        yield Remark("the addresses inside the tunnels are left out: the selectors do not let them through.")
    if not any(network.overlaps(CLOUD_SERVICES) for network in _networks(facts)):
        yield Remark(
            f"the selectors do not cover {CLOUD_SERVICES}: no cloud services by these tunnels, unless it is "
            "added in the cloud's connection first."
        )


def _networks(facts: DocumentFacts) -> list[IPv4Network]:
    """Return the remote networks that are any; the rest is for the configuration's rules to refuse."""
    told = facts.get("remote_networks")
    found = []
    for text in told.value if told and isinstance(told.value, tuple) else ():
        with suppress(ValueError):
            found.append(IPv4Network(text))
    return found


def _leaves(facts: DocumentFacts, *keys: str) -> list[Entry]:
    """Return the keys that are told."""
    return [
        Leaf(key.rpartition(".")[2], value, facts[key].sources)
        for key in keys
        if key in facts and not isinstance(value := facts[key].value, Secret)
    ]
