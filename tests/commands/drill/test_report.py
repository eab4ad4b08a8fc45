"""What a drill found is told in full, and so is what it did not look for."""

from typing import Any

import pytest
from tests.config_examples import make_config

from vpnagent.commands.drill.ledger import Measure
from vpnagent.commands.drill.report import (
    DrilledTunnels,
    Report,
    Standby,
    Stream,
    Switch,
    moments_since,
    subject_of,
)
from vpnagent.errors import ControlError
from vpnagent.knowledge.knowledge import Failover, Knowledge
from vpnagent.status.document import status

MEASURE = Measure(sent=200, lost=3, longest_gap=0.02, longest_pause=0.006, replies_on={7: 197})
THERE = Switch(
    title="there",
    asked=0.0,
    moved=0.05,
    old=("primary",),
    new=("backup",),
    sent=0.003,
    acknowledged=0.0045,
    first_reply=0.0123,
    measure=MEASURE,
)


def report(**changes: Any) -> Report:
    subject = DrilledTunnels(
        connection="hangzhou",
        tunnel="primary",
        active=("primary",),
        standbys=(Standby(name="backup", problems=()),),
    )
    values: dict[str, Any] = {
        "subject": subject,
        "forced": False,
        "stream": Stream(source="10.1.0.1", target="172.16.0.10", interval=0.005),
        "before": MEASURE,
        "switches": [THERE],
        "interfaces": {7: "vpn-hz-1"},
    }
    return Report(**values | changes)


def test_a_switch_is_told_with_its_moments_its_losses_and_where_the_replies_came_in() -> None:
    assert list(report().lines())[4:7] == [
        "  there: primary -> backup at 1970-01-01T00:00:00.000000Z",
        "    asked, netlink sent +3.0ms, nexthop group replaced +4.5ms, first reply on the new path +12.3ms, "
        "told by the daemon +50.0ms",
        "    200 sent, 3 lost, longest gap 20.0ms; replies on vpn-hz-1",
    ]


def test_what_was_not_rehearsed_is_said() -> None:
    told = "\n".join(report().lines())
    assert "it moves only when the cloud decides; replies arrived on vpn-hz-1" in told
    assert "a fault is noticed first" in told


def test_a_problem_makes_it_fail() -> None:
    failed = report(problems=["there: no answer"])
    assert list(failed.lines())[:2] == ["drill of hangzhou/primary: failed", "  problem: there: no answer"]
    assert failed.plain()["ok"] is False
    assert report().plain()["ok"] is True


def test_a_stream_that_paused_by_itself_says_so() -> None:
    late = Measure(sent=2, lost=0, longest_gap=0.0, longest_pause=0.3)
    assert "the stream itself paused for 300.0ms" in "\n".join(report(before=late).lines())


def test_a_refusal_tells_the_reason_and_nothing_that_was_not_done() -> None:
    refused = report(stream=None, before=None, switches=[], problems=["refused: no healthy standby"])
    assert list(refused.lines()) == [
        "drill of hangzhou/primary: failed",
        "  problem: refused: no healthy standby",
        "  standby backup: CHILD_SA installed, path up",
    ]


def failover_in_status(at: float) -> Any:
    known = Knowledge(config=make_config(), loaded_at=0.0)
    known.kernel.failovers["hangzhou"] = Failover(
        at=at,
        sent_at=at + 0.001,
        acknowledged_at=at + 0.002,
        old=("primary",),
        new=("backup",),
        reason="drain",
        detection_seconds=0.0,
        switch_seconds=0.002,
    )
    return status(known)["connections"][0]["last_failover"]


def test_the_daemons_times_count_from_when_it_was_asked() -> None:
    moments = moments_since(failover_in_status(1000.5), 1000.4)
    assert moments == {"sent": pytest.approx(0.101), "acknowledged": pytest.approx(0.102)}


