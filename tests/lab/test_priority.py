"""Active and standby over two connections of a tunnel each, as by the cloud's routes with weights."""

from typing import Any

from lab.deadline import PATIENCE
from lab.gateway import LabGateway, Status, paths_are_up
from lab.topology import BACKUP, PRIMARY
from lab.world import Lab


def two_connections(gateway: LabGateway) -> dict[str, Any]:
    """The standard configuration with a connection for each tunnel."""
    document = gateway.document()
    [both] = document["connections"]
    both["probe"] |= {"hold_down": "1s"}
    document["connections"] = [
        both | {"name": name, "priority": number, "tunnels": [tunnel | {"role": "active"}]}
        for number, (name, tunnel) in enumerate(zip(("east", "west"), both["tunnels"], strict=True))
    ]
    return document


def carriers(status: Status) -> dict[str, tuple[list[str], list[str], str]]:
    return {c["name"]: (c["active"], c["carried_by"], c["state"]) for c in status["connections"]}


ON_EAST = {"east": (["primary"], [], "up"), "west": ([], ["east"], "up")}


def on_west(status: Status) -> bool:
    found = carriers(status)
    return found["east"][:2] == ([], ["west"]) and found["west"][:2] == (["backup"], [])


def test_a_connection_is_the_standby_of_another(lab: Lab, gateway: LabGateway) -> None:
    gateway.write(two_connections(gateway))
    gateway.start()
    gateway.wait(lambda s: carriers(s) == ON_EAST and paths_are_up(s), "all is up", within=20 * PATIENCE)
    lab.cloud.wait_returning(PRIMARY)
    before = lab.charon.ike_sas(f"vpnagent.west.{BACKUP.name}")
    lab.observer.begin()
    stream = lab.stream()
    with stream.running():
        lab.faults.drop(PRIMARY, "everything")
        status = gateway.wait(on_west, "the standby carries", within=10 * PATIENCE)
        assert all(n["carried"] for c in status["connections"] for n in c["networks"])
        lab.faults.heal(PRIMARY)
        gateway.wait(lambda s: carriers(s) == ON_EAST, "back on the first", within=120 * PATIENCE**0.5)
        gateway.ask("drain", tunnel=PRIMARY.name)
        gateway.wait(on_west, "a drain moves it too", within=10 * PATIENCE)
        gateway.ask("undrain", tunnel=PRIMARY.name)
        gateway.wait(lambda s: carriers(s) == ON_EAST, "and back", within=10 * PATIENCE)
        result = stream.stop()
    print(f"\nactive and standby over two connections: {result}")
    # One detection time, in which packets went into the dead path; moves that are meant cost nothing.
    assert result.outbound.blackout <= 0.5 * PATIENCE, lab.drops()
    assert len(result.outbound.outages) <= 1, result
    assert lab.charon.ike_sas(f"vpnagent.west.{BACKUP.name}") == before
    assert lab.observer.leaks() == []


def test_priorities_are_exchanged_without_loss(lab: Lab, gateway: LabGateway) -> None:
    document = two_connections(gateway)
    gateway.write(document)
    gateway.start()
    gateway.wait(lambda s: carriers(s) == ON_EAST and paths_are_up(s), "all is up", within=20 * PATIENCE)
    lab.cloud.wait_returning(PRIMARY)
    stream = lab.stream()
    with stream.running():
        document["connections"][0]["priority"] = 2
        gateway.write(document)
        gateway.ask("reload")
        gateway.wait(on_west, "the other goes first", within=10 * PATIENCE)
        result = stream.stop()
    print(f"\npriorities exchanged: {result}")
    assert result.lost == 0, lab.drops()
