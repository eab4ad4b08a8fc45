"""What systemd asks of a service: sd_notify(3) and the watchdog, without a dependency.

Nothing here may block: a unix datagram queue holds few messages, and a service that waits for its
manager hangs with it.
"""

import os
import socket
from collections.abc import Mapping


def notify(*lines: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send the assignments to the service manager; return whether it took them."""
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.connect(address)
            sender.send("\n".join(lines).encode(), socket.MSG_DONTWAIT)
    except OSError:
        return False
    return True


def watchdog_interval(*, environ: Mapping[str, str] = os.environ, pid: int) -> float | None:
    """Return half of WatchdogSec in seconds, or None where no watchdog is asked of this process."""
    usec = environ.get("WATCHDOG_USEC", "")
    asked = environ.get("WATCHDOG_PID", str(pid))
    if not usec.isdecimal() or asked != str(pid) or int(usec) == 0:
        return None
    return int(usec) / 2e6
