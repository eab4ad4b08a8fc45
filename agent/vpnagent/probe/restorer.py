"""Puts back the routes that went with a nexthop group, when the group is made again.

The kernel deletes the routes of a group with it, and the control daemon, who has made them, may be stopped.
Only what the daemon told is put back, only after a group that was there had gone, and never over what others
have put in its place. A slice at a time: probing goes on meanwhile.
"""

from collections import deque

from vpnagent.probe import netlink_message as message
from vpnagent.probe.kernel import Kernel
from vpnagent.probe.protocol import GroupRoutes

SLICE = 256  #: routes in one wake-up: some two milliseconds


class Restorer:
    """Drive it with ``restore`` and, while there is more, ``advance``."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._routes: dict[int, GroupRoutes] = {}
        self._due: deque[tuple[int, list[str]]] = deque()  #: group and prefixes

    def use(self, routes: tuple[GroupRoutes, ...]) -> None:
        """Take what the daemon tells."""
        self._routes = {of_group.group: of_group for of_group in routes}

    @property
    def more(self) -> bool:
        """Whether there is something left to be done."""
        return bool(self._due)

    def restore(self, group: int) -> None:
        """The group was made again."""
        if group in self._routes:
            prefixes = self._routes[group].prefixes.split()
            self._due = deque(due for due in self._due if due[0] != group)
            self._due.extend((group, prefixes[at : at + SLICE]) for at in range(0, len(prefixes), SLICE))
            self.advance()

    def gone(self, group: int) -> None:
        """The group is gone, and with it the routes."""
        self._due = deque(due for due in self._due if due[0] != group)

    def advance(self) -> None:
        """Put the next slice back; without the source address where the kernel refuses that."""
        if not self._due:
            return
        group, prefixes = self._due.popleft()
        routes = self._routes.get(group)
        source = routes.source.packed if routes and routes.source else None
        metric = routes.metric if routes else 0
        if not self._kernel.add_routes(_requests(group, prefixes, source, metric)) and source:
            self._kernel.add_routes(_requests(group, prefixes, None, metric))


def _requests(group: int, prefixes: list[str], source: bytes | None, metric: int) -> list[bytearray]:
    found = []
    for prefix in prefixes:
        address, _, length = prefix.partition("/")
        octets = bytes(int(octet) for octet in address.split("."))
        found.append(message.route_add(octets, int(length), group, source, metric))
    return found
