"""Which interfaces there are, and whether a packet can leave by them. Pure.

An outer interface counts as lost with its carrier and also with the address that the tunnel's ESP is sent
from, provided that the address was ever seen there: it may live on a loopback.
"""

from collections.abc import Iterable

from vpnagent.probe.netlink_message import Address, Link, Message


class Interfaces:
    """All interfaces of the host. Drive it with ``take()``."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self._links: dict[str, Link] = {}
        self._names: dict[int, str] = {}
        self._addresses: dict[tuple[int, bytes], bool] = {}  # whether it is there now
        self.take(messages)

    def take(self, messages: Iterable[Message]) -> None:
        """Note what the kernel tells."""
        for message in messages:
            if isinstance(message, Link):
                self._take_link(message)
            elif isinstance(message, Address):
                self._addresses[message.ifindex, message.address] = not message.gone

    def _take_link(self, link: Link) -> None:
        name = self._names.pop(link.ifindex, link.name)  # renamed: the old name is gone
        self._links.pop(name, None)
        if link.gone:
            self._addresses = {key: there for key, there in self._addresses.items() if key[0] != link.ifindex}
        else:
            self._links[link.name] = link
            self._names[link.ifindex] = link.name

    @property
    def addresses(self) -> frozenset[tuple[int, bytes]]:
        """Index and address, of all that are there now."""
        return frozenset(key for key, there in self._addresses.items() if there)

    def index(self, name: str) -> int | None:
        """Return an interface's index; None when there is none of that name."""
        link = self._links.get(name)
        return link.ifindex if link else None

    def usable(self, name: str, address: bytes | None = None) -> bool:
        """Whether packets can leave by the interface, and from the address where one is given."""
        link = self._links.get(name)
        if link is None or not link.up:
            return False
        return address is None or self._addresses.get((link.ifindex, address), True)
