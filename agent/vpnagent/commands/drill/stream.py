"""The drill's own stream: ICMP echo at a steady rate, routed as other traffic is, sent from a thread.

It is bound to no interface, so that it follows the nexthop group; its answers come back with the kernel's
receive times and their arrival interface. The daemon and its prober have no part in it.
"""

import contextlib
import os
import select
import socket
import threading
import time
from ipaddress import IPv4Address
from types import TracebackType
from typing import Final

from vpnagent.commands.drill.ledger import Ledger
from vpnagent.probe.inbox import Allowance
from vpnagent.probe.slots import Expected, Slot, egress
from vpnagent.probe.sockets import EchoSocket

BURST: Final = 256  #: packets that are taken at once, and as many in ``LATE``
LATE: Final = 0.02  #: seconds; what was to be sent earlier than this is left out


class EchoStream:
    """Sends while it is entered; ``ledger`` has what came of it."""

    def __init__(self, source: IPv4Address | None, target: IPv4Address, interval: float) -> None:
        self.ledger = Ledger()
        self.mark = int.from_bytes(os.urandom(4))  #: in every packet of this stream, for a capture
        self._interval = interval
        self._socket = EchoSocket()
        control = egress(0, source.packed if source else None)
        self._slot = Slot(
            self.mark, (str(target), 0), control, control, source=source.packed if source else None
        )
        self._socket.expect(Expected((self._slot,)))
        self._allowance = Allowance(BURST, BURST / LATE)
        self._sending = True
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "EchoStream":
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def finish(self, grace: float) -> None:
        """Send no more, and wait so many seconds for what is on its way."""
        self._sending = False
        time.sleep(grace)

    def _run(self) -> None:
        readable = select.poll()
        readable.register(self._socket.fileno(), select.POLLIN)
        due = time.monotonic()
        while not self._ended.is_set():
            now = time.monotonic()
            if now >= due:
                if self._sending:
                    self._send(now)
                due = max(due + self._interval, now - LATE)
            readable.poll(max(0.0, (due - time.monotonic()) * 1000))
            self._drain()

    def _send(self, now: float) -> None:
        number = self.ledger.next
        self.ledger.sent(now)
        with contextlib.suppress(OSError):  # unreachable: as lost as any other
            self._socket.send(self._slot, number)

    def _drain(self) -> None:
        monotonic = time.monotonic_ns()
        self._allowance.renew(monotonic / 1e9)
        for _, number, interface, at in self._socket.drain(monotonic, time.time_ns(), self._allowance):
            self.ledger.answered(number, at, interface)


def interface_names() -> dict[int, str]:
    """Return the interfaces of this network namespace by index."""
    return dict(socket.if_nameindex())
