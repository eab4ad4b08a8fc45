"""Whether each tunnel's own packets find their way, and fit on it. Pure."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from typing import Final

from vpnagent.checks.observation import LargePackets, Observation, Underlay
from vpnagent.config.values import Config, Connection, Esp, Tunnel, UdpEncapsulation
from vpnagent.finding import Finding, Severity
from vpnagent.policy.desired import pins_of
from vpnagent.routing.objects import Peer
from vpnagent.routing.uplinks import Pin, Steering

IPV4_HEADER: Final = 20  #: bytes
UDP_HEADER: Final = 8
ESP_HEADER: Final = 8  #: SPI and sequence number (RFC 4303 §2)
ESP_TRAILER: Final = 2  #: pad length and next header, within the padding's alignment
SMALLEST: Final = 576  #: bytes that every host takes (RFC 791)

#: length of the initialisation vector, and what the text is padded to (RFC 3602, 2451, 2405, 4106)
CIPHERS: Final = {
    "aes128": (16, 16),
    "aes192": (16, 16),
    "aes256": (16, 16),
    "sm4": (16, 16),
    "3des": (8, 8),
    "des": (8, 8),
    "aes128gcm16": (8, 4),
    "aes256gcm16": (8, 4),
}
#: length of the integrity check value (RFC 2403, 2404, 4868); AES-GCM has its own of 16
CHECKS: Final = {"md5": 12, "sha1": 12, "sm3": 12, "sha256": 16, "sha384": 24, "sha512": 32}
GCM_CHECK: Final = 16


def packet_size(inner: int, esp: Esp, *, udp: bool) -> int:
    """Return the bytes on the wire of an inner packet of ``inner`` bytes, in ESP tunnel mode."""
    vector, block = CIPHERS[esp.encryption]
    check = GCM_CHECK if "gcm" in esp.encryption else CHECKS[esp.integrity]
    text = inner + ESP_TRAILER
    padded = text + -text % block
    return IPV4_HEADER + (UDP_HEADER if udp else 0) + ESP_HEADER + vector + padded + check


def largest_inner(outer: int, esp: Esp, *, udp: bool) -> int:
    """Return the largest inner packet, in bytes, that fits in one of ``outer`` bytes; at least 0."""
    return next((size for size in range(outer, 0, -1) if packet_size(size, esp, udp=udp) <= outer), 0)


def in_udp(connection: Connection, tunnel: Tunnel) -> bool:
    """Return whether the tunnel's ESP travels in UDP, or may."""
    return connection.udp_encapsulation_of(tunnel) is not UdpEncapsulation.NEVER


def full_size(connection: Connection, tunnel: Tunnel) -> int:
    """Return the bytes on the wire of a packet of the connection's ``mtu`` in one of its tunnels."""
    return packet_size(connection.mtu, connection.esp_of(tunnel), udp=in_udp(connection, tunnel))


def underlay(config: Config, seen: Observation) -> Iterator[Finding]:
    """Yield tunnels whose packets do not leave, leave through a tunnel, or do not fit."""
    ours = {tunnel.interface for tunnel in config.tunnels()}
    owners = {address.address.ip: address.interface for address in seen.addresses or ()}
    found = {way.tunnel: way for way in seen.underlays or ()}
    astray = list(no_gateway(config, seen.steering or {}))
    yield from astray
    told = {finding.subject for finding in astray}
    for connection in config.connections:
        for tunnel in connection.tunnels:
            way = found.get(tunnel.key)
            if way is None or str(tunnel.key) in told:
                continue
            if way.error:
                yield _no_way(tunnel, way)
            elif way.source is not None and owners.get(way.source) in ours:
                yield _through_a_tunnel(tunnel, owners[way.source])
            else:
                yield from _too_small(connection, tunnel, way)


def no_gateway(config: Config, steering: Mapping[Pin, Steering]) -> Iterator[Finding]:
    """Yield tunnels of which it is not known how their uplink leads to their peer."""
    pinned = pins_of(config)
    for tunnel in config.tunnels():
        pin = pinned.get(tunnel.key)
        if not (pin and pin in steering and (problem := steering[pin].problem)):
            continue
        lost = steering[pin].route is None
        yield Finding(
            code="UplinkWithoutGateway",
            subject=str(tunnel.key),
            severity=Severity.CRITICAL if lost else Severity.WARNING,
            text=problem + (f": {tunnel.key} stays down, as it takes no other way" if lost else ""),
            hint=f"{tunnel.uplink} must be up and have a default route, of any metric or table, or "
            f"uplink_gateway be set: ip link show {tunnel.uplink}; "
            f"ip route show table all dev {tunnel.uplink}",
        )


def not_taken(config: Config, outgoing: Mapping[Peer, str]) -> Iterator[Finding]:
    """Yield tunnels whose packets leave by another interface than their uplink, in spite of our route."""
    for tunnel in config.tunnels():
        taken = outgoing.get(Peer(tunnel.remote_address, tunnel.local_address), tunnel.uplink)
        if tunnel.uplink and taken != tunnel.uplink:
            yield Finding(
                code="UplinkNotTaken",
                subject=str(tunnel.key),
                severity=Severity.CRITICAL,
                text=f"the packets of {tunnel.key} to {tunnel.remote_address} leave by {taken}, not by "
                f"{tunnel.uplink}",
                hint="a rule or a route of others comes before ours: ip rule; ip route get "
                f"{tunnel.remote_address}"
                + (f" from {tunnel.local_address}" if tunnel.local_address else ""),
            )


