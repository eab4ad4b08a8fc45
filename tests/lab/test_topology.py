"""The lab proves itself, without the agent: both tunnels by hand, and a cloud that behaves as Alibaba's."""

from collections.abc import Iterator

import pytest
from lab.charon import connection
from lab.deadline import PATIENCE, eventually
from lab.observer import decoded
from lab.topology import (
    BACKUP,
    ECS_HOST,
    GATEWAY_LAN,
    PRIMARY,
    REMOTE_NETWORKS,
    SERVICE_HOST,
    TUNNELS,
)
from lab.world import Lab


@pytest.fixture
def tunnels(lab: Lab) -> Iterator[Lab]:
    """Both tunnels up, made by hand; the routes lead into the primary one."""
    for tunnel in TUNNELS:
        lab.gateway.ip(
            f"link add {tunnel.name} type xfrm if_id {tunnel.number}",
            f"address add {tunnel.inside_local}/30 dev {tunnel.name}",
            f"link set {tunnel.name} mtu 1399 up",
        )
    route_into(lab, PRIMARY.name)
    lab.gateway.sysctl(ip_forward=1)
    initiate(lab)
    lab.cloud.wait_returning(PRIMARY)
    yield lab
    lab.gateway.ip(*(f"link del {tunnel.name}" for tunnel in TUNNELS))
    lab.charon.forget()


def route_into(lab: Lab, interface: str) -> None:
    lab.gateway.ip(
        *(f"route replace {network} dev {interface} src {GATEWAY_LAN}" for network in REMOTE_NETWORKS)
    )


def initiate(lab: Lab) -> None:
    with lab.charon.session() as session:
        for tunnel in TUNNELS:
            message = connection(tunnel.name, local=tunnel.local, remote=tunnel.remote, if_id=tunnel.number)
            owners = [tunnel.local, tunnel.remote]
            session.load_shared({"id": tunnel.name, "type": "IKE", "data": tunnel.psk, "owners": owners})
            session.load_conn(message)
            list(session.initiate({"child": tunnel.name, "timeout": "-1"}))
    eventually(
        lambda: all(lab.charon.is_up(tunnel.name) and lab.cloud.is_up(tunnel) for tunnel in TUNNELS),
        "both tunnels are up at both ends",
        within=10 * PATIENCE,
    )


def test_traffic_crosses_the_tunnel_and_nothing_is_seen_in_clear(tunnels: Lab) -> None:
    for destination in (ECS_HOST, SERVICE_HOST, PRIMARY.inside_remote, BACKUP.inside_remote):
        tunnels.ping(destination, source="gw" if destination.startswith("169") else "idc")
    tunnels.ping("10.1.0.10", source="ecs")
    packets = tunnels.observer.packets()
    assert [p for p in packets if p.kind == "clear"] == []
    sealed = [p for p in packets if p.kind == "esp-in-udp"]
    assert {p.source for p in sealed} >= {PRIMARY.local, PRIMARY.remote}
    assert all(packet.haslayer("ESP") for packet in decoded(sealed, limit=4))


def test_charon_installs_no_route_for_a_policy_with_an_if_id(tunnels: Lab) -> None:
    assert tunnels.gateway.run("ip", "route", "show", "table", "220", check=False) == ""


def test_a_packet_in_clear_is_seen(lab: Lab) -> None:
    lab.gateway.run("ping", "-c", "1", "-W", "1", SERVICE_HOST, check=False)
    assert {leak.destination for leak in lab.observer.leaks()} == {SERVICE_HOST}


def test_the_cloud_moves_to_the_standby_on_delete_and_fails_back(tunnels: Lab) -> None:
    tunnels.charon.terminate(PRIMARY.name)
    tunnels.cloud.wait_returning(BACKUP)
    route_into(tunnels, BACKUP.name)
    tunnels.ping(ECS_HOST)
    initiate(tunnels)
    tunnels.cloud.wait_returning(PRIMARY)
    route_into(tunnels, PRIMARY.name)
    tunnels.ping(ECS_HOST)


def test_a_transit_router_returns_traffic_on_both(tunnels: Lab) -> None:
    tunnels.cloud.mode("transit-router")
    tunnels.cloud.wait_returning(PRIMARY, BACKUP)


def test_the_stream_tells_the_directions_apart(tunnels: Lab) -> None:
    stream = tunnels.stream()
    with stream.running():
        tunnels.faults.drop(PRIMARY, "esp", "outbound")
        tunnels.ping(PRIMARY.remote, source="gw")  # the path itself is alive
        tunnels.faults.clear()
        tunnels.ping(ECS_HOST)
        result = stream.stop()
    assert result.inbound.lost == 0, result
    assert result.outbound.lost > 0, result
    assert result.outbound.blackout > 0.2, result


def test_the_cloud_moves_to_the_standby_when_dpd_gives_up(tunnels: Lab) -> None:
    tunnels.faults.drop(PRIMARY)
    tunnels.cloud.wait_returning(BACKUP, within=30 + 10 * PATIENCE)
