"""One timerfd: the only clock that wakes the prober.

epoll's own timeout is rounded up to a millisecond. Python has ``os.timerfd_create`` from 3.13 on only,
so libc is called through ctypes (0.6 us a call).
"""

import contextlib
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
    """Readable from the armed moment on, until ``fired()``."""

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

    def arm(self, due: float | None) -> None:
        """Fire once at ``due`` (monotonic seconds; in the past: at once), or never with None."""
        if due == self.due:
            return
        self.due = due
        # All zero would disarm: the past is the first nanosecond.
        at = 0 if due is None else max(1, int(due * _NANOSECONDS))
        self._value.value_s, self._value.value_ns = divmod(at, _NANOSECONDS)
        self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, self._reference, None)

    def fired(self) -> None:
        """Take the expiry away, or the timer would stay readable."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)
        self.due = None

    def close(self) -> None:
        """Give the file descriptor back."""
        os.close(self._fd)
