"""A dead tunnel is left within its detection time, for the right reason, and nothing else is disturbed.

Each scenario runs a two-way stream, breaks one thing, and asserts the longest gap and the reason that status
tells. Bounds are wide where the processor is emulated; the figures are printed, and `./dev trials` takes them
many times.
"""

import signal
import time
from functools import partial
from typing import Any

import pytest
from lab.deadline import EMULATED, PATIENCE, eventually
from lab.gateway import DETECTION, LabGateway, Status, failover_from, on_backup, paths_are_up, start, tunnel
from lab.observer import packets
from lab.stream import StreamResult
from lab.topology import BACKUP, ECS_HOST, PRIMARY, SERVICE_HOST, Dropped, LabTunnel, Towards
from lab.world import Lab

DEAF = """table ip deaf {
    chain input { type filter hook input priority 0; icmp type echo-request drop; }
}"""
BOUND = DETECTION * 1.4 + 3.0 * EMULATED
TWO_WAY_BOUND = DETECTION * 2.0 + 5.0 * EMULATED
FULL_BOUND = DETECTION * 2.5 + 3.0 * EMULATED  # what still arrives looks like a full tunnel: loss decides
SHARED_BOUND = DETECTION * 2.2 + 5.0 * EMULATED


def path_is_down(each: LabTunnel, status: Status) -> bool:
    return bool(tunnel(status, each)["path"]["state"] == "down")


def stream_flows(lab: Lab) -> bool:
    """Whether the primary carries more than the probes, both ways."""
    before = packets(lab.gateway, f"vpn-{PRIMARY.name}")
    time.sleep(0.5)
    after = packets(lab.gateway, f"vpn-{PRIMARY.name}")
    return all(new - old >= 20 for old, new in zip(before, after, strict=True))


def report(what: str, result: StreamResult, failover: dict[str, Any]) -> None:
    print(
        f"\n{what}: {result}; detection {failover['detection_seconds']:.3f} s, "
        f"switch {failover['switch_seconds'] * 1000:.2f} ms, reason {failover['reason']}: {failover['text']}"
    )


def recovers(lab: Lab, gateway: LabGateway) -> None:
    """With the fault gone the active tunnel carries the traffic again."""
    lab.faults.clear()
    gateway.wait(
        lambda s: s["connections"][0]["active"] == ["primary"], "it is back", within=60 * PATIENCE**0.5
    )
    lab.ping(ECS_HOST)


@pytest.mark.parametrize(
    ("what", "direction"),
    [("esp", "both"), ("everything", "both"), ("everything", "outbound"), ("everything", "inbound")],
)
def test_a_dead_path_is_left(lab: Lab, gateway: LabGateway, what: Dropped, direction: Towards) -> None:
    start(gateway)
    stream = lab.stream()
    with stream.running():
        lab.faults.drop(PRIMARY, what, direction)
        gateway.wait(on_backup, "traffic is on the backup", within=10 * PATIENCE)
        if what == "esp":
            lab.cloud.wait_returning(BACKUP)  # the DELETE has moved the cloud
        eventually(lambda: not lab.observer.leaks(), "no leak", within=5)
        result = stream.stop()
    failover = failover_from(gateway, PRIMARY)
    report(f"{what} {direction}", result, failover)
    assert (failover["from"], failover["to"]) == (["primary"], ["backup"])
    assert result.outbound.blackout <= (FULL_BOUND if direction == "outbound" else BOUND), result
    if what == "esp":
        assert result.inbound.blackout <= TWO_WAY_BOUND, result
    assert lab.observer.leaks() == []
    recovers(lab, gateway)


def test_with_shared_targets_only_the_right_tunnel_is_blamed(lab: Lab, gateway: LabGateway) -> None:
    start(gateway, shared=True)
    stream = lab.stream()
    with stream.running():
        lab.faults.drop(PRIMARY, "esp")
        gateway.wait(on_backup, "traffic is on the backup", within=10 * PATIENCE)
        lab.cloud.wait_returning(BACKUP)
        gateway.wait(lambda s: tunnel(s, BACKUP)["path"]["state"] == "up", "heard", within=10 * PATIENCE)
        result = stream.stop()
    failover = failover_from(gateway, PRIMARY)
    report("shared targets, esp", result, failover)
    assert failover["from"] == ["primary"]
    assert result.blackout <= SHARED_BOUND, result
    assert tunnel(gateway.status(), PRIMARY)["state"] in {"down", "trial"}


def test_a_dead_shared_target_moves_and_resets_nothing(lab: Lab, gateway: LabGateway) -> None:
    start(gateway, shared=True)
    ike_sas = sorted(lab.charon.children("vpnagent.hangzhou.primary"))
    stream = lab.stream()
    try:
        with stream.running():
            # What flows tells a dead target from a dead tunnel, so it must flow before the target dies.
            eventually(lambda: stream_flows(lab), "the stream flows", within=10 * PATIENCE)
            lab.topology["ecs"].nft(DEAF)
            gateway.wait(
                lambda s: tunnel(s, PRIMARY)["path"]["state"] != "up",
                "silence is noticed",
                within=10 * PATIENCE,
            )
            eventually(
                lambda: "target" in tunnel(gateway.status(), PRIMARY)["path"].get("reason", ""),
                "the target is blamed",
                within=20 * PATIENCE,
            )
            result = stream.stop()
    finally:
        lab.topology["ecs"].nft("delete table ip deaf")
    print(f"\ndead target: {result}; {tunnel(gateway.status(), PRIMARY)['path']}")
    assert gateway.status()["connections"][0]["active"] == ["primary"]
    assert sorted(lab.charon.children("vpnagent.hangzhou.primary")) == ike_sas
    assert result.lost == 0, lab.drops()


