"""What is known to go wrong with the running kernel, as far as tunnels and failover are concerned. Pure.

Versions are those of the kernel's own CVE records (git.kernel.org, security/vulns), each of which names the
commits. A distribution may have mended a fault without changing the number, and some number their kernels
otherwise: so these are for information, and where upstream's version is not told, nothing is.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from vpnagent.checks.host import version
from vpnagent.checks.observation import Observation
from vpnagent.config.values import Config
from vpnagent.finding import Finding, Severity

Version = tuple[int, ...]
DEBIAN: Final = re.compile(r"\bDebian (\d+\.\d+\.\d+)")  #: in the build's name, as uname -v has it


class Trap(NamedTuple):
    """A fault, and the versions that have it: each range from its first version to before its second."""

    name: str
    faulty: tuple[tuple[Version, Version], ...]
    text: str


TRAPS: Final = (
    Trap(
        "nexthop-removed",
        (((6, 9), (6, 12, 78)), ((6, 13), (6, 18, 19)), ((6, 19), (6, 19, 9))),
        "may use memory after it was freed when a nexthop is removed from a group that carries traffic, "
        "as it is with a tunnel's interface (CVE-2026-43374)",
    ),
    Trap(
        "esp-page",
        (
            ((5, 10, 113), (5, 10, 259)),
            ((5, 15, 36), (5, 15, 210)),
            ((5, 18), (6, 1, 176)),
            ((6, 2), (6, 6, 143)),
            ((6, 7), (6, 12, 93)),
            ((6, 13), (6, 18, 35)),
            ((6, 19), (7, 0, 12)),
        ),
        "may write beyond a page when it encrypts a packet that fills one together with ESP's trailer "
        "(CVE-2026-63912)",
    ),
    Trap(
        "esp-in-place",
        (
            ((4, 11), (5, 10, 255)),
            ((5, 11), (5, 15, 205)),
            ((5, 16), (6, 1, 171)),
            ((6, 2), (6, 6, 138)),
            ((6, 7), (6, 12, 87)),
            ((6, 13), (6, 18, 28)),
            ((6, 19), (7, 0, 5)),
        ),
        "may decrypt ESP in memory that is not the packet's own, which local users can bring about "
        "(CVE-2026-43284)",
    ),
)


def kernel_traps(_config: Config, seen: Observation) -> Iterator[Finding]:
    """Yield the faults of the running kernel."""
    running = upstream(seen.release or "", seen.build or "")
    for trap in TRAPS:
        if any(first <= running < mended for first, mended in trap.faulty):
            number = ".".join(map(str, running))
            yield Finding(
                code="KernelTrap",
                subject=trap.name,
                severity=Severity.INFO,
                text=f"Linux {number} {trap.text}",
                hint="upgrade the kernel when you can; a distribution may have mended it: see its changelog",
            )


def upstream(release: str, build: str) -> Version:
    """Return which of upstream's versions a kernel is; empty where that is not told.

    ``release`` and ``build`` are uname's -r and -v. Debian 11 and 12 have upstream's version in the build
    only; their release ends in 0, as Ubuntu's does, which does not tell it.
    """
    if told := DEBIAN.search(build):
        return version(told[1])
    numbers = version(release)
    return numbers if numbers[2:] > (0,) else ()
