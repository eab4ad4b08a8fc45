"""Whether a tunnel swallows large packets without a word: an MTU black hole (RFC 2923 §2.1). Pure.

Probes are small, and so is all that opens a TCP connection: both pass, and the first full segment hangs. Loss
is no black hole: it takes a large packet here and a small one there, whereas a hop that lets nothing larger
pass draws a line, on one side of which all is answered and on the other nothing.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final

from vpnagent.checks.observation import LargePackets, Observation, Underlay
from vpnagent.checks.underlay import full_size
from vpnagent.config.values import Config, Connection, Tunnel
from vpnagent.finding import Finding, Severity

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