@pytest.mark.parametrize("what", ["delete", "crash", "carrier"])
def test_signalled_and_sudden_deaths(lab: Lab, gateway: LabGateway, what: str) -> None:
    start(gateway)
    stream = lab.stream()
    with stream.running():
        match what:
            case "delete":
                lab.cloud.load(PRIMARY, psk="changed-so-that-it-stays-down")
                lab.cloud.delete(PRIMARY)
            case "crash":
                lab.cloud.crash(PRIMARY)
            case _:
                lab.faults.carrier(PRIMARY, up=False)
        gateway.wait(on_backup, "traffic is on the backup", within=10 * PATIENCE)
        result = stream.stop()
    failover = failover_from(gateway, PRIMARY)
    report(what, result, failover)
    assert result.outbound.blackout <= BOUND, result
    if what == "carrier":
        assert failover["reason"] == "link", failover  # told by the kernel, not by silence
    if what == "delete":
        lab.cloud.load(PRIMARY)
    if what == "crash":
        lab.cloud.recover(PRIMARY)
    recovers(lab, gateway)


def test_everything_dead_keeps_the_last_choice_and_leaks_nothing(lab: Lab, gateway: LabGateway) -> None:
    start(gateway)
    for each in (BACKUP, PRIMARY):  # the standby first: it is known before it is needed
        lab.faults.drop(each, "everything")
        gateway.wait(partial(path_is_down, each), f"{each.name} is down", within=10 * PATIENCE)
    status = gateway.status()
    assert status["connections"][0]["active"] == ["primary"]
    assert status["state"] == "degraded"  # it goes on with what it has: fail static
    lab.topology["idc"].run("ping", "-n", "-c", "2", "-W", "1", SERVICE_HOST, check=False)
    assert lab.observer.leaks() == []
    lab.faults.clear()
    gateway.wait_up(within=90 * PATIENCE**0.5)
    lab.ping(SERVICE_HOST)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_without_the_control_daemon_a_dead_path_is_left_all_the_same(
    lab: Lab, gateway: LabGateway, number: signal.Signals
) -> None:
    start(gateway)
    stream = lab.stream()
    with stream.running():
        gateway.send_signal(number)
        lab.faults.drop(PRIMARY, "esp")
        lab.cloud.wait_returning(BACKUP)
        result = stream.stop()
    print(f"\nesp dropped, daemon {number.name}: {result}")
    assert result.blackout <= TWO_WAY_BOUND, result
    if number is signal.SIGSTOP:
        gateway.send_signal(signal.SIGCONT)
    else:
        gateway.start()
    gateway.wait(on_backup, "the choice stands", within=15 * PATIENCE)


def test_the_prober_killed_loses_no_packet_and_probes_again(lab: Lab, gateway: LabGateway) -> None:
    start(gateway)
    stream = lab.stream()
    with stream.running():
        gateway.kill_prober()
        gateway.wait(lambda s: not paths_are_up(s), "it is missed", within=5 * PATIENCE)
        gateway.wait(paths_are_up, "it probes again", within=15 * PATIENCE)
        lab.faults.drop(PRIMARY, "esp")
        gateway.wait(on_backup, "and switches", within=10 * PATIENCE)
        lab.faults.clear()
        result = stream.stop()
    print(f"\nprober killed, then esp dropped: {result}")
    assert result.outbound.blackout <= BOUND, result


@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
def test_what_is_heard_again_before_the_detection_time_is_a_flinch(
    lab: Lab, gateway: LabGateway, *, shared: bool
) -> None:
    rhythm = {"interval": "300ms", "confirm": {"interval": "20ms"}}
    probe = gateway.document()["connections"][0]["probe"] | rhythm
    start(gateway, shared=shared, probe=probe)
    sas = {each: lab.charon.ike_sas(f"vpnagent.hangzhou.{each.name}") for each in (PRIMARY, BACKUP)}
    stream = lab.stream()
    with stream.running():
        lab.faults.drop(PRIMARY, "esp")
        time.sleep(0.5)  # suspected after at most 0.4 s, and down after at least 0.6
        lab.faults.heal(PRIMARY)
        gateway.wait(
            lambda s: tunnel(s, PRIMARY)["path"]["flinches"] == 1, "it came back", within=5 * PATIENCE
        )
        result = stream.stop()
    status = gateway.status()
    assert status["connections"][0]["active"] == ["primary"]
    assert status["connections"][0]["last_failover"] is None
    assert not tunnel(status, PRIMARY)["path"]["suspected"]
    assert sas == {each: lab.charon.ike_sas(f"vpnagent.hangzhou.{each.name}") for each in sas}
    assert result.outbound.blackout <= 0.45
