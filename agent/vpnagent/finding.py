"""Findings, which status calls warnings, as data: a code, a severity, what is wrong, what to do.

The same findings stand in ``status``, in the log when they begin and end, and later in alerts and the
runbook. A finding lasts as long as its cause; ``since`` survives as long as code and subject stay.
"""

import enum
from collections.abc import Iterable

from vpnagent.record import dataclass, replace


class Severity(enum.Enum):
    """How bad it is, in the words of the cloud's own alert levels."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    def reaches(self, least: "Severity") -> bool:
        """Whether it is this bad, or worse."""
        order = list(Severity)
        return order.index(self) >= order.index(least)


@dataclass(frozen=True, slots=True, kw_only=True)
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
        """Take in all warnings found at wall time ``at``; return which began and which ended."""
        old = self._current
        self._current = {}
        for warning in found:
            known = old.get((warning.code, warning.subject))
            self._current[warning.code, warning.subject] = replace(
                warning, since=known.since if known else at
            )
        began = [w for key, w in self._current.items() if key not in old]
        ended = [w for key, w in old.items() if key not in self._current]
        return began, ended


def _urgency(finding: Finding) -> tuple[int, float, str, str]:
    return (-list(Severity).index(finding.severity), finding.since, finding.code, finding.subject)
