"""Read and write kernel settings below /proc/sys, of the network namespace that we are in."""

import os
from collections.abc import Iterable
from pathlib import Path

from vpnagent.errors import NetlinkError
from vpnagent.routing.objects import Sysctl
from vpnagent.routing.plan import RP_FILTER, STRICT

PROC_SYS = Path("/proc/sys")
OFF = "0"
SWAPPED = str.maketrans("./", "/.")  #: sysctl(8): a slash stands for a dot within a name


def read_sysctls(keys: Iterable[str], *, proc_sys: Path = PROC_SYS) -> dict[str, Sysctl]:
    """Return the settings that this kernel has."""
    found = {}
    for key in keys:
        value = rp_filter(proc_sys) if key == RP_FILTER else _read(_path(key, proc_sys))
        if value is not None:
            found[key] = Sysctl(key=key, value=value)
    return found


def write_sysctl(sysctl: Sysctl, *, proc_sys: Path = PROC_SYS) -> None:
    """Change a setting. Raises NetlinkError."""
    try:
        _path(sysctl.key, proc_sys).write_text(sysctl.value)
    except OSError as error:
        raise NetlinkError(f"sysctl -w {sysctl}", error.errno or 0, os.strerror(error.errno or 0)) from error


def rp_filter(proc_sys: Path) -> str | None:
    """Return strict if any interface filters strictly, else what is set for all.

    The kernel takes the larger of conf.all and conf.<interface>: loose, 2, for all beats strict, 1, for one.
    """
    conf = proc_sys / "net/ipv4/conf"
    general = _read(conf / "all/rp_filter")
    if general != OFF:
        return general
    names = [path.name for path in conf.iterdir() if path.name not in ("all", "default", "lo")]
    return STRICT if STRICT in (_read(conf / name / "rp_filter") for name in names) else general


def _path(key: str, proc_sys: Path) -> Path:
    return proc_sys / key.translate(SWAPPED)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
