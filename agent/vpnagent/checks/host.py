"""What the machine itself lacks or has wrong: kernel, modules, settings, clock, AES, files, ports. Pure."""

import stat
from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Final

from vpnagent.checks.observation import Listener, Observation
from vpnagent.config.values import Config
from vpnagent.config.wording import listed
from vpnagent.finding import Finding, Severity
from vpnagent.policy.desired import SYSCTLS
from vpnagent.routing.objects import Sysctl
from vpnagent.routing.plan import RP_FILTER, STRICT

OLDEST_KERNEL: Final = (5, 3)  #: nexthop objects; XFRM interfaces came with 4.19 (kernelnewbies.org)
CHARONS: Final = frozenset({"charon", "charon-systemd"})  #: names of the process in Debian and others
FAST: Final = 200e6  #: bits per second from which the cloud advises AES for speed
MODULES: Final[Mapping[str, str]] = {
    "xfrm_interface": "there are no XFRM interfaces, on which every tunnel rests",
    "xfrm_user": "charon cannot install SAs",
    "esp4": "there is no ESP",
    "nf_tables": "the MSS cannot be clamped, and large TCP segments may stall",
}  #: module -> what does not work without it

#: settings that every check looks at, beside those that the daemon manages
ECHO_IGNORED: Final = "net.ipv4.icmp_echo_ignore_all"
DISABLE_XFRM: Final = "net.ipv4.conf.{}.disable_xfrm"
DISABLE_POLICY: Final = "net.ipv4.conf.{}.disable_policy"


def host(config: Config, seen: Observation) -> Iterator[Finding]:
    """Yield what is wrong with the machine."""
    yield from _capabilities(seen)
    yield from _kernel(seen)
    yield from _settings(config, seen.sysctls or {})
    yield from _ports(seen)
    yield from _aes(config, seen)
    if seen.clock_synchronised is False:
        certificates = any(tunnel.certificates for tunnel in config.tunnels())
        yield Finding(
            code="ClockNotSynchronised",
            subject="",
            severity=Severity.WARNING if certificates else Severity.INFO,
            text="the kernel does not know its clock to be right: "
            + ("certificates may be refused as not yet or no longer valid, and " if certificates else "")
            + "times in logs cannot be compared with the cloud's",
            hint="run an NTP client: systemctl enable --now systemd-timesyncd, or chrony",
        )
    for file in seen.open_files or ():
        yield Finding(
            code="WritableByOthers",
            subject=file.path,
            severity=Severity.CRITICAL,
            text=f"{file.path} has mode {stat.S_IMODE(file.mode):04o}: "
            + (
                "any user may have charon run a program as root"
                if stat.S_ISSOCK(file.mode)
                else "any user may put another file in the place of a key or of the configuration"
            ),
            hint=f"chmod o-w {file.path}",
        )


def _capabilities(seen: Observation) -> Iterator[Finding]:
    for name in sorted(seen.lacking_capabilities or ()):
        yield Finding(
            code="CapabilityMissing",
            subject=name,
            severity=Severity.CRITICAL if seen.root else Severity.INFO,
            text=f"this process has no {name}: "
            + ("the daemon cannot work in this container" if seen.root else "the daemon needs it"),
            hint="give the container the capability; outside of one root and the service's unit have it",
        )


def _kernel(seen: Observation) -> Iterator[Finding]:
    if seen.release is not None and version(seen.release) < OLDEST_KERNEL:
        yield _lacking(
            "KernelTooOld",
            seen.release,
            f"Linux {seen.release} is older than 5.3: it has no nexthop objects, on which failover rests",
            "use a kernel of a supported distribution (Debian 12: 6.1)",
        )
    elif seen.nexthop_objects is False:
        yield _lacking(
            "NexthopObjectsMissing",
            "",
            "this kernel refuses nexthop objects, on which failover rests",
            "use a full kernel of Linux 5.3 or later; a container needs one of its host",
        )
    if seen.modules is None:
        return
    for module, breaks in MODULES.items():
        if module in seen.modules.lacking:
            yield _lacking(
                "ModuleMissing",
                module,
                f"the kernel module {module} is neither loaded nor installed: {breaks}",
                "install the distribution's full kernel (Debian: linux-image-amd64, not -cloud-)",
            )
        elif module in seen.modules.unloaded and seen.modules.loading_forbidden:
            yield _lacking(
                "ModuleForbidden",
                module,
                f"the kernel module {module} is not loaded, and kernel.modules_disabled is 1: {breaks}",
                f"load it at boot before that is set: echo {module} > /etc/modules-load.d/vpnagent.conf",
            )


