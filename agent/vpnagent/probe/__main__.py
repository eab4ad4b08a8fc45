"""The prober as a process: ``python -m vpnagent.probe --socket PATH [--realtime] [--replace]``.

SIGTERM ends it at once and needs no handler: there is nothing to tidy up, all is left in place.
"""

import ctypes
import gc
import os
import signal
import sys

from vpnagent.errors import AgentError
from vpnagent.probe import namespace_lock
from vpnagent.probe.namespace_lock import LockError, LockHeldError, LockRole
from vpnagent.probe.prober import Prober
from vpnagent.probe.server import GRACE, StateFile, acquire_lock, be_realtime, end_noted, line
from vpnagent.secret import close_memory

USAGE = "usage: python -m vpnagent.probe --socket PATH [--realtime] [--replace]"


def main(arguments: list[str]) -> int:
    """Run the prober; return its exit status."""
    flags = {"--realtime", "--replace"} & set(arguments)
    rest = [argument for argument in arguments if argument not in flags]
    if len(rest) != 2 or rest[0] != "--socket":  # noqa: PLR2004 - the option and its value
        line(USAGE, priority=3)
        return 2
    close_memory()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    path = rest[1]
    state = StateFile(path)
    # A prober that quits forgets what it was told to do; its successor must not.
    inherited = state.read() if "--replace" in flags else []
    try:
        lock = acquire_lock(path, replace="--replace" in flags)
        namespace = _lock_namespace(path, patient="--replace" in flags)
    except AgentError as error:
        line(str(error))
        return error.exit_status if type(error) is LockError else 0
    prober = Prober(path, state)
    if end_noted(lock):
        line(f"prober-ended pid={os.getpid()}: it was to end before it listened")
        state.remove()
        return 0
    prober.restore(state.read() or inherited)
    if "--realtime" in flags:
        try:
            be_realtime(0)
        except OSError as error:
            line(f"realtime-refused error={error.strerror!r}", priority=4)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what the imports left: half a MiB
    gc.freeze()
    line(f"prober-started pid={os.getpid()} socket={path}")
    prober.run()
    os.close(namespace)
    os.close(lock)
    return 0


def _lock_namespace(path: str, *, patient: bool) -> int:
    """Return what holds the namespace's lock. Raises LockError.

    Who is ``patient`` waits for a prober of another configuration to end: a service manager would start one
    that ends again and again.
    """
    try:
        return namespace_lock.acquire(LockRole.PROBER, socket=path, wait=GRACE)
    except LockHeldError as error:
        if not patient:
            raise
        line(f"prober-waits pid={os.getpid()}: {error}", priority=4)
    return namespace_lock.acquire(LockRole.PROBER, socket=path, wait=None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
