"""Whatever ends is started again and finds its way, and traffic does not notice what need not hurt it."""

import os
import signal

import pytest
from lab.deadline import PATIENCE
from lab.gateway import LabGateway, Status, paths_are_up, tunnel
from lab.topology import PRIMARY, SERVICE_HOST, TUNNELS
from lab.world import Lab


def test_charon_killed_and_started_again_has_its_tunnels_back(lab: Lab, gateway: LabGateway) -> None:
    gateway.start()
    gateway.wait_up()
    lab.charon.kill()
    status = gateway.wait(lambda s: not s["charon"]["connected"], "charon is missed", within=5 * PATIENCE)
    assert "CharonUnreachable" in {w["code"] for w in status["warnings"]}
    assert status["connections"][0]["active"] == ["primary"]
    lab.charon.start()
    lab.charon.wait()
    gateway.wait(lambda s: s["charon"]["connected"], "charon is back", within=10 * PATIENCE)
    gateway.wait(lambda s: tunnel(s, PRIMARY)["child_sa"] == "installed", "negotiated", within=20 * PATIENCE)
    gateway.wait_up()
    lab.ping(SERVICE_HOST)
    assert lab.observer.leaks() == []


def test_the_agent_killed_and_started_again_loses_no_packet(lab: Lab, gateway: LabGateway) -> None:
    gateway.start()
    gateway.wait_up()
    stream = lab.stream()
    with stream.running():
        gateway.kill()
        gateway.start()
        gateway.wait_up()
        result = stream.stop()
    print(f"\nSIGKILL and start: {result}")
    assert result.lost == 0, lab.drops()
    assert "applied ip" not in gateway.log.read_text().rpartition("starting version")[2]


def test_the_agent_stopped_and_started_again_loses_no_packet(lab: Lab, gateway: LabGateway) -> None:
    gateway.start()
    gateway.wait_up()
    stream = lab.stream()
    with stream.running():
        assert gateway.stop() == 0
        gateway.start()
        gateway.wait_up()
        gateway.send_signal(signal.SIGHUP)
        gateway.wait_up()
        result = stream.stop()
    print(f"\nSIGTERM, start, SIGHUP: {result}")
    assert result.lost == 0, lab.drops()


@pytest.mark.smp
@pytest.mark.slow("the kernel's generators, and a start of everything between them")
def test_daemon_and_prober_replaced_as_by_an_upgrade_lose_no_packet_of_a_kilohertz(
    lab: Lab, gateway: LabGateway
) -> None:
    gateway.start()
    gateway.wait_up()
    pktgen = lab.pktgen()
    with pktgen.running():
        prober = gateway.prober_pid()
        assert gateway.stop() == 0
        os.kill(prober, signal.SIGTERM)
        gateway.start()
        gateway.wait_up()
        gateway.wait(paths_are_up, "both are probed", within=15 * PATIENCE)
        assert gateway.prober_pid() != prober
        count = pktgen.stop()
    print(f"\nSIGTERM of both, start: {count}")
    assert all(count.heard)
    assert count.lost == 0, lab.drops()


def test_a_refused_reload_keeps_what_is_in_force(lab: Lab, gateway: LabGateway) -> None:
    gateway.start()
    gateway.wait_up()
    good = gateway.configuration.read_text()
    before = identities(lab)
    stream = lab.stream()
    with stream.running():
        broken = "version: 1\ngateway: {local_networks: [10.1.0.0/33]}\n"
        refuse(gateway, broken, "vpnagent.yaml:2: gateway.local_networks[0]: ")
        status = refuse(gateway, good.replace("vpn-gateway", "vpn-gatewax"), "connections[0].attachment")
        assert "ConfigReloadFailed" in {w["code"] for w in status["warnings"]}
        assert gateway.metrics()["vpnagent_config_last_reload_successful"] == 0
        lab.ping(SERVICE_HOST)
        gateway.configuration.write_text(good)
        gateway.ask("reload")
        gateway.wait_up()
        result = stream.stop()
    print(f"\na refused reload: {result}")
    assert result.lost == 0, lab.drops()
    assert identities(lab) == before
    assert gateway.status()["config"]["error"] is None
    assert gateway.metrics()["vpnagent_config_last_reload_successful"] == 1


def refuse(gateway: LabGateway, text: str, told: str) -> Status:
    """Have a configuration refused; the status then, which tells this."""
    gateway.configuration.write_text(text)
    gateway.send_signal(signal.SIGHUP)
    return gateway.wait(lambda s: told in (s["config"]["error"] or ""), "refused", within=10 * PATIENCE)


def identities(lab: Lab) -> list[frozenset[bytes]]:
    return [lab.charon.ike_sas(f"vpnagent.hangzhou.{each.name}") for each in TUNNELS]


def test_a_drain_moves_traffic_without_loss_and_survives_a_restart(lab: Lab, gateway: LabGateway) -> None:
    gateway.start()
    gateway.wait_up()
    stream = lab.stream()
    with stream.running():
        gateway.ask("drain", tunnel="primary")
        gateway.wait(lambda s: s["connections"][0]["active"] == ["backup"], "moved", within=5 * PATIENCE)
        gateway.kill()
        gateway.start()
        status = gateway.wait(
            lambda s: tunnel(s, PRIMARY)["state"] == "drained"
            and s["connections"][0]["active"] == ["backup"],
            "still drained",
            within=15 * PATIENCE,
        )
        gateway.ask("undrain", tunnel="primary")
        gateway.wait(lambda s: s["connections"][0]["active"] == ["primary"], "back", within=5 * PATIENCE)
        result = stream.stop()
    print(f"\ndrain, SIGKILL, start, undrain: {result}")
    assert "TunnelDrained" in {w["code"] for w in status["warnings"]}
    assert result.lost == 0, lab.drops()
