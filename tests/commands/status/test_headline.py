"""Is it fine? The answer, and what the whole rests on."""

from typing import Any

import pytest
from tools.screens import NOW, document

from vpnagent.commands.status.canvas import Tone, plain
from vpnagent.commands.status.overview import facts, headline
from vpnagent.record import Json


def with_tunnels(whole: str, **tunnel: Any) -> Json:
    """The healthy document with both tunnels, and the whole, in another state."""
    status = document("healthy")
    status["state"] = whole
    for each in status["connections"][0]["tunnels"]:
        each.update(tunnel)
    return status


def test_a_gateway_that_stands_by_is_fine_and_says_so() -> None:
    status = with_tunnels("up", state="standby-device", child_sa="none", path={"state": "init"})
    for route in status["routes"]:
        route.update(state="guarded", nexthops=[])
    assert headline(status) == (Tone.GOOD, "idc-lab: up, standing by for the other gateway")


@pytest.mark.parametrize(
    ("name", "tone", "answer"),
    [
        ("healthy", Tone.GOOD, "idc-lab: up, all is well"),
        ("failover", Tone.WARN, "idc-lab: degraded, traffic flows, 3 problems"),
        ("charon-down", Tone.WARN, "idc-lab: up, traffic flows, 1 problem"),
        ("outage", Tone.BAD, "idc-lab: down, no traffic flows, 2 problems"),
    ],
)
def test_the_first_line_answers(name: str, tone: Tone, answer: str) -> None:
    assert headline(document(name)) == (tone, answer)


def test_without_its_routes_nothing_is_well() -> None:
    status = document("healthy")
    for route in status["routes"]:
        route.update(nexthops=[], state="missing")
    assert headline(status) == (Tone.BAD, "idc-lab: up, no traffic flows")


def test_a_tunnel_that_is_kept_in_silence_carries_nothing() -> None:
    path = {"state": "down", "rtt_seconds": None, "loss_ratio": 1.0, "target": "172.16.0.10"}
    tone, answer = headline(with_tunnels("degraded", state="down", path=path))
    assert (tone, "no traffic flows" in answer) == (Tone.BAD, True)


def test_before_the_first_negotiation_ended_it_starts() -> None:
    path = {"state": "init", "rtt_seconds": None, "loss_ratio": None, "target": "172.16.0.10"}
    status = with_tunnels("down", state="init", forwarding=False, path=path)
    for route in status["routes"]:
        route.update(nexthops=[], state="guarded")
    _, answer = headline(status)
    assert answer == "idc-lab: down, starting, no traffic flows yet"


def test_a_tunnel_that_is_not_probed_yet_carries() -> None:
    path = {"state": "init", "rtt_seconds": None, "loss_ratio": None, "target": "172.16.0.10"}
    assert headline(with_tunnels("up", path=path))[0] is Tone.GOOD


def test_a_network_without_traffic_is_named() -> None:
    status = document("failover")
    status["routes"][0] = {"prefix": "100.64.0.0/10", "nexthops": [], "state": "guarded"}
    assert headline(status) == (Tone.BAD, "idc-lab: degraded, no traffic to 100.64.0.0/10, 3 problems")


def test_traffic_flows_when_another_connection_carries_the_network() -> None:
    status = document("failover")
    [lone] = document("outage")["connections"]
    status["connections"].append({**lone, "name": "beijing"})
    assert headline(status)[1] == "idc-lab: degraded, traffic flows, 3 problems"


def test_what_is_not_up_is_named_where_nothing_is_the_matter() -> None:
    status = document("hold-down")
    status["warnings"] = []
    assert headline(status)[1] == "idc-lab: degraded, traffic flows, hangzhou/primary is in hold-down"


def test_without_a_connection_it_says_so() -> None:
    status = {**document("healthy"), "connections": [], "routes": [], "state": "down"}
    assert headline(status)[1] == "idc-lab: down, no connection is configured"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"charon": {"connected": False, "version": None}}, "charon unreachable"),
        ({"prober": {"connected": False}}, "prober not connected"),
        ({"config": {"loaded_at": "2026-11-23T06:31:25Z", "error": "x"}}, "the file on disk is refused"),
    ],
)
def test_what_the_whole_rests_on_is_told_in_red_where_it_is_not_there(change: Json, said: str) -> None:
    told_of = next(facts({**document("healthy"), **change}, NOW["healthy"], None))
    [bad] = [span for span in told_of if span.tone is Tone.BAD]
    assert said in bad.text


def test_notes_are_counted() -> None:
    assert plain(list(facts(document("healthy"), NOW["healthy"], None))[1]) == "4 notes: vpnagent check"


def test_where_there_is_no_room_each_fact_has_a_line() -> None:
    assert [plain(told) for told in facts(document("healthy"), NOW["healthy"], 40)][:3] == [
        "charon 5.9.8",
        "prober connected",
        "configuration loaded 14s ago",
    ]


def test_a_network_that_is_not_carried_has_no_traffic_whatever_the_tunnels_say() -> None:
    status = document("healthy")
    status["connections"][0]["networks"][1].update(carried=False, reason="net.ipv4.conf.lan0.forwarding is 0")
    assert headline(status) == (Tone.BAD, "idc-lab: up, no traffic to 172.16.0.0/16")


def test_one_of_two_local_networks_that_is_not_carried_is_named() -> None:
    status = document("healthy")
    [connection] = status["connections"]
    lost = {"local": "10.2.0.0/16", "remote": "172.16.0.0/16", "carried": False, "reason": "no way"}
    connection["networks"] += [lost, {**lost, "remote": "100.64.0.0/10", "carried": True}]
    assert headline(status) == (Tone.BAD, "idc-lab: up, no traffic from 10.2.0.0/16 to 172.16.0.0/16")


def test_a_network_that_another_connection_carries_has_traffic() -> None:
    status = document("healthy")
    [connection] = status["connections"]
    other = [{**network, "carried": False} for network in connection["networks"]]
    status["connections"].append({**connection, "name": "beijing", "networks": other})
    assert headline(status)[0] is Tone.GOOD