def test_an_earlier_failover_is_not_ours() -> None:
    assert moments_since(failover_in_status(1000.0), 1000.4) == {}
    assert moments_since(None, 1000.4) == {}


# A drill is refused for the right reason.


def tunnel(name: str, **changes: Any) -> dict[str, Any]:
    path = {"state": changes.pop("path", "up"), "reason": changes.pop("reason", "")}
    healthy = {"name": name, "state": "up", "forwarding": False, "child_sa": "installed", "path": path}
    return healthy | changes


def status_of(*tunnels: dict[str, Any], prober: bool = True) -> dict[str, Any]:
    active = [t["name"] for t in tunnels if t["forwarding"]]
    connection = {"name": "hangzhou", "active": active, "tunnels": list(tunnels)}
    return {"prober": {"connected": prober}, "connections": [connection]}


PRIMARY = tunnel("primary", forwarding=True)


@pytest.mark.parametrize("name", [None, "primary", "hangzhou/primary"])
def test_with_a_healthy_standby_nothing_speaks_against_it(name: str | None) -> None:
    subject = subject_of(status_of(PRIMARY, tunnel("backup")), name)
    assert str(subject) == "hangzhou/primary"
    assert (subject.impossible(), subject.unwise()) == (None, None)


@pytest.mark.parametrize(
    ("standby", "why"),
    [
        (tunnel("backup", child_sa="none", state="down", path="down"), "backup: no CHILD_SA, path down"),
        (tunnel("backup", path="degraded", reason="loss 30 %"), "backup: path degraded (loss 30 %)"),
        (tunnel("backup", path="hold-down", state="hold-down"), "backup: path hold-down"),
        (tunnel("backup", state="drained"), "backup: drained"),
        (tunnel("backup", state="trial"), "backup: trial"),
    ],
)
def test_an_unhealthy_standby_is_told_with_its_reason(standby: dict[str, Any], why: str) -> None:
    subject = subject_of(status_of(PRIMARY, standby), None)
    assert subject.unwise() == f"no healthy standby for hangzhou/primary: {why}"
    assert subject.impossible() is None


def test_without_a_prober_no_path_is_known_to_work() -> None:
    unwise = subject_of(status_of(PRIMARY, tunnel("backup"), prober=False), None).unwise()
    assert unwise is not None
    assert "its path is not known, as no prober runs" in unwise


def test_one_healthy_standby_of_several_is_enough() -> None:
    subject = subject_of(status_of(PRIMARY, tunnel("b", path="down"), tunnel("c")), "primary")
    assert subject.unwise() is None
    assert [bool(standby.problems) for standby in subject.standbys] == [True, False]


def test_what_carries_nothing_cannot_be_rehearsed() -> None:
    impossible = subject_of(status_of(PRIMARY, tunnel("backup")), "backup").impossible()
    assert impossible == "hangzhou/backup carries no traffic: there is nothing to move off it"


def test_a_single_tunnel_has_nowhere_to_fail_over_to() -> None:
    impossible = subject_of(status_of(PRIMARY), "primary").impossible()
    assert impossible is not None
    assert "the only tunnel" in impossible


@pytest.mark.parametrize(
    ("tunnels", "name", "problem"),
    [
        (
            [PRIMARY, tunnel("backup")],
            "nobody",
            "'nobody' is not a tunnel: hangzhou/primary, ",
        ),
        ([PRIMARY, tunnel("b", forwarding=True)], None, "say which tunnel: hangzhou/primary, hangzhou/b"),
        ([tunnel("a"), tunnel("b")], None, "no tunnel with a standby carries traffic"),
    ],
)
def test_a_name_that_is_none_or_several_is_a_usage_error(
    tunnels: list[dict[str, Any]], name: str | None, problem: str
) -> None:
    with pytest.raises(ControlError, match=problem) as error:
        subject_of(status_of(*tunnels), name)
    assert error.value.exit_status == 2
