"""A real Prometheus on loopback, of Debian's package, that scrapes what it is told and answers queries."""

import json
import pathlib
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import yaml
from lab.deadline import PATIENCE, eventually

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
