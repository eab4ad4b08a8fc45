"""The drains, kept in the state directory so that they survive restart and reboot.

A file that cannot be read or written costs the memory of a drain, never a tunnel: it is told, and the
daemon goes on.
"""

import json
import logging
from collections.abc import Iterable
from pathlib import Path

from vpnagent import own_files
from vpnagent.config.values import TunnelKey
from vpnagent.own_files import replace_file

log = logging.getLogger(__name__)

FILE = "drained.json"
LONGEST_NAME = 32  #: characters, as in the configuration


def read(state_directory: str) -> frozenset[TunnelKey]:
    """Return the tunnels that were drained when the file was last written."""
    path = Path(state_directory) / FILE
    try:
        return _keys(json.loads(own_files.read(path)))
    except FileNotFoundError:
        return frozenset()
    except (own_files.DamagedError, ValueError, TypeError, RecursionError) as error:
        reason = f"{error}: {own_files.set_aside(path)}"
    except OSError as error:
        reason = error.strerror or "cannot be read"
    log.warning("drains-unreadable file=%s error=%r: nothing is drained", path, reason)
    return frozenset()


def _keys(rows: Iterable[tuple[object, object]]) -> frozenset[TunnelKey]:
    keys = [TunnelKey(str(connection), str(tunnel)) for connection, tunnel in rows]
    if any(len(name) > LONGEST_NAME for key in keys for name in key):
        raise ValueError("it names what can be no tunnel")
    return frozenset(keys)


def write(state_directory: str, drained: Iterable[TunnelKey]) -> str | None:
    """Replace the file as a whole; return what went wrong, in one line, or None."""
    path = Path(state_directory) / FILE
    try:
        replace_file(path, json.dumps(sorted(drained)).encode())
    except OSError as error:
        return f"{path}: {error.strerror or error}: the drain will not survive a restart"
    return None
