"""What can be told: findings, which status calls warnings, and the kinds of events. Values only.

A finding has a code, a severity, what is wrong, and what to do.

The same findings stand in ``status``, in the log when they begin and end, and later in alerts and the
runbook. A finding lasts as long as its cause; ``since`` survives as long as code and subject stay.
"""

import enum
from collections.abc import Iterable
from typing import Final, Self

from vpnagent.record import record, replace


class Severity(enum.Enum):
    """How bad it is, in the words of the cloud's own alert levels."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    def reaches(self, least: "Severity") -> bool:
        """Whether it is this bad, or worse."""
        order = list(Severity)
        return order.index(self) >= order.index(least)


@record(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something an operator should know now."""

    code: str
    subject: str  #: what it is about: ``hangzhou/primary``, a prefix, or empty for the gateway
    severity: Severity
    text: str
    hint: str
    since: float = 0.0  #: wall clock, seconds

    def plain(self) -> dict[str, str]:
        """Return it as JSON has it everywhere; ``since`` is only status's to tell."""
        return {
            "code": self.code,
            "subject": self.subject,
            "severity": self.severity.value,
            "text": self.text,
            "hint": self.hint,
        }


class Findings:
    """The findings in force. Drive it with ``update()``."""

    def __init__(self) -> None:
        self._current: dict[tuple[str, str], Finding] = {}

    @property
    def current(self) -> tuple[Finding, ...]:
        """Worst first, then oldest first."""
        return tuple(sorted(self._current.values(), key=_urgency))

    def update(self, found: Iterable[Finding], at: float) -> tuple[list[Finding], list[Finding]]:
        """Take in all warnings found at wall time ``at``; return which began and which ended.

        Who knows since when something is wrong says so; else it is since it was first found.
        """
        old = self._current
        self._current = {}
        for warning in found:
            known = old.get((warning.code, warning.subject))
            self._current[warning.code, warning.subject] = replace(
                warning, since=min(filter(None, (warning.since, known.since if known else 0.0)), default=at)
            )
        began = [w for key, w in self._current.items() if key not in old]
        ended = [w for key, w in old.items() if key not in self._current]
        return began, ended


def _urgency(finding: Finding) -> tuple[int, float, str, str]:
    return (-list(Severity).index(finding.severity), finding.since, finding.code, finding.subject)


# The types of events: what can happen, in words that stay the same. Pure.
# The first five are the cloud's own system events, under the names that its console shows ("title"). A
# type's identifier is its name in ``vpnagent events``, in ``vpnagent_events_total{type}``, in hooks and
# in the journal; its MESSAGE_ID (journalctl(1), sd_journal_print(3)) never changes and is never used
# again.


