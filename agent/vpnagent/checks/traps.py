"""What is known to go wrong with the running charon and the running kernel, by their versions. Pure.

Versions are upstream's, from strongSwan's NEWS and issues. A distribution may have mended a fault without
changing the number: so most of these are for information.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from vpnagent.checks.host import version
from vpnagent.checks.observation import Observation, ObservedCharon
from vpnagent.config.rules import IKEV1
from vpnagent.config.values import Config, TrafficSelectors
from vpnagent.finding import Finding, Severity
from vpnagent.ipsec.algorithms import GUOMI, missing_algorithms
from vpnagent.policy.desired import ipsec_connections

OLDEST: Final = (5, 8, 0)  #: XFRM interfaces (NEWS of 5.8.0)


class CharonTrap(NamedTuple):
    """A fault of the versions from ``since`` to before ``until``."""

    name: str
    since: tuple[int, ...]
    until: tuple[int, ...]
    text: str
    certificates: bool = False  #: only where certificates are used, and then a warning


CHARON_TRAPS: Final = (
    CharonTrap(
        "vici-deadlock",
        (0,),
        (5, 9, 11),
        "before 5.9.11 charon's VICI may lock up when many connections are negotiated at once: "
        "tunnels stay, and nothing can be changed or seen until it is restarted",
    ),
    CharonTrap(
        "rekey-collision",
        (0,),
        (6, 0, 0),
        "before 6.0.0 a CHILD_SA that both ends rekey at once may lose its outbound SA until the next time: "
        "the probes notice, and the tunnel is negotiated anew",
    ),
    CharonTrap(
        "link-bounce",
        (6, 0, 4),
        (6, 0, 5),
        "6.0.4 may delete the new IKE_SA when a link goes down and up while it is rekeyed "
        "(strongswan/strongswan#3042): the tunnel is negotiated anew",
    ),
    CharonTrap(
        "name-constraints",
        (0,),
        (6, 0, 6),
        "before 6.0.6 certificates that violate their CA's name constraints are accepted (CVE-2026-35331)",
        certificates=True,
    ),
)

KERNEL_LIBIPSEC: Final = "kernel-libipsec"
_NO_GUOMI: Final = (
    "no strongSwan release has Guomi (SM4, SM3): use a VPN gateway of the ordinary type with aes and sha "
    "on both ends, or a charon that registers them"
)
PLUGINS: Final = {
    KERNEL_LIBIPSEC: (
        Severity.CRITICAL,
        "does ESP in user space and knows no XFRM interfaces: SAs come up, and no packet passes a tunnel",
    ),
    "bypass-lan": (
        Severity.WARNING,
        "keeps what is in a subnet of this machine out of IPsec, with routes before the main table: "
        "a subnet that meets a remote network wins over the tunnel",
    ),
    "farp": (
        Severity.INFO,
        "answers ARP for the traffic selectors' remote addresses: "
        "it claims the remote networks on the LAN where traffic_selectors is networks",
    ),
    "dhcp": (
        Severity.INFO,
        "holds the DHCP client's port to get addresses for road warriors, which the cloud is not: "
        "a DHCP client or relay on this machine may not get its answers",
    ),
}  #: plugin -> severity, what it breaks


def charon_traps(config: Config, seen: Observation) -> Iterator[Finding]:
    """Yield what is wrong with the running charon."""
    if seen.charon is None:
        return
    yield from _version(config, seen.charon)
    for plugin, (severity, breaks) in PLUGINS.items():
        if plugin in seen.charon.plugins:
            yield Finding(
                code="PluginConflict",
                subject=plugin,
                severity=_worse(config, plugin, severity),
                text=f"charon has loaded the plugin {plugin}, which {breaks}",
                hint=f"load = no in strongswan.d/charon/{plugin}.conf, unless another connection needs it",
            )
    if seen.ikev1 is False:
        yield from _without_ikev1(config, seen.charon)
    for name, connection in ipsec_connections(config).items():
        if lacking := missing_algorithms(connection, seen.charon.algorithms):
            yield algorithm_missing(name, lacking)


def _without_ikev1(config: Config, charon: ObservedCharon) -> Iterator[Finding]:
    for connection in config.connections:
        if connection.ike.version == IKEV1:
            yield Finding(
                code="Ikev1Missing",
                subject=connection.name,
                severity=Severity.CRITICAL,
                text=f"strongSwan {charon.version} was built without IKE version 1, which {connection.name} "
                "uses: its tunnels cannot be negotiated",
                hint="set IKE version 2 at both ends, or install a strongSwan that has version 1",
            )


def algorithm_missing(name: str, lacking: tuple[str, ...]) -> Finding:
    """Return the finding that charon lacks algorithms of a connection."""
    return Finding(
        code="AlgorithmMissing",
        subject=name,
        severity=Severity.CRITICAL,
        text=f"{name}: this charon does not register {', '.join(lacking)}; the connection is not loaded",
        hint=_NO_GUOMI
        if any(f": {word} (" in what for word in GUOMI for what in lacking)
        else "load the strongSwan plugin that has it, or choose another proposal on both ends",
    )


def _worse(config: Config, plugin: str, severity: Severity) -> Severity:
    narrow = any(c.traffic_selectors is TrafficSelectors.NETWORKS for c in config.connections)
    return Severity.WARNING if plugin == "farp" and narrow else severity


def _version(config: Config, charon: ObservedCharon) -> Iterator[Finding]:
    running = version(charon.version)
    if not running:
        return
    if running < OLDEST:
        yield Finding(
            code="CharonTooOld",
            subject=charon.version,
            severity=Severity.CRITICAL,
            text=f"strongSwan {charon.version} is older than 5.8.0 and knows no XFRM interfaces",
            hint="install strongSwan 5.9.8 or later (Debian 12 has it)",
        )
    certificates = any(tunnel.certificates for tunnel in config.tunnels())
    for trap in CHARON_TRAPS:
        if trap.since <= running < trap.until and (certificates or not trap.certificates):
            yield Finding(
                code="CharonTrap",
                subject=trap.name,
                severity=Severity.WARNING if trap.certificates else Severity.INFO,
                text=f"strongSwan {charon.version}: {trap.text}",
                hint="upgrade strongSwan when you can; a distribution may have mended it: see its changelog",
            )


# What is known to go wrong with the running kernel, as far as tunnels and failover are concerned. Pure.
# Versions are those of the kernel's own CVE records (git.kernel.org, security/vulns), each of which names
# the commits. A distribution may have mended a fault without changing the number, and some number their
# kernels otherwise: so these are for information, and where upstream's version is not told, nothing is.

Version = tuple[int, ...]
DEBIAN: Final = re.compile(r"\bDebian (\d+\.\d+\.\d+)")  #: in the build's name, as uname -v has it


class KernelTrap(NamedTuple):
    """A fault, and the versions that have it: each range from its first version to before its second."""

    name: str
    faulty: tuple[tuple[Version, Version], ...]
    text: str


KERNEL_TRAPS: Final = (
    KernelTrap(
        "nexthop-removed",
        (((6, 9), (6, 12, 78)), ((6, 13), (6, 18, 19)), ((6, 19), (6, 19, 9))),
        "may use memory after it was freed when a nexthop is removed from a group that carries traffic, "
        "as it is with a tunnel's interface (CVE-2026-43374)",
    ),
    KernelTrap(
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
    KernelTrap(
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
    for trap in KERNEL_TRAPS:
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
