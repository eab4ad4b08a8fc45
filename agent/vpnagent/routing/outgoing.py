"""By which interface a peer is reached: its loss is then the tunnel's, before any probe is missed.

The kernel is asked as `ip route get` does (rtnetlink(7), RTM_GETROUTE): policy routing and the operator's
own routes count.
"""

from collections.abc import Iterable, Mapping

from vpnagent.errors import NetlinkError
from vpnagent.routing import dumps
from vpnagent.routing.message import AF_INET, NLM_F_ACK, attribute, attributes, message
from vpnagent.routing.netlink_socket import NetlinkSocket
from vpnagent.routing.objects import Peer

RTA_SRC, RTA_OIF = 2, 4


async def outgoing(route: NetlinkSocket, names: Mapping[int, str], peers: Iterable[Peer]) -> dict[Peer, str]:
    """Return the interface by which each peer is reached, without those of which it would prove nothing.

    Those are: no route, and an address of ours that is on another interface (a loopback address survives the
    loss of any). ``names`` are the interfaces by index. Raises NetlinkError when the kernel cannot be asked.
    """
    held = await route.dump(dumps.ADDRESSES, dumps.address_row)
    places = {(index, interface.ip) for index, interface in held}
    found: dict[Peer, str] = {}
    for peer in peers:
        try:
            [index] = await route.dump(_request(peer), _interface)
        except NetlinkError as error:
            if not error.errno:
                raise
            continue
        if index in names and (peer.local is None or (index, peer.local) in places):
            found[peer] = names[index]
    return found


def _request(peer: Peer) -> bytes:
    source = attribute(RTA_SRC, peer.local.packed) if peer.local else b""
    header = dumps.RTMSG.pack(AF_INET, 32, 32 if peer.local else 0, 0, 0, 0, 0, 0, 0)
    return message(
        dumps.RTM_GETROUTE, NLM_F_ACK, header + attribute(dumps.RTA_DST, peer.remote.packed) + source
    )


def _interface(body: bytes) -> int:
    return int.from_bytes(attributes(body, dumps.RTMSG.size).get(RTA_OIF, b""), "little")
