"""Any edit takes effect live: the rest is not touched, and a new SA is negotiated beside the old one."""

from collections.abc import Callable
from typing import Any

from lab.deadline import PATIENCE, eventually
from lab.gateway import LabGateway, Status, is_up, tunnel
from lab.topology import BACKUP, PRIMARY, TUNNELS, LabTunnel
from lab.world import Lab

NEW = {"encryption": "aes256", "integrity": "sha256"}
NEW_IKE, NEW_ESP = "aes256-sha256-modp1024", "aes256-sha256-modp1024"


def identities(lab: Lab, name: str) -> frozenset[bytes]:
    """The IKE_SAs of a tunnel."""
    return lab.charon.ike_sas(f"vpnagent.hangzhou.{name}")


def start(gateway: LabGateway, *, without: LabTunnel | None = None) -> dict[str, Any]:
    """Start an agent; its document, to be changed."""
    document = gateway.document()
    tunnels = document["connections"][0]["tunnels"]
    if without is not None:
        tunnels.pop(TUNNELS.index(without))
    gateway.write(document)
    gateway.start()
    gateway.wait_up()
    return document


def reload(
    gateway: LabGateway, document: dict[str, Any], wanted: Callable[[Status], object], what: str
) -> None:
    gateway.write(document)
    assert gateway.ask("reload")["changed"]
    gateway.wait(wanted, what, within=20 * PATIENCE)


def test_a_second_tunnel_is_added_and_removed_without_loss_on_the_first(
    lab: Lab, gateway: LabGateway
) -> None:
    document = start(gateway, without=BACKUP)
    first = identities(lab, "primary")
    tunnels = document["connections"][0]["tunnels"]
    stream = lab.stream()
    with stream.running():
        tunnels.append(gateway.document()["connections"][0]["tunnels"][1])
        reload(gateway, document, lambda s: is_up(s) and tunnel(s, BACKUP), "both are up")
        tunnels.pop()
        reload(gateway, document, lambda s: len(s["connections"][0]["tunnels"]) == 1, "one is left")
        eventually(lambda: not identities(lab, "backup"), "no SA of it is left", within=10 * PATIENCE)
        eventually(lambda: len(lab.gateway.links("xfrm")) == 1, "nor its interface", within=10 * PATIENCE)
        result = stream.stop()
    print(f"\nadded and removed: {result}")
    assert result.lost == 0, lab.drops()
    assert identities(lab, "primary") == first


def test_changed_proposals_are_negotiated_beside_the_old_ones(lab: Lab, gateway: LabGateway) -> None:
    document = start(gateway)
    before = {each: identities(lab, each.name) for each in TUNNELS}
    [connection] = document["connections"]
    connection |= {"ike": NEW, "esp": NEW}
    failover = last_failover(gateway)  # of the start: the first that was up
    stream = lab.stream()
    with stream.running():
        # The cloud's ends are still as they were: refused, and nothing is lost by it.
        reload(gateway, document, in_waiting, "it is tried and told")
        for each in (BACKUP, PRIMARY):
            lab.cloud.load(each, changes={"proposals": [NEW_IKE]}, child={"esp_proposals": [NEW_ESP]})
            eventually(
                lambda each=each: before[each].isdisjoint(identities(lab, each.name)),  # type: ignore[misc]
                f"{each.name} has new SAs only",
                within=60 * PATIENCE**0.5,
            )
        gateway.wait(lambda s: is_up(s) and not in_waiting(s), "it is over", within=10 * PATIENCE)
        result = stream.stop()
    print(f"\nproposals changed: {result}")
    assert result.outbound.lost == 0, lab.drops()
    # The peer sends into the new SA some milliseconds before its answer has reached us.
    assert result.inbound.blackout <= 0.5 * PATIENCE**0.5, result
    assert last_failover(gateway) == failover


def test_crypto_is_changed_tunnel_by_tunnel_as_the_cloud_does(lab: Lab, gateway: LabGateway) -> None:
    """The way of the hint "on both ends": one tunnel in the cloud and here, then the other."""
    document = start(gateway)
    [connection] = document["connections"]
    failover = last_failover(gateway)
    better = {"ike": {**NEW, "dh_group": 14}, "esp": {**NEW, "pfs_group": 14}}
    stream = lab.stream()
    with stream.running():
        for each in (BACKUP, PRIMARY):
            other = PRIMARY if each is BACKUP else BACKUP
            before = {one: identities(lab, one.name) for one in TUNNELS}
            proposal = "aes256-sha256-modp2048"
            lab.cloud.load(each, changes={"proposals": [proposal]}, child={"esp_proposals": [proposal]})
            connection["tunnels"][TUNNELS.index(each)] |= better
            reload(
                gateway,
                document,
                lambda s, each=each, before=before: (  # type: ignore[misc]
                    is_up(s) and before[each].isdisjoint(identities(lab, each.name))
                ),
                f"{each.name} has SAs of the new settings",
            )
            assert identities(lab, other.name) == before[other], "and the other tunnel was not touched"
        # What both have may stand once: nothing is negotiated for it.
        before = {one: identities(lab, one.name) for one in TUNNELS}
        connection |= better
        for section in connection["tunnels"]:
            del section["ike"], section["esp"]
        reload(gateway, document, is_up, "it stands in the connection")
        result = stream.stop()
    print(f"\ncrypto changed tunnel by tunnel: {result}")
    assert result.outbound.lost == 0, lab.drops()
    assert result.inbound.blackout <= 0.5 * PATIENCE**0.5, result
    assert {one: identities(lab, one.name) for one in TUNNELS} == before
    assert last_failover(gateway) == failover


