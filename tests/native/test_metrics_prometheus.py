"""A real Prometheus at the metrics' listener: certificates and password as both programs understand them."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.deadline import eventually
from tests.certificates import Certified, authority, issued
from tests.config_examples import make_config
from tests.native.prometheus import running

from vpnagent.config.values import MetricsAuth, MetricsTls
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.metrics.endpoint import Endpoint

PASSWORD = "Hush-7f3a"


@contextlib.contextmanager
def listening(known: Knowledge) -> Iterator[None]:
    """Serve from a thread."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(Endpoint(known).serve())
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


def job(ca: Certified, client: Certified | None, password: str = PASSWORD) -> dict[str, Any]:
    """Return the settings of a job."""
    shown = {"cert_file": str(client.certificate), "key_file": str(client.key)} if client else {}
    return {
        "scheme": "https",
        "tls_config": {"ca_file": str(ca.certificate), "server_name": "localhost", **shown},
        "basic_auth": {"username": "prometheus", "password": password},
    }


def test_prometheus_is_let_in_with_certificate_and_password_and_not_without(tmp_path: Path) -> None:
    ca, other = authority(tmp_path, "ca"), authority(tmp_path, "other")
    server, client = issued(ca, tmp_path, "localhost"), issued(ca, tmp_path, "prometheus")
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text(PASSWORD)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        listen = f"127.0.0.1:{unused.getsockname()[1]}"
    agent = {
        "metrics_listen": listen,
        "metrics_tls": MetricsTls(
            certificate=str(server.certificate), private_key=str(server.key), client_ca=str(ca.certificate)
        ),
        "metrics_auth": MetricsAuth(username="prometheus", password_file=str(password)),
    }
    jobs = {
        "right": job(ca, client),
        "no-certificate": job(ca, None),
        "stranger": job(ca, issued(other, tmp_path, "stranger")),
        "wrong-password": job(ca, client, "wrong"),
    }

    with (
        listening(Knowledge(config=make_config(agent=agent), loaded_at=0.0)),
        running(tmp_path, dict.fromkeys(jobs, listen), interval="1s", settings=jobs) as prometheus,
    ):
        eventually(lambda: prometheus.ask("count(up) == 4"), "four scrapes", within=30)
        eventually(lambda: prometheus.ask('up{job="right"} == 1'), "it is let in", within=30)
        assert [s["metric"]["job"] for s in prometheus.ask("up == 1")] == ["right"]
        assert prometheus.ask('vpnagent_build_info{job="right"}')
