"""Is it fine? The answer, and the problems with their age and what to do."""

from typing import Any

import pytest
from tests.screens import NOW, document

from vpnagent.screen.canvas import Canvas
from vpnagent.screen.headline import ALIKE, facts, headline, told
from vpnagent.screen.line import Tone, plain

Json = dict[str, Any]


def with_tunnels(whole: str, **tunnel: Any) -> Json:
    """The healthy document with both tunnels, and the whole, in another state."""
    status = document("healthy")
    status["state"] = whole
    for each in status["connections"][0]["tunnels"]:
        each.update(tunnel)
    return status


def warning(code: str, subject: str, severity: str = "critical") -> Json:
    return {
        "code": code,
        "subject": subject,
        "severity": severity,
        "text": f"{subject} is down",
        "hint": "look",
        "since": "2026-11-23T06:31:00Z",
    }


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


def test_a_tunnel_that_is_kept_in_silence_carries_nothing() -> None:
    path = {"state": "down", "rtt_seconds": None, "loss_ratio": 1.0, "target": "172.16.0.10"}
    tone, answer = headline(with_tunnels("degraded", state="down", path=path))
    assert (tone, "no traffic flows" in answer) == (Tone.BAD, True)


def test_before_the_first_negotiation_ended_it_starts() -> None:
    path = {"state": "init", "rtt_seconds": None, "loss_ratio": None, "target": "172.16.0.10"}
    _, answer = headline(with_tunnels("down", state="init", forwarding=False, path=path))
    assert answer == "idc-lab: down, starting, no traffic flows yet"


def test_a_tunnel_that_is_not_probed_yet_carries() -> None:
    path = {"state": "init", "rtt_seconds": None, "loss_ratio": None, "target": "172.16.0.10"}
    assert headline(with_tunnels("up", path=path))[0] is Tone.GOOD


def test_a_connection_without_traffic_is_named() -> None:
    status = document("outage")
    status["state"] = "degraded"
    status["connections"].append({**document("healthy")["connections"][0], "name": "beijing"})
    assert headline(status) == (Tone.BAD, "idc-lab: degraded, no traffic on hangzhou, 2 problems")


def test_what_is_not_up_is_named_where_nothing_is_the_matter() -> None:
    status = document("hold-down")
    status["warnings"] = []
    assert headline(status)[1] == "idc-lab: degraded, traffic flows, hangzhou/primary is in hold-down"


def test_without_a_connection_it_says_so() -> None:
    status = {**document("healthy"), "connections": [], "state": "down"}
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


def test_notes_are_no_problems() -> None:
    status = document("healthy")
    assert problems_at(status, Canvas()) == []
    assert plain(list(facts(status, NOW["healthy"], None))[1]) == "4 notes: vpnagent check"
