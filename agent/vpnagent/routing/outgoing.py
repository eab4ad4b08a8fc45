"""By which interface a peer is reached: its loss is then the tunnel's, before any probe is missed.

The kernel is asked for the way: policy routing and the operator's own routes count.
"""

from collections.abc import Iterable, Mapping, Set
from ipaddress import IPv4Address

from vpnagent.errors import NetlinkError
from vpnagent.routing.netlink_socket import NetlinkSocket
from vpnagent.routing.objects import Peer
from vpnagent.routing.route_lookup import request, way

Place = tuple[int, IPv4Address]  #: an interface's index and one of its addresses


async def outgoing(
    route: NetlinkSocket, names: Mapping[int, str], places: Set[Place], peers: Iterable[Peer]
) -> dict[Peer, str]:
    """Return the interface by which each peer is reached, without those of which it would prove nothing.

    Those are: no route, and an address of ours that is on another interface (a loopback address survives the
    loss of any). ``names`` are the interfaces by index. Raises NetlinkError when the kernel cannot be asked.
    """
    found: dict[Peer, str] = {}
    for peer in peers:
        try:
            [taken] = await route.dump(request(peer.remote, source=peer.local), way)
        except NetlinkError as error:
            if not error.errno:
                raise
            continue
        index = taken.interface_index
        if index in names and (peer.local is None or (index, peer.local) in places):
            found[peer] = names[index]
    return found
