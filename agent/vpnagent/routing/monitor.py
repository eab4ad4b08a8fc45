"""Hear of changes in the kernel: links, addresses, default routes, our routes, nexthops and nftables table.

An event says only that something changed; what there is, the next observation reads. So events are looked
at in the header alone, and a lost one (ENOBUFS) is a change like any other. The kernel is silent where it
removes nexthops, groups and routes with their link: the link's own event tells, and the periodic comparison.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network

from vpnagent.errors import NetlinkError
from vpnagent.netlink.message import Message, messages
from vpnagent.netlink.nft import NFNL_SUBSYS_NFTABLES, TABLE
from vpnagent.netlink.socket import NETLINK_NETFILTER, NETLINK_ROUTE, RECEIVE_SIZE, open_socket
from vpnagent.routing.lane_message import RTM_DELRULE, RTM_NEWRULE, rule_row
from vpnagent.routing.objects import PROTOCOL
from vpnagent.routing.ways import Number, number, way_row

RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_NEXTHOP = 1, 5, 7, 8, 32
NFNLGRP_NFTABLES = 7
GROUPS = (
    (
        NETLINK_ROUTE,
        (RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_NEXTHOP),
    ),
    (NETLINK_NETFILTER, (NFNLGRP_NFTABLES,)),
)

RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR = 16, 17, 20, 21
RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWNEXTHOP, RTM_DELNEXTHOP = 24, 25, 104, 105
PROTOCOL_OFFSETS = {RTM_NEWROUTE: 5, RTM_DELROUTE: 5, RTM_NEWNEXTHOP: 2, RTM_DELNEXTHOP: 2}
PREFIX_LENGTH_OFFSET = 1  #: rtm_dst_len

BUFFER_SIZE = 8 << 20  #: bytes; 4 MiB overflowed at 10,000 route events
DATAGRAMS_AT_ONCE = 256  #: then others get their turn on the loop


async def monitor(
    on_change: Callable[[], None], networks: Callable[[], Sequence[IPv4Network]] = tuple
) -> None:
    """Call ``on_change`` after every change that may concern us, until cancelled. Raises NetlinkError.

    Routes of others to ``networks``, whatever they are at that moment, concern us too.
    """
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    with contextlib.ExitStack() as stack:
        try:
            for protocol, groups in GROUPS:
                listener = _Listener(protocol, groups, on_change, failed, networks)
                stack.callback(listener.close)
            await failed
        except OSError as error:
            raise NetlinkError("monitor", error.errno or 0, error.strerror or str(error)) from error


class _Listener:
    """One socket that hears some groups of one netlink protocol."""

    def __init__(
        self,
        protocol: int,
        groups: Sequence[int],
        on_change: Callable[[], None],
        failed: asyncio.Future[None],
        networks: Callable[[], Sequence[IPv4Network]],
    ) -> None:
        self._protocol = protocol
        self._groups = groups
        self._on_change = on_change
        self._failed = failed
        self._networks = networks
        self._socket = self._open()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _open(self) -> socket.socket:
        sock = open_socket(self._protocol, groups=self._groups, buffer_size=BUFFER_SIZE)
        asyncio.get_running_loop().add_reader(sock, self._read)
        return sock

    def _read(self) -> None:
        """Read what has arrived and tell of it, once."""
        try:
            if self._has_changed():
                self._on_change()
        except OSError as error:
            if not self._failed.done():
                self._failed.set_exception(error)

    def _has_changed(self) -> bool:
        changed = False
        numbers = [number(network) for network in self._networks()]
        for _ in range(DATAGRAMS_AT_ONCE):
            try:
                datagram = self._socket.recv(RECEIVE_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._begin_anew()
                return True
            changed = changed or any(concerns_us(event, numbers) for event in messages(datagram))
        return changed

    def _begin_anew(self) -> None:
        """Drop what is in the buffer: until it is empty, the kernel loses further events without a word."""
        overrun = self._socket
        asyncio.get_running_loop().remove_reader(overrun)
        self._socket = self._open()
        overrun.close()


def concerns_us(event: Message, networks: Sequence[Number] = ()) -> bool:
    """Whether an event may be about something of ours, in our way, or a way to one of these networks."""
    if event.type >> 8 == NFNL_SUBSYS_NFTABLES:
        return f"{TABLE}\0".encode() in event.body
    if event.type in PROTOCOL_OFFSETS:
        # A default route, whosever it is, may be an uplink's.
        if event.body[PROTOCOL_OFFSETS[event.type]] == PROTOCOL:
            return True
        if event.type not in (RTM_NEWROUTE, RTM_DELROUTE):
            return False
        return not event.body[PREFIX_LENGTH_OFFSET] or way_row(event.body, networks) is not None
    if event.type in (RTM_NEWRULE, RTM_DELRULE):
        return rule_row(event.body) is not None
    return event.type in (RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR)
