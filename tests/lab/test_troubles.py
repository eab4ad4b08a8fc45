"""What goes wrong is told in one clear line, with a hint where the daemon can go on."""

import subprocess

from lab.deadline import PATIENCE
from lab.gateway import PROGRAM, LabGateway, Status, routes_stand, tunnel
from lab.topology import BACKUP, PRIMARY, SERVICE_HOST
from lab.world import Lab


def warned(status: Status, code: str, *words: str) -> bool:
    return any(
        w["code"] == code and w["hint"] and all(word in w["text"] for word in words)
        for w in status["warnings"]
    )


def wait_down(gateway: LabGateway, reason: str) -> Status:
    status = gateway.wait(
        lambda s: warned(s, "TunnelDown", "hangzhou/primary", reason),
        f"the primary is down for {reason}",
        within=30 * PATIENCE**0.5,
    )
    assert tunnel(status, PRIMARY)["state"] == "down"
    return status


def test_a_wrong_psk_is_told_and_the_other_tunnel_carries(lab: Lab, gateway: LabGateway) -> None:
    gateway.write_key(PRIMARY, "not-the-clouds-key")
    gateway.start()
    wait_down(gateway, "PskMismatch")
    gateway.wait(
        lambda s: s["state"] == "degraded" and routes_stand(s), "the other carries", within=10 * PATIENCE
    )
    lab.cloud.wait_returning(BACKUP)
    lab.ping(SERVICE_HOST)
    assert "not-the-clouds-key" not in gateway.log.read_text()


def test_a_wrong_proposal_is_told(gateway: LabGateway) -> None:
    document = gateway.document()
    document["connections"][0]["ike"] = {"encryption": "aes256"}
    gateway.write(document)
    gateway.start()
    wait_down(gateway, "ProposalMismatch")


def test_a_peer_that_does_not_answer_is_told(lab: Lab, gateway: LabGateway) -> None:
    lab.faults.drop(PRIMARY)
    gateway.start()
    wait_down(gateway, "NoResponse")


def test_a_missing_vici_socket_is_told_and_waited_for(lab: Lab, gateway: LabGateway) -> None:
    lab.charon.kill()
    lab.charon.socket.unlink(missing_ok=True)
    gateway.start()
    status = gateway.wait(lambda s: warned(s, "CharonUnreachable"), "told", within=15 * PATIENCE)
    assert status["state"] == "down"
    gateway.wait(lambda s: {r["state"] for r in s["routes"]} == {"guarded"}, "guarded", within=5 * PATIENCE)
    lab.charon.restart()
    gateway.wait_up(within=40 * PATIENCE)


def test_without_the_capability_it_ends_with_one_line(lab: Lab, gateway: LabGateway) -> None:
    command = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", PROGRAM, "run")
    with lab.gateway.entered():
        done = subprocess.run(
            [*command, "--config", str(gateway.configuration)], check=False, capture_output=True, text=True
        )
    assert done.returncode == 4
    assert done.stderr == "vpnagent: run needs root or the capability CAP_NET_ADMIN\n"


def test_an_unreadable_configuration_ends_with_one_line(lab: Lab, gateway: LabGateway) -> None:
    gateway.configuration.write_text("version: [1\n")
    with lab.gateway.entered():
        done = subprocess.run(
            [PROGRAM, "run", "--config", str(gateway.configuration)],
            check=False,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr.startswith(f"{gateway.configuration}:")
    assert len(done.stderr.splitlines()) == 1
