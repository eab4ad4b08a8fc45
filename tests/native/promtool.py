"""``promtool test rules``: what fires at a moment, for series that are told by their courses."""

import json
import pathlib
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vpnagent.alerts.rule import Scope
from vpnagent.alerts.rules import rule_file
from vpnagent.config.values import Config

SCRAPE: Final = 15  #: seconds between two samples, as in docs/alerts.md
EVALUATION: Final = 30  #: seconds between two evaluations of the rules

Alerting = tuple[str, ...]


def gauge(*stretches: tuple[float | None, float]) -> str:
    """Return the course of a series: values, each for so many minutes; None where it is not there."""
    return " ".join(
        f"_x{_samples(minutes)}" if value is None else f"{value:.6f}x{_samples(minutes) - 1}"
        for value, minutes in stretches
    )


def counter(*stretches: tuple[float, float]) -> str:
    """Return the course of a counter: growths a second, each for so many minutes."""
    total, course = 0.0, []
    for per_second, minutes in stretches:
        step = per_second * SCRAPE
        course.append(f"{total:.6f}+{step:.6f}x{_samples(minutes) - 1}")
        total += step * _samples(minutes)
    return " ".join(course)


def _samples(minutes: float) -> int:
    return int(minutes * 60 / SCRAPE)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What fires then, and nothing else: names of alerts with their severity and what they are about."""

    minutes: float
    firing: tuple[Alerting, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Told:
    """What an alert says at a moment: its own labels, summary and description."""

    minutes: float
    alert: str
    labels: Mapping[str, str] = field(default_factory=dict)
    summary: str
    description: str


def run(
    directory: pathlib.Path,
    config: Config,
    scope: Scope,
    courses: Mapping[str, str],
    expected: Iterable[Moment | Told],
) -> subprocess.CompletedProcess[str]:
    """Have promtool evaluate the configuration's rules; its exit status is 0 when all is as expected."""
    (directory / "rules.yaml").write_text(rule_file(config, scope))
    expected = tuple(expected)
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": f"{EVALUATION}s",
        "tests": [
            {
                "interval": f"{SCRAPE}s",
                "input_series": [{"series": name, "values": course} for name, course in courses.items()],
                "promql_expr_test": [_moment(one) for one in expected if isinstance(one, Moment)],
                "alert_rule_test": [_told(one, scope) for one in expected if isinstance(one, Told)],
            }
        ],
    }
    (directory / "test.yaml").write_text(json.dumps(test))
    return promtool("test", "rules", "test.yaml", cwd=directory)


def promtool(*arguments: str, cwd: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Run promtool, of Debian's package prometheus."""
    return subprocess.run(
        ["promtool", *arguments], cwd=cwd, check=False, capture_output=True, text=True, timeout=300
    )


ABOUT: Final = ("vpn_gateway", "connection", "tunnel", "direction", "reason")


def alert(name: str, severity: str, **about: str) -> Alerting:
    """Return one alert that fires, as ``Moment`` has it."""
    return (name, severity, *(f"{label}={about[label]}" for label in ABOUT if label in about))


def _moment(moment: Moment) -> dict[str, Any]:
    by = ", ".join(("alertname", "severity", *ABOUT))
    return {
        "expr": f'count by ({by}) (ALERTS{{alertstate="firing",gateway="idc-hz-1"}})',
        "eval_time": f"{moment.minutes * 60:g}s",
        "exp_samples": [{"labels": _labels(one), "value": 1} for one in moment.firing],
    }


def _labels(one: Alerting) -> str:
    name, severity, *about = one
    pairs = [("alertname", name), ("severity", severity), *(each.split("=", 1) for each in about)]
    return "{" + ",".join(f'{label}="{value}"' for label, value in pairs) + "}"


def _told(told: Told, scope: Scope) -> dict[str, Any]:
    annotations = {
        "summary": told.summary,
        "description": told.description,
        "runbook_url": f"{scope.runbook_url}#{told.alert.lower()}",
    }
    return {
        "alertname": told.alert,
        "eval_time": f"{told.minutes * 60:g}s",
        "exp_alerts": [{"exp_labels": dict(told.labels), "exp_annotations": annotations}],
    }
