"""Which of the tunnels' packets the packet filter drops or changes: IKE, ESP, and what is in the tunnels.

Each kind of packet is imagined once for each tunnel and sent through the rules (``firewall``). Pure.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from vpnagent.checks.firewall import Fate, Hit, Packet, fate
from vpnagent.checks.nft_json import IPV4, PROTOCOLS
from vpnagent.checks.observation import Observation
from vpnagent.config.values import Config, Connection, Tunnel, UdpEncapsulation
from vpnagent.finding import Finding, Severity
from vpnagent.record import dataclass

IKE_PORTS: Final = (500, 4500)  #: RFC 7296 §2, RFC 3948
INPUT: Final = ("prerouting", "input")
OUTPUT: Final = ("output", "postrouting")
FORWARD: Final = ("prerouting", "forward", "postrouting")

Fields = dict[str, int | str]
NEW: Final[Fields] = {"ctstate": "new"}
OLD: Final[Fields] = {"ctstate": "established"}


@dataclass(frozen=True, slots=True)
class Trial:
    """An imagined packet, and what it means if it does not arrive as it was sent."""

    what: str  #: for example ``IKE from 203.0.113.1``
    packet: Packet
    code: str  #: of the finding when it is dropped
    severity: Severity
    breaks: str
    changed: str = ""  #: code of the finding when an address of it is changed; empty: that may be


def filtering(config: Config, seen: Observation) -> Iterator[Finding]:
    """Yield what the packet filter does to our packets: each rule once, with the first packet it hits."""
    if seen.firewall is None:
        return
    told: set[tuple[str, Hit]] = set()
    for trial in _trials(config, seen):
        found = _finding(trial, fate(seen.firewall, trial.packet))
        if found is None:
            continue
        finding, hit = found
        # What is dropped as an answer too needs no word about first packets.
        worse = finding.code == "OnlyAnswersAccepted" and any(hit == known for _, known in told)
        if (finding.code, hit) not in told and not worse:
            told.add((finding.code, hit))
            yield finding


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
    lan = _lan(config, seen)
    for connection in config.connections:
        for index, tunnel in enumerate(connection.tunnels):
            source = tunnel.local_address or underlays.get(tunnel.key)
            uplink = tunnel.uplink or (owners.get(source, "") if source else "")
            yield from _outside(connection, tunnel, source, uplink)
            # Every network through the first tunnel, and every tunnel to the first network, are enough.
            networks = connection.remote_networks if index == 0 else connection.remote_networks[:1]
            for network in networks:
                yield from _inside(config, tunnel, network, lan)


def _lan(config: Config, seen: Observation) -> str:
    """Return the interface behind which the local networks are, as far as an address tells; else empty."""
    return next(
        (
            address.interface
            for network in config.gateway.local_networks
            for address in seen.addresses or ()
            if address.address.network.overlaps(network)
        ),
        "",
    )


def _outside(
    connection: Connection, tunnel: Tunnel, source: IPv4Address | None, uplink: str
) -> Iterator[Trial]:
    """IKE both ways, and ESP where it is not in UDP."""
    peer = tunnel.remote_address
    kinds: list[tuple[str, str, Severity, Fields]] = [
        (f"IKE (UDP {port})", "IkeDropped", Severity.CRITICAL, _udp(port)) for port in IKE_PORTS
    ]
    encapsulation = connection.udp_encapsulation
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


def _inside(config: Config, tunnel: Tunnel, network: IPv4Network, lan: str) -> Iterator[Trial]:
    """Answers to the gateway itself, and both ways between the local and the remote networks."""
    remote, local = _a_host(network), _a_host(config.gateway.local_networks[0])
    own = config.gateway.source_address or (tunnel.inside_address.ip if tunnel.inside_address else None)
    icmp: Fields = {"l4proto": PROTOCOLS["icmp"]}
    tcp: Fields = {"l4proto": PROTOCOLS["tcp"], "sport": 50000, "dport": 443}
    answer: Fields = {"l4proto": PROTOCOLS["tcp"], "sport": 443, "dport": 50000}
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
    breaks = f"the hosts of {config.gateway.local_networks[0]} do not reach {network}"
    yield Trial(
        f"traffic from {config.gateway.local_networks[0]} to {network} through {tunnel.interface}",
        Packet(FORWARD, outward | NEW),
        "ForwardDropped",
        Severity.CRITICAL,
        breaks,
        "TunnelMasqueraded",
    )
    yield Trial(
        f"an answer from {network} through {tunnel.interface} to {config.gateway.local_networks[0]}",
        Packet(FORWARD, inward | OLD, first=False),
        "ForwardDropped",
        Severity.CRITICAL,
        breaks,
    )


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
    fields: Fields = {"nfproto": IPV4, "mark": 0, "sport": -1, "dport": -1, **protocol}
    if source is not None:
        fields["saddr"] = int(source)
    if destination is not None:
        fields["daddr"] = int(destination)
    for name, interface in (("iifname", incoming), ("oifname", outgoing)):
        if interface:
            fields[name] = interface
    return fields