def _no_way(tunnel: Tunnel, way: Underlay) -> Finding:
    return Finding(
        code="NoWayToPeer",
        subject=str(tunnel.key),
        severity=Severity.CRITICAL,
        text=f"no packet can be sent to {tunnel.remote_address} ({way.error}): {tunnel.key} stays down",
        hint=f"give this machine a route: ip route get {tunnel.remote_address}; "
        "local_address and uplink must be of an interface that is up",
    )


def _through_a_tunnel(tunnel: Tunnel, interface: str) -> Finding:
    return Finding(
        code="PeerThroughTunnel",
        subject=str(tunnel.key),
        severity=Severity.CRITICAL,
        text=f"the way to {tunnel.remote_address} goes through our own {interface}: "
        f"the packets of tunnel {tunnel.key} would be wrapped without end",
        hint=f"a host route past it: ip route add {tunnel.remote_address} via <the provider's gateway>",
    )


def _too_small(connection: Connection, tunnel: Tunnel, way: Underlay) -> Iterator[Finding]:
    size = full_size(connection, tunnel)
    if size > way.mtu:
        fitting = largest_inner(way.mtu, connection.esp_of(tunnel), udp=in_udp(connection, tunnel))
        advice = f"set its mtu: {fitting}" if fitting >= SMALLEST else "use another uplink"
        yield Finding(
            code="PathMtuTooSmall",
            subject=str(tunnel.key),
            severity=Severity.WARNING,
            text=f"packets of {connection.mtu} bytes become {size} in ESP, and {way.mtu} fit on the way to "
            f"{tunnel.remote_address}: they are fragmented or lost, and large transfers stall",
            hint=f"connection {connection.name}: {advice}",
        )


# Whether a tunnel swallows large packets without a word: an MTU black hole (RFC 2923 §2.1). Pure.
# Probes are small, and so is all that opens a TCP connection: both pass, and the first full segment
# hangs. Loss is no black hole: it takes a large packet here and a small one there, whereas a hop that
# lets nothing larger pass draws a line, on one side of which all is answered and on the other nothing.

SMALL: Final = 576  #: bytes of IP packet that every host takes (RFC 791), and the least ``mtu``
USABLE: Final = 1200  #: bytes below which much does not work at all: what QUIC needs (RFC 9000 §14)
ETHERNET: Final = 1500  #: bytes
MOST_TARGETS: Final = 8  #: of a tunnel; one alone may be a host that ignores large echo requests
STEP: Final = 20  #: bytes: ESP pads to 16, so a finer line could not be drawn


def sizes(mtu: int) -> frozenset[int]:
    """Return the sizes by which the line is found, once a packet of ``mtu`` bytes was lost; bytes."""
    # Beyond 1500 there are jumbo frames all the way, or none.
    return frozenset({SMALL, *range(USABLE, min(mtu, ETHERNET) + 1, STEP), mtu})


def targets(connection: Connection, tunnel: Tunnel) -> list[IPv4Address]:
    """Return whom to send large packets through a tunnel."""
    return [*dict.fromkeys((*tunnel.probe.targets, *connection.shared_targets))]


def black_hole(config: Config, seen: Observation) -> Iterator[Finding]:
    """Yield tunnels in which small packets are answered and large ones are not."""
    ways = {way.tunnel: way for way in seen.underlays or ()}
    for connection in config.connections:
        for tunnel in connection.tunnels:
            if known_to_be_small(connection, tunnel, ways.get(tunnel.key)):
                continue  # PathMtuTooSmall tells it
            if seen.large_packets is not None and len(targets(connection, tunnel)) > MOST_TARGETS:
                yield _not_all(tunnel, targets(connection, tunnel))
            looked = [one for one in seen.large_packets or () if one.tunnel == tunnel.key]
            answering = [one for one in looked if SMALL in one.answered]
            if answering and all(map(swallowed, answering)):
                # The target that answers the most knows the way best.
                yield _finding(connection, tunnel, max(answering, key=lambda one: max(one.answered)))


def known_to_be_small(connection: Connection, tunnel: Tunnel, way: Underlay | None) -> bool:
    """Return whether the kernel knows that full packets do not fit on the way to the peer."""
    return way is not None and not way.error and full_size(connection, tunnel) > way.mtu


def swallowed(looked: LargePackets) -> bool:
    """Return whether there is a line: up to it all is answered, beyond it nothing, and nobody said why."""
    return (
        looked.mtu in looked.lost
        and SMALL in looked.answered
        and max(looked.answered) < min(looked.lost)
        and not looked.refused
    )


def _not_all(tunnel: Tunnel, asked: list[IPv4Address]) -> Finding:
    return Finding(
        code="NotLookedAt",
        subject=f"{tunnel.key} targets",
        severity=Severity.INFO,
        text=f"large packets: {MOST_TARGETS} of {len(asked)} targets of {tunnel.key} were asked",
        hint="of the others it is not known whether large packets get there",
    )


def _finding(connection: Connection, tunnel: Tunnel, looked: LargePackets) -> Finding:
    passed = max(looked.answered)
    return Finding(
        code="MtuBlackHole",
        subject=str(tunnel.key),
        severity=Severity.WARNING if passed >= USABLE else Severity.CRITICAL,
        text=f"{tunnel.key} swallows large packets: {looked.target} answers echo requests of up to {passed} "
        f"bytes and none of {min(looked.lost)} to {looked.mtu}, and no router says why: TCP hangs while "
        "probes are answered",
        hint=f"connection {connection.name}: set its mtu: {passed} (the MSS clamp follows it), or find the "
        f"hop that drops packets and ICMP; if {looked.target} ignores large echo requests, probe another "
        "target",
    )
