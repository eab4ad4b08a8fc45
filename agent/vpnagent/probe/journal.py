"""The prober's few log lines: one event a line, never waiting.

stdlib logging costs 2.4 MiB and writes to whatever reads standard error, however slowly. While a control
daemon is connected it logs the events; these lines are for the times when there is none.
"""

import contextlib
import os
import select
import time

from vpnagent.probe.actions import FirstReply, PathChanged
from vpnagent.probe.protocol import FailedOver

_STDERR = 2
_LONGEST = 1024  #: octets, below PIPE_BUF: a line is written whole or not at all


def say(event: PathChanged | FailedOver | FirstReply) -> None:
    """Log an event of the core."""
    match event:
        case PathChanged():
            line(
                f"path-changed tunnel={event.tunnel} old={event.old.value} new={event.new.value} "
                f"cause={event.cause.value} reason={event.reason!r} loss={event.loss_ratio:.3f}"
            )
        case FailedOver():
            line(
                f"failed-over connection={event.connection} old={','.join(event.old)} "
                f"new={','.join(event.new)} cause={event.cause.value} reason={event.reason!r} "
                f"{_timeline(event)}"
            )
        case FirstReply():
            line(f"first-reply connection={event.connection} tunnel={event.tunnel} at={_epoch(event.at)}")


def _timeline(event: FailedOver) -> str:
    """Return when the verdict fell, in seconds since the epoch, and the rest in seconds before and after."""
    moments = {
        "last_heard": event.last_heard,
        "netlink_sent": event.netlink_sent,
        "netlink_acknowledged": event.netlink_acknowledged,
    }
    told = [f"{name}={at - event.decided:+.6f}" for name, at in moments.items() if at is not None]
    return " ".join([f"verdict={_epoch(event.decided)}", *told])


def _epoch(monotonic: float) -> str:
    return f"{monotonic - time.monotonic() + time.time():.6f}"


def line(text: str, *, priority: int = 6) -> None:
    """Write one line to standard error if it takes it at once (sd-daemon(3) for the priority)."""
    prefix = f"<{priority}>" if "JOURNAL_STREAM" in os.environ else "vpnagent-prober: "
    poll = select.poll()
    poll.register(_STDERR, select.POLLOUT)
    with contextlib.suppress(OSError):
        if poll.poll(0):
            os.write(_STDERR, (prefix + text.replace("\n", " ")).encode()[: _LONGEST - 1] + b"\n")
