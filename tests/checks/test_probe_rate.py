"""The probe rate of each target: tunnels add up."""

from dataclasses import replace
from ipaddress import IPv4Address

from tests.config_examples import make_config, make_tunnel

from vpnagent.commands.check import probe_rate
from vpnagent.config.values import Config
from vpnagent.finding import Severity

SHARED, OWN = IPv4Address("172.16.0.10"), IPv4Address("172.16.0.11")


def config(interval: float, *targets: IPv4Address) -> Config:
    probe = replace(make_tunnel(1).probe, interval=interval, targets=targets)
    return make_config(primary={"probe": probe}, backup={"probe": replace(probe, targets=(SHARED,))})


def told(made: Config) -> dict[str, tuple[Severity, str]]:
    return {finding.subject: (finding.severity, finding.text) for finding in probe_rate(made)}


def test_a_shared_target_is_probed_by_every_tunnel() -> None:
    found = told(config(0.1, SHARED, OWN))
    assert found.keys() == {str(SHARED), str(OWN)}
    assert "20 probes a second from 2 tunnels" in found[str(SHARED)][1]
    assert "10 probes a second from one tunnel" in found[str(OWN)][1]
    assert {severity for severity, _ in found.values()} == {Severity.INFO}


def test_a_rate_that_a_host_may_not_answer_is_a_warning() -> None:
    assert told(config(0.04, SHARED))[str(SHARED)][0] is Severity.INFO  # 50 a second
    assert told(config(0.039, SHARED))[str(SHARED)][0] is Severity.WARNING
