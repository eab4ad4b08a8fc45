"""A Prometheus rule as a value, and the series of one gateway that its expression is about. Pure.

``plain()`` is a rule as Prometheus reads it (prometheus.io, "Recording rules", "Alerting rules").
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vpnagent.finding import Severity

AT_ONCE: Final = "0m"  #: for expressions that look back by themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose series the rules are about, and where their runbook is."""

    gateway: str
    job: str
    instance: str | None  #: None: every target of the job
    runbook_url: str  #: without the fragment, which is the alert's name

    def series(self, metric: str, *matchers: str) -> str:
        """Return the selector of a metric of this gateway: ``vpnagent_tunnel_up{job="vpnagent"}``."""
        own = [f"job={quoted(self.job)}"]
        if self.instance is not None:
            own.append(f"instance={quoted(self.instance)}")
        return f"{metric}{{{','.join((*own, *matchers))}}}"

    def recorded(self, record: str) -> str:
        """Return the selector of a series that these rules record."""
        return f"{record}{{gateway={quoted(self.gateway)}}}"


def quoted(text: str) -> str:
    """Return a text as a PromQL string, whose escapes are those of Go."""
    return json.dumps(text, ensure_ascii=False)


def of_connections(names: Iterable[str]) -> str:
    """Return the matcher of some connections; their names have no letter that means something in RE2."""
    return f"connection=~{quoted('|'.join(names))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A series that Prometheus keeps for the rules after it."""

    record: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def plain(self, scope: Scope) -> dict[str, Any]:
        """Return it as Prometheus reads it."""
        labels = {"gateway": scope.gateway, **self.labels}
        return {"record": self.record, "expr": self.expr, "labels": labels}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something to be told, as bad as ``severity`` says, once ``expr`` has held for ``hold``."""

    name: str
    severity: Severity
    expr: str
    hold: str  #: Prometheus's ``for``
    summary: str
    description: str

    def plain(self, scope: Scope) -> dict[str, Any]:
        """Return it as Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.hold,
            "labels": {"severity": self.severity.value, "gateway": scope.gateway},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{scope.runbook_url}#{self.name.lower()}",
            },
        }


AlertRule = Recording | Alert
