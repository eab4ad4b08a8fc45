"""A drill is refused for the right reason."""

from typing import Any

import pytest

from vpnagent.commands.drill.report import subject_of
from vpnagent.errors import ControlError


def tunnel(name: str, **changes: Any) -> dict[str, Any]:
    path = {"state": changes.pop("path", "up"), "reason": changes.pop("reason", "")}
    healthy = {"name": name, "state": "up", "forwarding": False, "child_sa": "installed", "path": path}
    return healthy | changes


def status(*tunnels: dict[str, Any], prober: bool = True) -> dict[str, Any]:
    active = [t["name"] for t in tunnels if t["forwarding"]]
    connection = {"name": "hangzhou", "active": active, "tunnels": list(tunnels)}
    return {"prober": {"connected": prober}, "connections": [connection]}


PRIMARY = tunnel("primary", forwarding=True)


@pytest.mark.parametrize("name", [None, "primary", "hangzhou/primary"])
def test_with_a_healthy_standby_nothing_speaks_against_it(name: str | None) -> None:
    subject = subject_of(status(PRIMARY, tunnel("backup")), name)
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
    subject = subject_of(status(PRIMARY, standby), None)
    assert subject.unwise() == f"no healthy standby for hangzhou/primary: {why}"
    assert subject.impossible() is None


def test_without_a_prober_no_path_is_known_to_work() -> None:
    unwise = subject_of(status(PRIMARY, tunnel("backup"), prober=False), None).unwise()
    assert unwise is not None
    assert "its path is not known, as no prober runs" in unwise


def test_one_healthy_standby_of_several_is_enough() -> None:
    subject = subject_of(status(PRIMARY, tunnel("b", path="down"), tunnel("c")), "primary")
    assert subject.unwise() is None
    assert [bool(standby.problems) for standby in subject.standbys] == [True, False]


def test_what_carries_nothing_cannot_be_rehearsed() -> None:
    impossible = subject_of(status(PRIMARY, tunnel("backup")), "backup").impossible()
    assert impossible == "hangzhou/backup carries no traffic: there is nothing to move off it"


def test_a_single_tunnel_has_nowhere_to_fail_over_to() -> None:
    impossible = subject_of(status(PRIMARY), "primary").impossible()
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
        subject_of(status(*tunnels), name)
    assert error.value.exit_status == 2
