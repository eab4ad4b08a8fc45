"""Keep a set of named tasks running, without knowing what they do.

One TaskGroup holds them all. A task that fails is logged and started again with backoff; one that
returns is done. ``asyncio.CancelledError`` ends everything. This is the only place that catches
``Exception``: nothing that happens in one task takes the others down.
"""

import asyncio
import logging
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
