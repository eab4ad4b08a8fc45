"""Follows the interfaces, and tells a core when one that matters to it changed."""

from vpnagent.errors import NetlinkError
from vpnagent.probe.core import Core
from vpnagent.probe.inbox import Poller
from vpnagent.probe.intent import Intent, outer_name
from vpnagent.probe.interfaces import Interfaces
from vpnagent.probe.kernel import KernelEvents, KernelRequests
from vpnagent.probe.netlink_message import NexthopGone, NexthopObject


class Links:
    """The interfaces as of the last event."""

    def __init__(self, kernel: KernelRequests, poller: Poller) -> None:
        self._kernel = kernel
        self._events = KernelEvents()
        self.interfaces = Interfaces(kernel.interfaces())
        self.changed = False  #: reset by who acts on it
        self.nexthops_changed = False
        self._told: dict[str, bool] = {}
        poller.watch(self._events.fileno(), self._drain)

    def _drain(self) -> None:
        try:
            for message in self._events.drain():
                if isinstance(message, NexthopObject | NexthopGone):
                    self.nexthops_changed = True
                else:
                    self.changed = True
                    self.interfaces.take((message,))
        except NetlinkError:  # events were lost: look at all anew
            self.changed = self.nexthops_changed = True
            self.interfaces = Interfaces(self._kernel.interfaces())

    def tell(self, core: Core, intent: Intent, now: float) -> None:
        """Tell the core what changed since it was last told; a new core takes all to be usable."""
        usable: dict[str, bool] = {}
        for tunnel in intent.tunnels():
            usable[tunnel.interface] = self.interfaces.usable(tunnel.interface)
            if tunnel.outer_interface:
                local = tunnel.local_address.packed if tunnel.local_address else None
                usable[outer_name(tunnel)] = self.interfaces.usable(tunnel.outer_interface, local)
        for name, now_usable in usable.items():
            if self._told.get(name, True) != now_usable:
                core.link_changed(name, usable=now_usable, at=now)
        self._told = usable
