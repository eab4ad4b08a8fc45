"""Debian's Prometheus: one on loopback that scrapes and answers queries, and ``promtool test rules``."""

import json
import pathlib
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import yaml
from lab.deadline import PATIENCE, eventually

from vpnagent.commands.alerts import rule_file
from vpnagent.commands.alerts.rule import Scope
from vpnagent.config.values import Config

PLAIN: Mapping[str, Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs."""

    url: str

    def ready(self) -> bool:
        """Whether it takes queries yet."""
        try:
            return bool(self._get("/-/ready"))
        except (urllib.error.URLError, ConnectionError):
            return False

    def ask(self, expression: str) -> list[Any]:
        """Return the samples of an expression now, without those that are no number. Raises HTTPError."""
        samples = json.loads(self._get(f"/api/v1/query?{urlencode({'query': expression})}"))["data"]["result"]
        return [sample for sample in samples if sample["value"][1] != "NaN"]

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=5 * PATIENCE) as answer:  # noqa: S310 (loopback)
            content: bytes = answer.read()
            return content


@contextmanager
def running(
    directory: pathlib.Path,
    targets: Mapping[str, str],
    *,
    interval: str = "1s",
    rules: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] = PLAIN,
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes ``targets``, address:port by job, and evaluates a file of rules.

    ``settings`` of a job are scheme, tls_config and the like.
    """
    config = directory / "prometheus.yml"
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [target]}], **settings.get(job, {})}
        for job, target in targets.items()
    ]
    times = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    files = [rules] if rules else []
    config.write_text(yaml.safe_dump({"global": times, "scrape_configs": jobs, "rule_files": files}))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    options = {"config.file": config, "storage.tsdb.path": directory / "data", "web.listen-address": address}
    command = ["prometheus", *(f"--{name}={value}" for name, value in options.items())]
    log_file = directory / "prometheus.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        started = Prometheus(f"http://{address}")
        try:
            eventually(
                lambda: started.ready() or process.poll() is not None, "it answers", within=20 * PATIENCE
            )
            assert process.poll() is None, "it ended"
        except AssertionError as error:
            raise AssertionError(f"Prometheus: {error}\n{log_file.read_text()[-4000:]}") from None
        yield started
    finally:
        process.kill()
        process.wait()


# ``promtool test rules``: what fires at a moment, for series that are told by their courses.

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
