"""Whether this gateway can do its work, as keepalived reads it from a file (``track_file``). Pure.

One fault counts: charon does not answer. Without it the kernel takes no ESP in UDP (its socket is charon's),
so what returns is lost while what leaves looks well. Only keepalived can end that, by moving the addresses.
Dead paths do not count: the other gateway would find the same cloud behind them, and two gateways that both
give up leave the hosts without any. A restart of charon takes less than ``PATIENCE`` and moves nothing.
While the daemon is stopped or dead the file stays as it is: then nothing moves, as nothing else does.
"""

import os.path
from typing import Final

PATIENCE: Final = 1.0  #: seconds for which charon may be away
HEALTHY: Final = 0
FAULT: Final = -254  #: the instance is in fault state, whatever its priority (keepalived.conf(5), track_file)


def health(gone_for: float | None) -> int:
    """Return the content of the file; ``gone_for`` seconds charon has not answered, None: it does."""
    return FAULT if gone_for is not None and gone_for >= PATIENCE else HEALTHY


def health_file(control_socket: str) -> str:
    """Return the file's path: beside the control socket, as another configuration has another one."""
    return os.path.join(os.path.dirname(os.path.abspath(control_socket)), "pair.health")