def _lacking(code: str, subject: str, text: str, hint: str) -> Finding:
    return Finding(code=code, subject=subject, severity=Severity.CRITICAL, text=text, hint=hint)


def version(text: str) -> tuple[int, ...]:
    """Return the numbers at the start of a version: (6, 1) of ``6.1.0-56-amd64``, (5, 9, 8) of ``U5.9.8``."""
    numbers = []
    for part in text.lstrip("U").split("-")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)


def sysctl_differs(sysctl: Sysctl) -> Finding:
    """Return the finding that a setting is not as it must be, and not ours to change."""
    return Finding(
        code="SysctlDiffers",
        subject=sysctl.key,
        severity=Severity.WARNING,
        text=f"{sysctl.key} is not {sysctl.value} and manage_sysctls is false",
        hint=f"sysctl -w {sysctl}",
    )


def source_missing(config: Config, here: Collection[IPv4Address] | None) -> Iterator[Finding]:
    """Yield that the source address of the routes is not on this machine, as a VIP that has moved."""
    sources = {
        config.source_of(c): "connections[].source_address" if c.source_address else "gateway.source_address"
        for c in config.connections
    }
    for source, key in sources.items():
        if source is None or here is None or source in here:
            continue
        yield Finding(
            code="SourceAddressMissing",
            subject=str(source),
            severity=Severity.WARNING,
            text=f"{key} {source} is on no interface of this machine that is up: the routes "
            "stand without it, and this machine's own packets into the tunnels have another source",
            hint=f"put the address back (it is taken up again at once), or set {key} to one that "
            "stays; probes of shared targets need it",
        )


def _settings(config: Config, sysctls: Mapping[str, str]) -> Iterator[Finding]:
    if not config.agent.manage_sysctls:
        for wanted in SYSCTLS:
            value = sysctls.get(wanted.key, wanted.value)
            if value != wanted.value and (wanted.key != RP_FILTER or value == STRICT):
                yield sysctl_differs(wanted)
    if sysctls.get(ECHO_IGNORED) == "1":
        yield _setting(ECHO_IGNORED, "the cloud's health checks get no answer, and it resets the tunnel", "0")
    for name in ["all", *(tunnel.interface for tunnel in config.tunnels())]:
        for pattern, breaks in (
            (DISABLE_XFRM, "packets leave without ESP, in clear text"),
            (DISABLE_POLICY, "packets that come without ESP are taken for the cloud's"),
        ):
            if sysctls.get(pattern.format(name)) == "1":
                yield _setting(pattern.format(name), breaks, "0", Severity.CRITICAL)


def _setting(key: str, breaks: str, value: str, severity: Severity = Severity.WARNING) -> Finding:
    return Finding(
        code="SysctlHarmful",
        subject=key,
        severity=severity,
        text=f"{key} is set: {breaks}",
        hint=f"sysctl -w {key}={value}",
    )


def _ports(seen: Observation) -> Iterator[Finding]:
    for port in (500, 4500):
        here = [listener for listener in seen.listeners or () if listener.port == port]
        strangers = [one for one in here if one.process and one.process not in CHARONS]
        for stranger in strangers[:1]:
            yield _taken(stranger)
        if seen.listeners is not None and seen.charon is not None and not here:
            yield Finding(
                code="IkePortClosed",
                subject=str(port),
                severity=Severity.WARNING,
                text=f"charon runs and nobody listens on UDP {port}: the cloud cannot begin or answer there",
                hint="port and port_nat_t of strongswan.conf; charon in another network namespace",
            )


def _taken(listener: Listener) -> Finding:
    return Finding(
        code="IkePortTaken",
        subject=f"{listener.port} {listener.process}",
        severity=Severity.CRITICAL,
        text=f"{listener.process} listens on UDP {listener.port} ({listener.address}): "
        "charon cannot, or both answer the cloud",
        hint="run one IKE daemon: stop the other, and disable it",
    )


def _aes(config: Config, seen: Observation) -> Iterator[Finding]:
    if seen.hardware_aes is not False:
        return
    for connection in config.connections:
        ciphers = {connection.esp_of(tunnel).encryption for tunnel in connection.tunnels}
        aes = sorted(cipher for cipher in ciphers if cipher.startswith("aes"))
        if connection.bandwidth < FAST or not aes:
            continue
        yield Finding(
            code="NoHardwareAes",
            subject=connection.name,
            severity=Severity.INFO,
            text=f"this processor has no instructions for AES: {listed(aes, 'and')} may not "
            f"keep up with {connection.bandwidth / 1e6:g} Mbps",
            hint="in a virtual machine pass the host's processor model through; else measure it first",
        )
