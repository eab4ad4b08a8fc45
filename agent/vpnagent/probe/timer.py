"""One timerfd: the only clock that wakes the prober.

epoll's own timeout is rounded up to a millisecond. Python has ``os.timerfd_create`` from 3.13 on only,
so libc is called through ctypes (0.6 us a call).
"""

import ctypes
import os

from vpnagent.errors import AgentError

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK_CLOEXEC = 0o4000 | 0o2000000
_TFD_TIMER_ABSTIME = 1
_NANOSECONDS = 1_000_000_000


class _Itimerspec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Timer:
    """Readable from the armed moment on, until it is armed anew (which discards the expiry, timerfd(2))."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        if self._fd < 0:
            raise AgentError(f"timerfd_create: {os.strerror(ctypes.get_errno())}")
        self._value = _Itimerspec()
        self._reference = ctypes.byref(self._value)
        self.due: float | None = None  #: monotonic seconds; None: not armed

    def fileno(self) -> int:
        """Return the file descriptor, for epoll."""
        return self._fd

    def arm(self, due: float) -> None:
        """Fire once at ``due`` (monotonic seconds; in the past: at once)."""
        if due == self.due:
            return
        self.due = due
        at = max(1, int(due * _NANOSECONDS))  # all zero would disarm: the past is the first nanosecond
        self._value.value_s, self._value.value_ns = divmod(at, _NANOSECONDS)
        self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, self._reference, None)

    def fired(self) -> None:
        """Note that it has fired: it must be armed anew before the next wait."""
        self.due = None

    def close(self) -> None:
        """Give the file descriptor back."""
        os.close(self._fd)