def last_failover(gateway: LabGateway) -> str:
    """Return when it was; its first reply may still be under way. Empty: there was none."""
    found = gateway.status()["connections"][0]["last_failover"]
    return str(found["at"]) if found else ""


def test_proposals_of_ikev1_are_changed_while_the_other_tunnel_carries(lab: Lab, gateway: LabGateway) -> None:
    document = gateway.document()
    [connection] = document["connections"]
    connection["ike"] = {"version": 1}
    for each in TUNNELS:
        lab.cloud.load(each, changes={"version": "1"})
    gateway.write(document)
    gateway.start()
    gateway.wait_up()
    before = {each: identities(lab, each.name) for each in TUNNELS}
    connection |= {"ike": {"version": 1, **NEW}, "esp": NEW}
    stream = lab.stream()
    with stream.running():
        for each in TUNNELS:
            changes = {"version": "1", "proposals": [NEW_IKE]}
            lab.cloud.load(each, changes=changes, child={"esp_proposals": [NEW_ESP]})
        reload(
            gateway,
            document,
            lambda s: is_up(s) and all(before[e].isdisjoint(identities(lab, e.name)) for e in TUNNELS),
            "both tunnels have new SAs",
        )
        result = stream.stop()
    print(f"\nproposals of IKEv1 changed: {result}")
    assert result.outbound.lost == 0, lab.drops()


def in_waiting(status: Status) -> bool:
    return "SettingsNotInForce" in {warning["code"] for warning in status["warnings"]}


def test_a_new_key_is_used_tunnel_by_tunnel(lab: Lab, gateway: LabGateway) -> None:
    start(gateway)
    before = {each: identities(lab, each.name) for each in TUNNELS}
    for each in TUNNELS:
        lab.cloud.load(each, psk=f"new-{each.psk}")
        gateway.write_key(each, f"new-{each.psk}")
    stream = lab.stream()
    with stream.running():
        assert gateway.ask("reload")["changed"]
        gateway.wait(
            lambda s: is_up(s) and all(before[e].isdisjoint(identities(lab, e.name)) for e in TUNNELS),
            "both tunnels have SAs of the new key",
            within=30 * PATIENCE,
        )
        result = stream.stop()
    print(f"\nkeys changed: {result}")
    assert result.outbound.lost == 0, lab.drops()


def test_whatever_is_renamed_the_traffic_stays_where_it_is(lab: Lab, gateway: LabGateway) -> None:
    document = start(gateway)
    before = {each: identities(lab, each.name) for each in TUNNELS}
    [connection] = document["connections"]
    connection["name"] = "beijing"
    for row, name in zip(connection["tunnels"], ("first", "second"), strict=True):
        row["name"] = name
    stream = lab.stream()
    with stream.running():
        reload(gateway, document, lambda s: is_up(s) and names(s) == ["first", "second"], "all is renamed")
        lab.charon.rekey("vpnagent.hangzhou.primary", "child")
        gateway.kill()
        gateway.start()
        status = gateway.wait(is_up, "a successor knows them too", within=20 * PATIENCE)
        result = stream.stop()
    print(f"\nall renamed: {result}")
    assert result.lost == 0, lab.drops()
    assert status["connections"][0]["last_failover"] is None
    assert {each: identities(lab, each.name) for each in TUNNELS} == before
    assert not lab.charon.ike_sas("vpnagent.beijing.first")
    lab.faults.drop(PRIMARY, "esp")
    gateway.wait(lambda s: s["connections"][0]["active"] == ["second"], "it is left", within=10 * PATIENCE)
    eventually(
        lambda: not identities(lab, "primary"), "and reset under its former name", within=30 * PATIENCE
    )


def names(status: Status) -> list[str]:
    return [each["name"] for each in status["connections"][0]["tunnels"]]


def test_a_change_that_nobody_confirms_is_taken_back(lab: Lab, gateway: LabGateway) -> None:
    document = start(gateway)
    document["connections"][0]["tunnels"].pop()
    gateway.write(document)
    gateway.ask("reload", confirm_within=3.0)
    gateway.wait(lambda s: names(s) == ["primary"], "the change is made", within=5 * PATIENCE)
    status = gateway.wait(lambda s: is_up(s) and len(names(s)) == 2, "taken back", within=20 * PATIENCE)
    assert "not confirmed" in status["config"]["error"]
    assert identities(lab, PRIMARY.name)
