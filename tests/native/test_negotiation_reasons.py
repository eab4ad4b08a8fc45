"""Every reason that charon can be made to show is provoked between two of them, and told right."""

import asyncio
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.ipsec.charon_contract import until
from tests.ipsec.connections import by_name
from tests.ipsec.negotiation_failures import TOLD
from tests.native.charon_pair import Host, charon_pair, connection
from tests.native.failing_negotiations import ALLOW_AGGRESSIVE, ends, scenarios

from vpnagent.daemon.negotiations import GONE_WITHIN, Negotiations
from vpnagent.ipsec.failure_reason import ABSENCES, Reason
from vpnagent.ipsec.negotiation_failure import NegotiationFailed
from vpnagent.knowledge.knowledge import CharonKnowledge
from vpnagent.knowledge.tunnels import sa_status

if os.geteuid() != 0:
    pytest.skip("real charons need root: ./dev test runs these", allow_module_level=True)

DEADLINE = 15.0  #: seconds for one scenario; most take a tenth of one


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    """Two hosts for all scenarios: each leaves them empty."""
    directory: pathlib.Path = tmp_path_factory.mktemp("hosts")
    with charon_pair(directory, ALLOW_AGGRESSIVE) as pair:
        yield pair


@pytest.mark.parametrize("name", TOLD)
def test_a_failure_is_told_at_each_end(hosts: tuple[Host, Host], name: str) -> None:
    told = asyncio.run(play(hosts, name))
    for failures, expected in zip(told, TOLD[name], strict=True):
        reasons = [failed.reason for failed in failures]
        assert expected is None or reasons[-1] is expected
        # IKEv1 loses a message of phase 2 that overtakes the last of phase 1: silence, then an answer.
        assert set(reasons) - {expected} <= ABSENCES
    assert "Hush" not in str(told)


async def play(hosts: tuple[Host, Host], name: str) -> tuple[list[NegotiationFailed], ...]:
    """Return what the initiator and what the responder was told."""
    async with (
        asyncio.timeout(DEADLINE),
        ends(*hosts) as (here, there),
        scenarios(*hosts)[name].played(here, there),
    ):
        for end, reason in zip((here, there), TOLD[name], strict=True):
            await end.told_of(reason)
        return list(here.failures), list(there.failures)


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("ikev2-pfs-group-at-rekey", [Reason.PFS_MISMATCH]),
        ("ikev2-rekeyed", []),
        ("main-rekeyed", []),
    ],
)
def test_of_a_tunnel_that_carries_a_refused_rekeying_is_told_and_a_deletion_is_not(
    hosts: tuple[Host, Host], name: str, reasons: list[Reason]
) -> None:
    scenario = scenarios(*hosts)[name]
    known = CharonKnowledge()
    negotiations = Negotiations(known)
    negotiations.expect(by_name(scenario.initiator))

    async def rekey() -> None:
        async with asyncio.timeout(DEADLINE), ends(*hosts) as (here, there), scenario.played(here, there):
            await here.told_of(TOLD[name][0])
            state = await until(here.charon, lambda state: sa_status(state.sas).installed)
            known.statuses = {scenario.initiator.key: sa_status(state.sas)}
            for line in here.before + here.lines:
                negotiations.heard(line, 0.0)

    asyncio.run(rekey())
    negotiations.observed(GONE_WITHIN)
    assert [failed.reason for failed in known.failures.values()] == reasons


METRIC = "vpnagent_negotiation_failures_total"
YAML = """\
version: 1
gateway: {{name: gw, local_networks: [10.1.0.0/16]}}
agent:
  state_directory: {folder}
  control_socket: {folder}/control.sock
  vici_socket: {vici}
  metrics_listen: 127.0.0.1:9786
connections:
  - name: hangzhou
    attachment: vpn-gateway
    remote_networks: [172.16.0.0/16]
    probe: {{targets: [172.16.0.10]}}
    tunnels:
      - {{name: primary, remote_address: {remote}, local_address: {local}, local_id: {local}, psk_file: psk}}
"""


@pytest.fixture
def vpnagent(hosts: tuple[Host, Host], tmp_path: pathlib.Path) -> Iterator[Callable[..., str]]:
    """Run the daemon, whose pre-shared key is not the peer's; yield a way to run commands beside it."""
    here, there = hosts
    (tmp_path / "psk").touch(mode=0o600)
    (tmp_path / "psk").write_bytes(b"Hush-another")
    (tmp_path / "vpnagent.yaml").write_text(
        YAML.format(folder=tmp_path, vici=here.vici, local=here.address, remote=there.address)
    )
    config = ["--config", str(tmp_path / "vpnagent.yaml")]
    within = ["ip", "netns", "exec", here.namespace, sys.executable, "-m", "vpnagent"]

    def run(*words: str) -> str:
        command = [*within, *words, *config]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30).stdout

    with open(tmp_path / "daemon.log", "w") as log:
        daemon = subprocess.Popen([*within, "run", *config], stdout=log, stderr=log)
    try:
        yield run
        assert "Hush" not in (tmp_path / "daemon.log").read_text()
    finally:
        run("down")
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()


def test_the_daemon_tells_it_in_status_and_in_its_metric(
    hosts: tuple[Host, Host], vpnagent: Callable[..., str]
) -> None:
    async def told() -> dict[str, Any]:
        async with ends(*hosts) as (_, there):
            await there.load(connection(hosts[1], hosts[0]), {})
            deadline = time.monotonic() + 30
            while True:
                said = await asyncio.to_thread(vpnagent, "status", "--json")
                if said and json.loads(said)["connections"][0]["tunnels"][0]["negotiation_failure"]:
                    await there.empty()
                    status: dict[str, Any] = json.loads(said)
                    return status
                assert time.monotonic() < deadline, said
                await asyncio.sleep(0.2)

    status = asyncio.run(told())
    tunnel = status["connections"][0]["tunnels"][0]
    failure = tunnel["negotiation_failure"]
    assert failure["reason"] == "PskMismatch"
    assert "psk_file" in failure["hint"]
    assert (tunnel["state"], tunnel["reason"]) == ("down", f"PskMismatch: {failure['text']}")
    [down] = [warning for warning in status["warnings"] if warning["code"] == "TunnelDown"]
    assert down["hint"] == failure["hint"]

    fetch = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9786/metrics').read().decode())"
    scrape = ["ip", "netns", "exec", hosts[0].namespace, sys.executable, "-c", fetch]
    scraped = subprocess.run(scrape, check=True, capture_output=True, text=True, timeout=30).stdout
    [series] = [line for line in scraped.splitlines() if METRIC in line and 'reason="PskMismatch"' in line]
    assert 'connection="hangzhou"' in series
    assert 'tunnel="primary"' in series
    assert float(series.split()[1]) >= 1
