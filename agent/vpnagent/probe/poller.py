"""epoll with a callback for each file descriptor, and a time to wake up at: all there is of an event loop.

epoll's own timeout is rounded up to a millisecond, and a timerfd costs two system calls and two visits of the
scheduler's timers. So the wait is a select(2), in microseconds, for the epoll instance itself.
"""

import contextlib
import select
import time
from collections.abc import Callable

Callback = Callable[[], None]

_READ = select.EPOLLIN
_WRITE = select.EPOLLIN | select.EPOLLOUT


class Poller:
    """File descriptors and what to do when one is ready."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}
        self._writers: set[int] = set()

    def watch(self, fd: int, callback: Callback) -> None:
        """Call back when the file descriptor is readable, closed or broken."""
        self._callbacks[fd] = callback
        self._epoll.register(fd, _READ)

    def want_to_write(self, fd: int, *, wanted: bool) -> None:
        """Call back when it is writable too, or no longer."""
        if wanted != (fd in self._writers):
            self._epoll.modify(fd, _WRITE if wanted else _READ)
            (self._writers.add if wanted else self._writers.discard)(fd)

    def forget(self, fd: int) -> None:
        """Call back no more."""
        self._writers.discard(fd)
        if self._callbacks.pop(fd, None):
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)

    def wait(self, due: float) -> list[int]:
        """Return the file descriptors for which something waits; none at ``due``, on the monotonic clock."""
        seconds = due - time.monotonic()
        if seconds > 0 and not select.select((self._epoll,), (), (), seconds)[0]:
            return []
        return [fd for fd, _ in self._epoll.poll(0)]

    def call(self, fd: int) -> None:
        """Run the callback; one that an earlier callback has taken back is not run."""
        callback = self._callbacks.get(fd)
        if callback:
            callback()
