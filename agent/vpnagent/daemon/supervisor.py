"""Keep a set of named tasks running, without knowing what they do.

One TaskGroup holds them all. A task that fails is logged and started again with backoff; one that
returns is done. ``asyncio.CancelledError`` ends everything. This is the only place that catches
``Exception``: nothing that happens in one task takes the others down.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping

from vpnagent.errors import AgentError

log = logging.getLogger(__name__)

BACKOFF = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  #: seconds before the n-th restart; the last one stays
STEADY = 60.0  #: seconds without failure after which the backoff starts anew

Task = Callable[[], Awaitable[None]]


async def supervise(tasks: Mapping[str, Task], stop: asyncio.Event) -> None:
    """Run the tasks until ``stop`` is set, then cancel them and wait for them."""
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(_keep(name, task), name=name) for name, task in tasks.items()]
        await stop.wait()
        for task in running:
            task.cancel()


async def _keep(name: str, task: Task) -> None:
    clock = asyncio.get_running_loop().time
    failures = 0
    while True:
        started = clock()
        try:
            await task()
        except AgentError as error:
            log.warning("task-failed task=%s error=%s", name, error)
        except Exception:
            log.exception("task-crashed task=%s", name)
        else:
            return
        failures = 0 if clock() - started > STEADY else failures
        await asyncio.sleep(BACKOFF[min(failures, len(BACKOFF) - 1)])
        failures += 1


# What systemd asks of a service: sd_notify(3) and the watchdog, without a dependency.
# Nothing here may block: a unix datagram queue holds few messages, and a service that waits for its
# manager hangs with it.


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
