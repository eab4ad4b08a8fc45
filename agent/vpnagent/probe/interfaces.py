"""Which interfaces there are, and whether a packet can leave by them. Pure.

An outer interface counts as lost with its carrier and also with the address that the tunnel's ESP is sent
from, provided that the address was ever seen there: it may live on a loopback.
"""

from collections.abc import Iterable

from vpnagent.netlink.message import AF_UNSPEC, NetlinkMessage
from vpnagent.netlink.rtnetlink import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    LinkRow,
    address_row,
    link_row,
)


class Interfaces:
    """All interfaces of the host. Drive it with ``take()``."""

    def __init__(self, messages: Iterable[NetlinkMessage] = ()) -> None:
        self._links: dict[str, LinkRow] = {}
        self._names: dict[int, str] = {}
        self._addresses: dict[tuple[int, bytes], bool] = {}  # whether it is there now
        self.take(messages)

    def take(self, messages: Iterable[NetlinkMessage]) -> None:
        """Note what the kernel tells."""
        for message in messages:
            if message.type in (RTM_NEWLINK, RTM_DELLINK):
                self._take_link(link_row(message.body), gone=message.type == RTM_DELLINK)
            elif message.type in (RTM_NEWADDR, RTM_DELADDR) and (told := address_row(message.body)):
                index, address = told
                self._addresses[index, address.ip.packed] = message.type == RTM_NEWADDR

    def _take_link(self, link: LinkRow, *, gone: bool) -> None:
        if link.family != AF_UNSPEC:  # bridge and IPv6 views of the interface: they say nothing that we want
            return
        name = self._names.pop(link.index, link.name)  # renamed: the old name is gone
        self._links.pop(name, None)
        if gone:
            self._addresses = {key: there for key, there in self._addresses.items() if key[0] != link.index}
        else:
            self._links[link.name] = link
            self._names[link.index] = link.name

    @property
    def addresses(self) -> frozenset[tuple[int, bytes]]:
        """Index and address, of all that are there now."""
        return frozenset(key for key, there in self._addresses.items() if there)

    def index(self, name: str) -> int | None:
        """Return an interface's index; None when there is none of that name."""
        link = self._links.get(name)
        return link.index if link else None

    def usable(self, name: str, address: bytes | None = None) -> bool:
        """Whether packets can leave by the interface, and from the address where one is given."""
        link = self._links.get(name)
        if link is None or not (link.up and link.carrier):
            return False
        return address is None or self._addresses.get((link.index, address), True)
