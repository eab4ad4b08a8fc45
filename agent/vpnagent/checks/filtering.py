"""Which of the tunnels' packets the packet filter drops or changes: IKE, ESP, what is in the tunnels, probes.

Each kind of packet is imagined once for each tunnel, and what is in the tunnels for each local and remote
network too, and sent through the rules (``firewall``): all of them, as long as that takes seconds. Pure.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from vpnagent.checks.firewall import Fate, Hit, Packet, Ruleset, fate
from vpnagent.checks.nft_json import ICMP_TYPES, IPV4, PROTOCOLS
from vpnagent.checks.observation import Observation
from vpnagent.config.values import Config, Connection, Probe, ProbeMethod, Tunnel, UdpEncapsulation
from vpnagent.finding import Finding, Severity
from vpnagent.record import record

A_PORT: Final = 50000  #: of a client
IKE_PORTS: Final = (500, 4500)  #: RFC 7296 §2, RFC 3948
INPUT: Final = ("prerouting", "input")
OUTPUT: Final = ("output", "postrouting")
FORWARD: Final = ("prerouting", "forward", "postrouting")

Fields = dict[str, int | str]
NEW: Final[Fields] = {"ctstate": "new"}
OLD: Final[Fields] = {"ctstate": "established"}


@record(frozen=True, slots=True)
class Trial:
    """An imagined packet, and what it means if it does not arrive as it was sent."""

    what: str  #: for example ``IKE from 203.0.113.1``
    packet: Packet
    code: str  #: of the finding when it is dropped
    severity: Severity
    breaks: str
    changed: str = ""  #: code of the finding when an address of it is changed; empty: that may be


TOLD_IN_OTHERS: Final = frozenset({"OnlyAnswersAccepted", "ProbeDropped"})
MOST_STEPS: Final = 2_000_000  #: rules walked through, times packets: some seconds
LEAST_TRIALS: Final = 64  #: that are made however many rules there are


def filtering(config: Config, seen: Observation) -> Iterator[Finding]:
    """Yield what the packet filter does to our packets: each rule once, with the first packet it hits."""
    if seen.firewall is None:
        return
    told: set[tuple[str, Hit]] = set()
    trials = list(_trials(config, seen))
    affordable = max(LEAST_TRIALS, MOST_STEPS // max(seen.firewall.size, 1))
    if len(trials) > affordable:
        yield _not_all(affordable, len(trials))
    for trial in (*trials[:affordable], *_probes(config)):
        found = _finding(trial, fate(seen.firewall, trial.packet))
        if found is None:
            continue
        finding, hit = found
        # What is dropped as an answer too needs no word about first packets, nor about probes.
        worse = finding.code in TOLD_IN_OTHERS and any(hit == known for _, known in told)
        if (finding.code, hit) not in told and not worse:
            told.add((finding.code, hit))
            yield finding


def _not_all(made: int, all_: int) -> Finding:
    return Finding(
        code="NotLookedAt",
        subject="packets",
        severity=Severity.INFO,
        text=f"packet filter: {made} of {all_} kinds of packets were sent through its rules, which are many",
        hint="the others are of further local and remote networks: see for yourself that they pass",
    )


def _finding(trial: Trial, end: Fate) -> tuple[Finding, Hit] | None:
    if end.dropped:
        text = f"{trial.what} is dropped by {end.dropped}: {trial.breaks}"
        return _told(trial.code, trial.severity, end.dropped, text, _way_out(trial, end.dropped)), end.dropped
    changed = {"IkeRedirected": end.redirected, "TunnelMasqueraded": end.translated}.get(trial.changed)
    if changed:
        return _changed(trial, changed), changed
    if end.doubtful:
        text = f"whether {trial.what} passes {end.doubtful} cannot be told: a match is not understood"
        hint = "see for yourself; if the tunnels are up and carry traffic, it does"
        return _told("FirewallUnclear", Severity.INFO, end.doubtful, text, hint), end.doubtful
    return None


def _told(code: str, severity: Severity, hit: Hit, text: str, hint: str) -> Finding:
    return Finding(code=code, subject=str(hit), severity=severity, text=text, hint=hint)


def _changed(trial: Trial, hit: Hit) -> Finding:
    if trial.changed == "IkeRedirected":
        text = f"{trial.what} is sent elsewhere by {hit}: charon does not hear it"
        return _told(
            "IkeRedirected", Severity.CRITICAL, hit, text, "do not forward UDP 500 and 4500 to another host"
        )
    text = f"{trial.what} gets another source address by {hit}: the cloud never sees which host it is, and "
    text += "cannot begin a connection to it"
    hint = "exempt what leaves by a tunnel's interface: accept it before that rule"
    return _told("TunnelMasqueraded", Severity.WARNING, hit, text, hint)


def _way_out(trial: Trial, hit: Hit) -> str:
    if " ts-" in hit.chain:
        return (
            "Tailscale drops what comes from 100.64.0.0/10 elsewhere than on tailscale0: tailscale set "
            "--netfilter-mode=nodivert or off, or accept the tunnels' interfaces before its chain"
        )
    if trial.code == "ForwardDropped":
        return (
            "accept forwarding from and to the tunnels' interfaces before that; "
            "Docker sets FORWARD to drop and leaves the chain DOCKER-USER for this"
        )
    return f"accept it before that: {trial.what}"


def _trials(config: Config, seen: Observation) -> Iterator[Trial]:
    underlays = {underlay.tunnel: underlay.source for underlay in seen.underlays or ()}
    owners = {address.address.ip: address.interface for address in seen.addresses or ()}
    for connection in config.connections:
        for tunnel in connection.tunnels:
            source = tunnel.local_address or underlays.get(tunnel.key)
            uplink = tunnel.uplink or (owners.get(source, "") if source else "")
            yield from _outside(connection, tunnel, source, uplink)
    # In rounds, so that where not all can be tried every network and every tunnel have been once.
    rounds = [
        (local_number + remote_number, connection, tunnel, local, remote)
        for connection in config.connections
        for tunnel in connection.tunnels
        for local_number, local in enumerate(config.local_networks_of(connection))
        for remote_number, remote in enumerate(connection.remote_networks)
    ]
    for _, connection, tunnel, local, remote in sorted(rounds, key=lambda row: row[0]):
        yield from _inside(config.source_of(connection), tunnel, local, remote, lan_of(local, seen))


def lan_of(network: IPv4Network, seen: Observation) -> str:
    """Return the interface behind which a local network is, as far as addresses and routes tell."""
    found = [a.interface for a in seen.addresses or () if a.address.network.overlaps(network)]
    found += [route.interface for route in seen.lan_routes or () if route.prefix.overlaps(network)]
    return next(iter(found), "")


def _outside(
    connection: Connection, tunnel: Tunnel, source: IPv4Address | None, uplink: str
) -> Iterator[Trial]:
    """IKE both ways, and ESP where it is not in UDP."""
    peer = tunnel.remote_address
    kinds: list[tuple[str, str, Severity, Fields]] = [
        (f"IKE (UDP {port})", "IkeDropped", Severity.CRITICAL, _udp(port)) for port in IKE_PORTS
    ]
    encapsulation = connection.udp_encapsulation_of(tunnel)
    if encapsulation is not UdpEncapsulation.ALWAYS:
        # With auto it is in UDP after all where there is a NAT.
        severity = Severity.CRITICAL if encapsulation is UdpEncapsulation.NEVER else Severity.WARNING
        kinds.append(("ESP (protocol 50)", "EspDropped", severity, {"l4proto": PROTOCOLS["esp"]}))
    for name, code, severity, fields in kinds:
        here = _fields(fields, peer, source, incoming=uplink)
        there = _fields(fields, source, peer, outgoing=uplink)
        breaks = f"tunnel {tunnel.key} " + ("cannot come up" if code == "IkeDropped" else "carries nothing")
        yield Trial(f"{name} to {peer}", Packet(OUTPUT, there | NEW), code, severity, breaks)
        yield Trial(f"{name} from {peer}", Packet(INPUT, here | OLD, first=False), code, severity, breaks)
        yield Trial(
            f"{name} from {peer}, when the cloud begins,",
            Packet(INPUT, here | NEW),
            "OnlyAnswersAccepted",
            Severity.INFO,
            f"tunnel {tunnel.key} waits until this gateway negotiates it",
            "IkeRedirected" if code == "IkeDropped" else "",
        )


def _udp(port: int) -> Fields:
    return {"l4proto": PROTOCOLS["udp"], "sport": port, "dport": port}


def _probes(config: Config) -> Iterator[Trial]:
    """Probes of every tunnel and target, and their answers."""
    for connection in config.connections:
        for tunnel in connection.tunnels:
            inside = tunnel.inside_address
            yield from _probed(tunnel, inside.ip if inside else config.source_of(connection))


def _probed(tunnel: Tunnel, source: IPv4Address | None) -> Iterator[Trial]:
    asked, answered = _kinds(tunnel.probe)
    method, name = tunnel.probe.method.value.upper(), tunnel.interface
    breaks = f"whether {tunnel.key} works is not known, and it is not used while another tunnel is heard"
    for target in tunnel.probe.targets:
        sent = _fields(asked, source, target, outgoing=name)
        received = _fields(answered, target, source, incoming=name)
        yield Trial(
            f"a probe of {target} ({method}) by {name}",
            Packet(OUTPUT, sent | NEW),
            "ProbeDropped",
            Severity.CRITICAL,
            breaks,
        )
        yield Trial(
            f"an answer of {target} ({method}) on {name}",
            Packet(INPUT, received | OLD, first=False),
            "ProbeDropped",
            Severity.CRITICAL,
            breaks,
        )


def _kinds(probe: Probe) -> tuple[Fields, Fields]:
    """Return what a probe and its answer are."""
    match probe.method:
        case ProbeMethod.ICMP:
            icmp: Fields = {"l4proto": PROTOCOLS["icmp"]}
            return icmp | {"icmptype": ICMP_TYPES["echo-request"]}, icmp | {"icmptype": 0}
        case ProbeMethod.TCP | ProbeMethod.DNS:
            protocol = PROTOCOLS["tcp" if probe.method is ProbeMethod.TCP else "udp"]
            ports: Fields = {"l4proto": protocol, "sport": A_PORT, "dport": probe.port}
            return ports, ports | {"sport": probe.port, "dport": A_PORT}


def _inside(
    source: IPv4Address | None,
    tunnel: Tunnel,
    local_network: IPv4Network,
    network: IPv4Network,
    lan: str,
) -> Iterator[Trial]:
    """Answers to the gateway itself, and both ways between a local and a remote network."""
    remote, local = _a_host(network), _a_host(local_network)
    own = source or (tunnel.inside_address.ip if tunnel.inside_address else None)
    icmp: Fields = {"l4proto": PROTOCOLS["icmp"], "icmptype": ICMP_TYPES["echo-reply"]}
    tcp: Fields = {"l4proto": PROTOCOLS["tcp"], "sport": A_PORT, "dport": 443}
    answer: Fields = {"l4proto": PROTOCOLS["tcp"], "sport": 443, "dport": A_PORT}
    received = _fields(icmp, remote, own, incoming=tunnel.interface)
    yield Trial(
        f"an answer from {network} on {tunnel.interface}",
        Packet(INPUT, received | OLD, first=False),
        "TunnelInputDropped",
        Severity.CRITICAL,
        "the gateway itself hears nothing from there, nor do probes of addresses there",
    )
    outward = _fields(tcp, local, remote, incoming=lan, outgoing=tunnel.interface)
    inward = _fields(answer, remote, local, incoming=tunnel.interface, outgoing=lan)
    breaks = f"the hosts of {local_network} do not reach {network}"
    yield Trial(
        f"traffic from {local_network} to {network} through {tunnel.interface}",
        Packet(FORWARD, outward | NEW),
        "ForwardDropped",
        Severity.CRITICAL,
        breaks,
        "TunnelMasqueraded",
    )
    yield Trial(
        f"an answer from {network} through {tunnel.interface} to {local_network}",
        Packet(FORWARD, inward | OLD, first=False),
        "ForwardDropped",
        Severity.CRITICAL,
        breaks,
    )


def dropped(
    ruleset: Ruleset, local: IPv4Network, remote: IPv4Network, tunnel: Tunnel, lan: str
) -> Hit | None:
    """Return where packets between two networks are surely dropped, whatever they are."""
    here, there = _a_host(local), _a_host(remote)
    outward: Fields = {"nfproto": IPV4, "saddr": int(here), "daddr": int(there), "oifname": tunnel.interface}
    inward: Fields = {"nfproto": IPV4, "saddr": int(there), "daddr": int(here), "iifname": tunnel.interface}
    if lan:
        outward["iifname"], inward["oifname"] = lan, lan
    ways = (Packet(FORWARD, outward | NEW), Packet(FORWARD, inward | OLD, first=False))
    return next((end.dropped for way in ways if (end := fate(ruleset, way)).dropped), None)


def first_packet(local: IPv4Network, remote: IPv4Network, lan: str) -> Packet:
    """Return the packet of a host, of whatever protocol, before it is routed."""
    fields: Fields = {"nfproto": IPV4, "saddr": int(_a_host(local)), "daddr": int(_a_host(remote))}
    return Packet(("prerouting",), fields | NEW | ({"iifname": lan} if lan else {}))


def _a_host(network: IPv4Network) -> IPv4Address:
    return network[1] if network.num_addresses > 1 else network[0]


def _fields(
    protocol: Fields,
    source: IPv4Address | None,
    destination: IPv4Address | None,
    *,
    incoming: str = "",
    outgoing: str = "",
) -> Fields:
    """Return a packet's fields; what is not known is left out, and what it has not is empty or -1."""
    fields: Fields = {"nfproto": IPV4, "mark": 0, "sport": -1, "dport": -1, "icmptype": -1, **protocol}
    if source is not None:
        fields["saddr"] = int(source)
    if destination is not None:
        fields["daddr"] = int(destination)
    for name, interface in (("iifname", incoming), ("oifname", outgoing)):
        if interface:
            fields[name] = interface
    return fields
