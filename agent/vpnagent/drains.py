"""The drains, kept in the state directory so that they survive restart and reboot.

A file that cannot be read or written costs the memory of a drain, never a tunnel: it is told, and the
daemon goes on.
"""

import json
import logging
from collections.abc import Iterable
from pathlib import Path

from vpnagent.config.values import TunnelKey
from vpnagent.state_file import replace_file

log = logging.getLogger(__name__)

FILE = "drained.json"


def read(state_directory: str) -> frozenset[TunnelKey]:
    """Return the tunnels that were drained when the file was last written."""
    path = Path(state_directory) / FILE
    try:
        rows = json.loads(path.read_bytes())
        return frozenset(TunnelKey(str(connection), str(tunnel)) for connection, tunnel in rows)
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError, TypeError, RecursionError) as error:
        log.warning("drains-unreadable file=%s error=%r: nothing is drained", path, str(error))
        return frozenset()


def write(state_directory: str, drained: Iterable[TunnelKey]) -> str | None:
    """Replace the file as a whole; return what went wrong, in one line, or None."""
    path = Path(state_directory) / FILE
    try:
        replace_file(path, json.dumps(sorted(drained)).encode())
    except OSError as error:
        return f"{path}: {error.strerror or error}: the drain will not survive a restart"
    return None
