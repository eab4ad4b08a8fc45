"""The screens of ``vpnagent status``: what is expected, as ./dev screens draws it, and laws."""

from typing import Any

import pytest
from tests.config_examples import make_config
from tools.screens import NOW, TEXTS, document, screen, texts

from vpnagent.commands.status.canvas import Canvas, Tone, plain
from vpnagent.commands.status.overview import ALIKE, facts, headline, overview, told
from vpnagent.knowledge.knowledge import Failover, Knowledge
from vpnagent.record import Json
from vpnagent.status.document import status


@pytest.mark.parametrize("name", sorted(path.name for path in texts()))
def test_the_screens_are_the_expected_ones(name: str) -> None:
    assert texts()[TEXTS / name] == (TEXTS / name).read_text(), "./dev screens draws them anew"


@pytest.mark.parametrize("name", sorted(NOW))
@pytest.mark.parametrize("width", range(60, 201, 5))
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    assert max(len(plain(told)) for told in screen(name, Canvas(width=width))) <= width


@pytest.mark.parametrize("name", sorted(NOW))
def test_without_unicode_a_screen_is_ascii(name: str) -> None:
    assert all(plain(told).isascii() for told in screen(name, Canvas(width=80, encoding="ascii")))


@pytest.mark.parametrize("name", sorted(NOW))
def test_the_documents_have_the_shape_that_the_daemon_tells(name: str) -> None:
    known = Knowledge(config=make_config(), loaded_at=0.0)
    known.kernel.failovers["hangzhou"] = Failover(
        at=0.0, old=("a",), new=(), reason="link", detection_seconds=0.0, switch_seconds=0.0
    )
    recorded, told = document(name), status(known)
    assert recorded.keys() == told.keys()
    mine, daemons = recorded["connections"][0], told["connections"][0]
    assert mine.keys() == daemons.keys()
    assert all(tunnel.keys() == daemons["tunnels"][0].keys() for tunnel in mine["tunnels"])
    if mine["last_failover"]:
        assert mine["last_failover"].keys() == daemons["last_failover"].keys()


def test_every_tunnel_and_every_route_has_a_line_before_anything_is_known() -> None:
    known = Knowledge(config=make_config(), loaded_at=NOW["healthy"].timestamp())
    text = "\n".join(plain(line) for line in overview(status(known), NOW["healthy"], Canvas()))
    for word in ("hangzhou/primary", "hangzhou/backup", "vpn-hz-1", "100.64.0.0/10", "172.16.0.0/16"):
        assert word in text


def test_what_is_not_used_says_so_and_who_carries_instead() -> None:
    status: dict[str, Any] = document("healthy")
    status["routes"][0] |= {"state": "unused", "by": "eth3"}
    status["connections"][0] |= {"active": [], "carried_by": ["beijing"]}
    text = "\n".join(plain(line) for line in overview(status, NOW["healthy"], Canvas(width=120)))
    assert "not used: a route by eth3" in text
    assert "by beijing" in text


def test_what_a_peer_said_moves_no_cursor() -> None:
    evil: dict[str, Any] = document("outage")
    evil["warnings"][0]["text"] = evil["connections"][0]["tunnels"][0]["reason"] = "id \x1b]0;pwned\x07\x9b2J"
    for line in overview(evil, NOW["outage"], Canvas(width=80)):
        assert plain(line).isprintable()


# Is it fine? The answer, and what the whole rests on.


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
        ("failover", Tone.WARN, "idc-lab: degraded, traffic flows, 1 problem"),
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
    assert headline(status) == (Tone.BAD, "idc-lab: degraded, no traffic to 100.64.0.0/10, 1 problem")


def test_traffic_flows_when_another_connection_carries_the_network() -> None:
    status = document("failover")
    [lone] = document("outage")["connections"]
    status["connections"].append({**lone, "name": "beijing"})
    assert headline(status)[1] == "idc-lab: degraded, traffic flows, 1 problem"


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


def warning(code: str, subject: str, severity: str = "critical") -> Json:
    return {
        "code": code,
        "subject": subject,
        "severity": severity,
        "text": f"{subject} is down",
        "hint": "look",
        "since": "2026-11-23T06:31:00Z",
    }


def problems_at(status: Json, canvas: Canvas) -> list[str]:
    return [plain(part) for part in told(status, NOW["healthy"], canvas)]


def test_a_problem_names_its_subject_once() -> None:
    status = document("healthy")
    silent = {**warning("PathDown", "hangzhou/backup"), "text": "path down: nothing heard for 0.3 s"}
    status["warnings"] = [warning("TunnelDown", "hangzhou/primary"), silent]
    assert problems_at(status, Canvas()) == [
        "critical  40s  hangzhou/primary is down (TunnelDown)",
        "               -> look",
        "critical  40s  hangzhou/backup: path down: nothing heard for 0.3 s (PathDown)",
        "               -> look",
    ]


def test_a_terminal_counts_those_that_are_alike_and_a_pipe_has_all() -> None:
    status = document("healthy")
    status["warnings"] = [warning("TunnelDown", f"c{n}/t") for n in range(16)]
    folded, all_ = problems_at(status, Canvas(width=80)), problems_at(status, Canvas())
    assert len(all_) == 2 * 16
    assert sum("is down" in told_of for told_of in folded) == ALIKE
    assert "13 more of TunnelDown: c3/t, c4/t" in "".join(folded)


def test_a_terminal_says_once_what_to_do_about_problems_in_a_row() -> None:
    status = document("healthy")
    other = {**warning("NoStandby", "hangzhou", "warning"), "hint": "look elsewhere"}
    status["warnings"] = [warning("TunnelDown", "a/t"), warning("TunnelDown", "b/t"), other]
    hints = [told_of.strip() for told_of in problems_at(status, Canvas(width=80)) if "->" in told_of]
    assert hints == ["-> look", "-> look elsewhere"]


def test_notes_are_no_problems() -> None:
    assert problems_at(document("healthy"), Canvas()) == []


def test_what_follows_from_a_problem_stands_beneath_it_and_there_is_one_action() -> None:
    lines = [plain(each) for each in told(document("failover"), NOW["failover"], Canvas(width=120))]
    assert [text.startswith("critical") for text in lines] == [True, *[False] * (len(lines) - 1)]
    assert sum("->" in text for text in lines) == 1
    assert {code for code in ("TunnelDown", "NoStandby", "TunnelLeftDown") if code in " ".join(lines)} == {
        "TunnelDown",
        "NoStandby",
        "TunnelLeftDown",
    }


def test_consequences_whose_cause_is_not_told_are_problems_themselves() -> None:
    status = document("failover")
    status["warnings"] = [w for w in status["warnings"] if w["code"] != "TunnelDown"]
    assert headline(status)[1].endswith("2 problems")


def test_the_status_of_a_daemon_that_knows_no_incidents_is_drawn() -> None:
    status = document("failover")
    del status["incidents"]
    assert headline(status)[1].endswith("3 problems")
