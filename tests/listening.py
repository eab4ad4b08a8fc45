"""A control socket that answers, served from a thread: what the command line meets."""

import asyncio
import pathlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from vpnagent.control import server

LISTENING = "00010000"  # __SO_ACCEPTCON, in the flags of /proc/net/unix


@contextmanager
def listening(path: pathlib.Path, answer: server.Responder) -> Iterator[None]:
    """Serve on ``path`` for the body; no task and no socket is left behind."""
    loops: list[asyncio.AbstractEventLoop] = []
    stop = asyncio.Event()

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        task = loops[0].create_task(server.serve(str(path), answer))
        await stop.wait()
        task.cancel()
        await asyncio.wait([task])

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    pause = threading.Event()
    for _ in range(500):
        if listens(path):
            break
        pause.wait(0.01)
    try:
        yield
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(5)


def listens(path: pathlib.Path) -> bool:
    """Whether a socket is listened on: bound is not yet that. A connection would be one more to end."""
    sockets = [line.split() for line in pathlib.Path("/proc/net/unix").read_text().splitlines()]
    return any(row[-1] == str(path) and row[3] == LISTENING for row in sockets)
