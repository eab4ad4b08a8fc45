"""Opens a tap when it is wanted, and closes it a while after it was wanted last.

To close a packet socket takes the kernel some milliseconds (it waits until nobody uses it), in which nothing
is probed: so not at once, and rarely.
"""

from math import inf
from typing import Final

from vpnagent.probe.inbox import Allowance
from vpnagent.probe.poller import Poller
from vpnagent.probe.sockets import EchoSocket, ProbeSocket
from vpnagent.probe.tap import Tap, TappedReply

LINGER: Final = 10.0  #: seconds that it stays open
REFUSED: Final = 60.0  #: seconds after which one that could not be opened is tried again


class Taps:
    """At most one tap."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._tap: Tap | None = None
        self._wanted_at = -inf
        self._refused_until = -inf

    def want(self, sock: ProbeSocket | None, *, wanted: bool, now: float) -> None:
        """Open a tap on what answers the socket, keep it, or close it."""
        if wanted:
            self._wanted_at = now
            if self._tap is None and now >= self._refused_until and isinstance(sock, EchoSocket):
                self._open(sock, now)
        elif self._tap is not None and now >= self._wanted_at + LINGER:
            self._poller.forget(self._tap.fileno())
            self._tap.close()
            self._tap = None

    def _open(self, sock: EchoSocket, now: float) -> None:
        try:
            self._tap = sock.tap()
        except OSError:  # a sandbox without AF_PACKET: then a local filter is taken for what it looks like
            self._refused_until = now + REFUSED
        else:
            self._poller.watch(self._tap.fileno(), lambda: None)  # drained at every wake-up

    @property
    def open(self) -> bool:
        """Whether there is one."""
        return self._tap is not None

    @property
    def due(self) -> float:
        """When to drain at the latest."""
        return self._tap.due if self._tap is not None else inf

    def expect(self, program: bytes) -> None:
        """Take what another filter passes from now on."""
        if self._tap is not None:
            self._tap.expect(program)

    def drain(self, monotonic: int, wall: int, allowance: Allowance) -> list[TappedReply]:
        """Return what was seen, as ``Tap`` says."""
        return self._tap.drain(monotonic, wall, allowance) if self._tap is not None else []

    def forget(self) -> None:
        """Drop what was seen."""
        if self._tap is not None:
            self._tap.forget()
