"""The main job: two tunnels up, 100.64.0.0/10 and the VPC routed, and the truth told."""

import time
from collections import Counter

from lab.deadline import PATIENCE, eventually
from lab.gateway import CONNECTION, LabGateway, tunnel
from lab.topology import BACKUP, ECS_HOST, IDC_HOST, PRIMARY, REMOTE_NETWORKS, SERVICE_HOST, TUNNELS
from lab.world import Lab


def test_both_tunnels_come_up_and_carry_traffic_both_ways(lab: Lab, gateway: LabGateway) -> None:
    gateway.start()
    status = gateway.wait_up()
    print(f"\nboth tunnels are up {time.monotonic() - gateway.started_at:.1f} s after the agent's start")
    for destination in (ECS_HOST, SERVICE_HOST):
        lab.ping(destination)
    lab.ping(IDC_HOST, source="ecs")
    assert lab.observer.leaks() == []
    sealed = Counter(p.path for p in lab.observer.packets() if p.kind == "esp-in-udp")
    assert sealed["net-a"] > 0
    [connection] = status["connections"]
    assert (connection["state"], connection["active"]) == ("up", ["primary"])
    assert {(r["prefix"], r["state"], *r["nexthops"]) for r in status["routes"]} == {
        (network, "installed", "vpn-primary") for network in REMOTE_NETWORKS
    }
    assert [w for w in status["warnings"] if w["severity"] != "info"] == []


def test_metrics_say_what_status_says(lab: Lab, gateway: LabGateway) -> None:
    gateway.start()
    gateway.wait_up()
    lab.ping(ECS_HOST)
    eventually(lambda: tunnel(gateway.status(), PRIMARY)["rx_packets"] >= 3, "counted", within=5 * PATIENCE)
    status, metrics = gateway.status(), gateway.metrics()
    assert metrics["vpnagent_charon_up"] == 1
    for each in TUNNELS:
        labels = f'{{connection="{CONNECTION}",tunnel="{each.name}"}}'
        seen = tunnel(status, each)
        assert metrics[f"vpnagent_tunnel_up{labels}"] == 1
        assert metrics[f"vpnagent_child_sa_installed{labels}"] == 1
        assert metrics[f"vpnagent_tunnel_forwarding{labels}"] == seen["forwarding"] == (each is PRIMARY)
        assert metrics[f"vpnagent_tunnel_receive_packets_total{labels}"] >= seen["rx_packets"]
    for network in REMOTE_NETWORKS:
        assert metrics[f'vpnagent_route_installed{{connection="{CONNECTION}",prefix="{network}"}}'] == 1


def test_a_peers_delete_moves_the_traffic_and_its_return_brings_it_back(
    lab: Lab, gateway: LabGateway
) -> None:
    gateway.start()
    gateway.wait_up()
    lab.cloud.load(PRIMARY, psk="changed-so-that-it-stays-down")
    lab.cloud.delete(PRIMARY)
    gateway.wait(lambda s: s["connections"][0]["active"] == ["backup"], "on the backup", within=5 * PATIENCE)
    lab.cloud.wait_returning(BACKUP)
    lab.ping(SERVICE_HOST)
    lab.cloud.load(PRIMARY)
    gateway.wait_up(within=60 * PATIENCE**0.5)
    gateway.wait(lambda s: s["connections"][0]["active"] == ["primary"], "back", within=5 * PATIENCE)
    lab.ping(SERVICE_HOST)
    [connection] = gateway.status()["connections"]
    assert connection["last_failover"]["to"] == ["primary"]
    assert lab.observer.leaks() == []


def test_with_no_tunnel_left_packets_are_refused_and_none_is_seen_in_clear(
    lab: Lab, gateway: LabGateway
) -> None:
    gateway.start()
    gateway.wait_up()
    for each in TUNNELS:
        lab.cloud.load(each, psk="changed-so-that-it-stays-down")
        lab.cloud.delete(each)
    gateway.wait(lambda s: s["connections"][0]["active"] == [], "no tunnel", within=10 * PATIENCE)
    said = lab.topology["idc"].run("ping", "-n", "-c", "2", "-W", "1", SERVICE_HOST, check=False)
    assert "Unreachable" in said
    assert {r["state"] for r in gateway.status()["routes"]} == {"guarded"}
    assert lab.observer.leaks() == []


def test_down_leaves_nothing_of_ours(lab: Lab, gateway: LabGateway) -> None:
    gateway.start()
    gateway.wait_up()
    gateway.down()
    assert lab.gateway.links("xfrm") == []
    assert lab.gateway.run("ip", "route", "show", "table", "all", "protocol", "86") == ""
    assert lab.gateway.run("ip", "nexthop") == ""
    assert lab.gateway.run("nft", "list", "tables") == ""
    with lab.charon.session() as session:
        assert session.get_conns()["conns"] == []
        assert session.get_shared().get("keys", []) == []
        assert list(session.list_sas()) == []