class EventType(enum.Enum):
    """What happened: identifier (``value``), title, what it is about, MESSAGE_ID.

    Types about the same thing supersede each other when events are damped: of a tunnel that went up and
    down a hundred times, the last word counts.
    """

    CERTIFICATE_EXPIRY = (
        "CertificateExpiry",
        "Certificate Expiry",
        "certificate",
        "1110129e701544c998a4a4ad15b6e982",
    )
    ALL_TUNNELS_FAILED_TO_NEGOTIATE = (
        "AllIpsecTunnelsFailedToNegotiate",
        "All IPsec Tunnels Failed to Negotiate",
        "negotiations",
        "53631003e2d545ef96c2a943fd1dcbd3",
    )
    TUNNEL_NEGOTIATION_FAILED = (
        "IpsecTunnelNegotiationFailed",
        "IPsec Tunnel Negotiation Failed",
        "negotiation",
        "2d2c321af59b43b9b407579f02ce36b0",
    )
    HEALTH_CHECK_FAILED = (
        "HealthCheckFailed",
        "Health Check Failed",
        "health",
        "67583a5b6d714518908e88c8896b0f78",
    )
    CONNECTION_HEALTH_CHECK_FAILED = (
        "VpnConnectionHealthCheckFailed",
        "VPN Connection Health Check Failed",
        "connection-health",
        "433aa4469abf4b0fb2031eb7fca82c3a",
    )
    FAILOVER = ("Failover", "Failover", "traffic", "716294336e7e4ad1a1275350d5d1d01a")
    FAIL_BACK = ("FailBack", "Fail-Back", "traffic", "78097f6db3ab461b9a010f8651b940a8")
    TUNNEL_UP = ("TunnelUp", "Tunnel Up", "tunnel", "b3254d60636647a98878a8fdc87ee16e")
    TUNNEL_DEGRADED = ("TunnelDegraded", "Tunnel Degraded", "tunnel", "419838528dcd46bd85414228ea8a88ff")
    TUNNEL_DOWN = ("TunnelDown", "Tunnel Down", "tunnel", "8f40f56cede64e67a9fda57c9247c25f")
    TUNNEL_DRAINED = ("TunnelDrained", "Tunnel Drained", "drain", "74d4d621854846cabafb9c7703ae91dd")
    TUNNEL_UNDRAINED = ("TunnelUndrained", "Tunnel Undrained", "drain", "eb5602c59fbe4be0a82645207cb5d717")
    DRIFT_REPAIRED = ("DriftRepaired", "Drift Repaired", "drift", "5beee113478543519c0aeccf9c16bca9")
    CONFIGURATION_CHANGED = (
        "ConfigurationChanged",
        "Configuration Changed",
        "configuration",
        "3a9d4b1a40c241b3810290b43182d676",
    )
    CONFIGURATION_REFUSED = (
        "ConfigurationRefused",
        "Configuration Refused",
        "configuration-file",
        "8c263c4397e7485886ae7ed304a4d9f3",
    )
    CONFIGURATION_TAKEN_BACK = (
        "ConfigurationTakenBack",
        "Configuration Taken Back",
        "configuration",
        "cee0f7f02e834c69a7660c47a72fea48",
    )
    CHARON_GONE = ("CharonGone", "Charon Gone", "charon", "90e217e6d4ca4833a5daec5c5bd76632")
    CHARON_BACK = ("CharonBack", "Charon Back", "charon", "b3e53c62b5414213ba19b3c265816b33")
    PROBER_RESTARTED = ("ProberRestarted", "Prober Restarted", "prober", "fc71af93167f4fc3a9920d46d2d25c56")
    DAEMON_STARTED = ("DaemonStarted", "Daemon Started", "daemon", "9f8c4f8ca111472895f88fea187663ed")
    DAEMON_STOPPED = ("DaemonStopped", "Daemon Stopped", "daemon", "f1cf5c334ef04b63abb0cef1d358971d")
    WARNING_BEGAN = ("WarningBegan", "Warning Began", "warning", "bac0d6370f2e49b0a8d685e83471738a")
    WARNING_ENDED = ("WarningEnded", "Warning Ended", "warning", "96df78f591bd49bdbd4d4dadb8d12686")
    EVENTS_SUPPRESSED = (
        "EventsSuppressed",
        "Events Suppressed",
        "suppression",
        "dded6e142ca044f6a02b1c66af0902fa",
    )

    HOOK_TEST = ("HookTest", "Hook Test", "hook", "aadcec998c1c428cbc396d13667f28dc")

    title: str
    topic: str
    message_id: str

    def __new__(cls, identifier: str, title: str, topic: str, message_id: str) -> Self:
        """The identifier alone is the value."""
        kind = object.__new__(cls)
        kind._value_ = identifier
        kind.title, kind.topic, kind.message_id = title, topic, message_id
        return kind


BY_NAME: Final = {kind.value: kind for kind in EventType}

#: What ``--type`` and a hook's ``events`` take: a type, or a severity, which means that and worse.
WORDS: Final = (*BY_NAME, *(severity.value for severity in Severity))
