"""Read and write kernel settings below /proc/sys, of the network namespace that we are in."""

import os
from collections.abc import Iterable
from pathlib import Path

from vpnagent.errors import NetlinkError
from vpnagent.routing.objects import Sysctl
from vpnagent.routing.plan import RP_FILTER, STRICT

PROC_SYS = Path("/proc/sys")
IPV4_CONF = PROC_SYS / "net/ipv4/conf"


def read_sysctls(keys: Iterable[str]) -> dict[str, Sysctl]:
    """Return the settings that this kernel has."""
    found = {}
    for key in keys:
        value = strictest_rp_filter() if key == RP_FILTER else _read(PROC_SYS / key.replace(".", "/"))
        if value is not None:
            found[key] = Sysctl(key=key, value=value)
    return found


def write_sysctl(sysctl: Sysctl) -> None:
    """Change a setting. Raises NetlinkError."""
    try:
        (PROC_SYS / sysctl.key.replace(".", "/")).write_text(sysctl.value)
    except OSError as error:
        raise NetlinkError(f"sysctl -w {sysctl}", error.errno or 0, os.strerror(error.errno or 0)) from error


def strictest_rp_filter() -> str | None:
    """Return STRICT if any interface filters strictly, else the setting of all interfaces.

    The kernel takes the larger of conf.all and conf.<interface>; 2 (loose) beats 1 (strict).
    """
    general = _read(IPV4_CONF / "all/rp_filter")
    if general is None or general == STRICT:
        return general
    interfaces = (path.name for path in IPV4_CONF.iterdir() if path.name not in ("all", "default", "lo"))
    values = (_read(IPV4_CONF / name / "rp_filter") for name in interfaces)
    return STRICT if general == "0" and STRICT in values else general


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
