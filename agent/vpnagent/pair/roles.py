"""Which tunnels are this gateway's now, and which the other one's of the pair. Pure.

A tunnel with a ``device`` is always that gateway's. Any other one belongs to whoever has its local address,
which is a fact of the kernel at every moment: no message that says who is master can be lost or come late.
A tunnel that is not ours is loaded into charon, so that it can be negotiated at once, and nothing else is
done with it: it is not negotiated, not probed, not judged, and never a failure.
"""

from collections.abc import Collection
from ipaddress import IPv4Address
from typing import Final

from vpnagent.config.values import Config, Tunnel, TunnelKey
from vpnagent.record import replace

REASON: Final = "the other gateway of the pair has it"


def standby(config: Config, owned: Collection[IPv4Address]) -> frozenset[TunnelKey]:
    """Return the tunnels of the other gateway; ``owned`` are the addresses that this machine has now."""
    return frozenset(tunnel.key for tunnel in config.tunnels() if not is_ours(config, tunnel, owned))


def is_ours(config: Config, tunnel: Tunnel, owned: Collection[IPv4Address]) -> bool:
    """Whether a tunnel is this gateway's; of one that is alone, all are."""
    pair = config.gateway.pair
    if pair is None:
        return True
    if tunnel.device is not None:
        return tunnel.device is pair.here
    return tunnel.local_address in owned


def given_away(config: Config, owned: Collection[IPv4Address]) -> dict[str, bool]:
    """Return the VICI names of the other gateway's tunnels, and whether their local address is here still."""
    away = standby(config, owned)
    return {
        tunnel.key.owner: tunnel.local_address is None or tunnel.local_address in owned
        for tunnel in config.tunnels()
        if tunnel.key in away
    }


def present(config: Config, owned: Collection[IPv4Address]) -> Config:
    """Return the configuration without the tunnels of the other gateway, and without what has no other."""
    if config.gateway.pair is None:
        return config
    left = (
        replace(connection, tunnels=tuple(t for t in connection.tunnels if is_ours(config, t, owned)))
        for connection in config.connections
    )
    return replace(config, connections=tuple(connection for connection in left if connection.tunnels))


def moves(tunnel: Tunnel, config: Config) -> bool:
    """Whether a tunnel goes from one gateway to the other with its local address."""
    return config.gateway.pair is not None and tunnel.device is None
