"""A real Prometheus on the gateway: alerts fire, and the dashboard finds its data, while a tunnel dies."""

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from lab.deadline import PATIENCE, eventually
from lab.gateway import CHECKOUT, METRICS, PROGRAM, LabGateway, tunnel
from lab.topology import PRIMARY
from lab.world import Lab
from tests.native.prometheus import Prometheus, running
from tools.dashboard.board import queries

DASHBOARD = CHECKOUT / "agent" / "vpnagent" / "commands" / "dashboard" / "dashboard.json"
CHOSEN = {"job": "vpnagent", "instance": ".*", "connection": ".*", "tunnel": ".*"}
SCRAPES = {"__rate_interval": "10m", "__range": "10m"}  # a failover that was is to be found
SPARE = "203.0.113.9"  # nobody


def shortened(rules: str) -> str:
    """The same rules with windows and waits of seconds instead of minutes."""
    return re.sub(r"for: \d+m", "for: 0s", re.sub(r"\[\d+[ms]\]", "[20s]", rules))


def document(gateway: LabGateway) -> dict[str, Any]:
    """The lab's connection with little bandwidth, and one of each other kind that leads nowhere."""
    document = gateway.document()
    [connection] = document["connections"]
    connection["bandwidth"] = "64kbps"
    spare = {
        "name": "only",
        "remote_address": SPARE,
        "local_address": PRIMARY.local,
        "psk_file": str(gateway.key(PRIMARY)),
        "inside_address": "169.254.99.2/30",
    }
    document["connections"].append(
        {
            "name": "spare",
            "attachment": "transit-router",
            "remote_networks": ["192.168.77.0/24"],
            "tunnels": [spare],
        }
    )
    document["hooks"] = [{"name": "deaf", "command": ["/bin/false"], "retries": 0}]
    return document


@pytest.fixture
def prometheus(lab: Lab, gateway: LabGateway) -> Iterator[Prometheus]:
    """A Prometheus in the gateway's namespace, with the rules that `vpnagent alerts` prints."""
    gateway.write(document(gateway))
    rules = gateway.directory / "rules.yaml"
    command = (PROGRAM, "alerts", "--config", str(gateway.configuration))
    rules.write_text(shortened(lab.gateway.run(*command)))
    interval = f"{max(1, PATIENCE / 4):.0f}s"
    with (
        lab.gateway.entered(),
        running(gateway.directory, {"vpnagent": METRICS}, interval=interval, rules=str(rules)) as started,
    ):
        yield started


def firing(prometheus: Prometheus, name: str, *, ever: bool = True, **labels: str) -> bool:
    """Whether the alert has fired with these labels, or does now."""
    matchers = "".join(f',{key}="{value}"' for key, value in labels.items())
    alerts = f'ALERTS{{alertstate="firing",alertname="{name}"{matchers}}}'
    return bool(prometheus.ask(f"count_over_time({alerts}[10m])" if ever else alerts))


@pytest.mark.deadline(600)
@pytest.mark.slow("alerts are due after their time")
def test_alerts_fire_and_the_dashboard_finds_its_data(
    lab: Lab, gateway: LabGateway, prometheus: Prometheus
) -> None:
    fires = partial(firing, prometheus)
    within = 30 * PATIENCE
    gateway.start()
    gateway.wait(lambda s: tunnel(s, PRIMARY)["forwarding"], "traffic has a way", within=15 * PATIENCE)
    lab.cloud.wait_returning(PRIMARY)
    down = partial(fires, "VpnTunnelDown", ever=False, tunnel="primary")
    eventually(lambda: not down(), "the tunnel is not told to be down", within=within)
    with lab.stream(size=200).running():
        for direction in ("inbound", "outbound"):
            eventually(
                partial(fires, "VpnGatewayBandwidthHigh", severity="critical", cloud_direction=direction),
                f"{direction} traffic beyond the limit is told",
                within=within,
            )
        lab.faults.drop(PRIMARY, "everything")
        expected: tuple[tuple[str, dict[str, Any]], ...] = (
            ("VpnTunnelDown", {"tunnel": "primary", "severity": "critical", "ever": False}),
            ("VpnFailover", {"connection": "hangzhou"}),
            ("VpnNoStandby", {"connection": "hangzhou"}),
            ("VpnTunnelDown", {"connection": "spare"}),
        )
        for name, labels in expected:
            eventually(partial(fires, name, **labels), f"{name} fires", within=within)
        said = [event["type"] for event in gateway.ask("events", after=0)["events"]]
        assert {"DaemonStarted", "Failover", "TunnelDown"} <= set(said), said
        lab.gateway.ip("route del 172.16.0.0/16 proto 86 metric 4278198272")
        try:
            eventually(lambda: not without_data(prometheus), "every query has data", within=within)
        except AssertionError as error:
            raise AssertionError(f"{error}: {without_data(prometheus)}") from None


def without_data(prometheus: Prometheus) -> list[str]:
    """The dashboard's queries that find nothing.

    Not asked about certificates: the look at the machine, which reads them, takes longer here than it may.
    Nor about what is told only if it happened at all: nothing leaks here, and no event is lost.
    """
    asked = queries(json.loads(DASHBOARD.read_text()), CHOSEN | SCRAPES)
    return [
        f"{query.where}: {query.expr}"
        for query in asked
        if "certificate" not in query.expr
        and not query.expr.endswith("> 0")
        and not prometheus.ask(query.expr)
    ]
