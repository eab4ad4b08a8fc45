"""The status object: what it tells of what is known."""

from datetime import UTC, datetime

import pytest
from tests.config_examples import make_config, make_pair

from vpnagent.config.values import Device
from vpnagent.knowledge.knowledge import Failover, Knowledge
from vpnagent.status.document import rfc3339, status, worst_of
from vpnagent.status.report import refresh

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_times_are_rfc_3339_in_utc() -> None:
    assert rfc3339(0.25) == "1970-01-01T00:00:00.250Z"


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        (["up", "up"], "up"),
        (["up", "down"], "degraded"),
        (["degraded", "up"], "degraded"),
        (["down", "down"], "down"),
        ([], "down"),
    ],
)
def test_the_whole_is_up_only_when_every_part_is(states: list[str], whole: str) -> None:
    assert worst_of(states) == whole


def test_a_moment_that_nobody_knows_is_left_out() -> None:
    known = Knowledge(config=make_config(), loaded_at=NOW.timestamp())
    known.kernel.failovers["hangzhou"] = Failover(
        at=NOW.timestamp(), old=("a",), new=(), reason="link", detection_seconds=0.0, switch_seconds=0.0
    )
    [told] = status(known)["connections"][0]["last_failover"]["timeline"]
    assert told == {"at": "2026-11-23T12:00:00.000000Z", "offset_seconds": 0.0, "what": "verdict"}


def test_a_failovers_moments_have_times_and_offsets() -> None:
    known = Knowledge(config=make_config(), loaded_at=NOW.timestamp())
    known.kernel.failovers["hangzhou"] = Failover(
        at=NOW.timestamp() - 5,
        heard_at=NOW.timestamp() - 5.3,
        sent_at=NOW.timestamp() - 4.9995,
        acknowledged_at=NOW.timestamp() - 4.999,
        old=("primary",),
        new=("backup",),
        reason="silent",
        detection_seconds=0.3,
        switch_seconds=0.001,
        first_reply_seconds=0.0125,
    )
    told = status(known)["connections"][0]["last_failover"]["timeline"]
    assert [(moment["at"][11:], moment["offset_seconds"], moment["what"]) for moment in told] == [
        ("11:59:54.700000Z", -0.3, "last heard"),
        ("11:59:55.000000Z", 0.0, "verdict"),
        ("11:59:55.000500Z", 0.0005, "netlink sent"),
        ("11:59:55.001000Z", 0.001, "netlink acknowledged"),
        ("11:59:55.012500Z", 0.0125, "first reply on the new path"),
    ]


def test_a_gateway_that_stands_by_for_the_other_is_up_and_has_nothing_to_complain_of() -> None:
    elsewhere = {"device": Device.B}
    config = make_config(gateway={"pair": make_pair(Device.A)}, primary=elsewhere, backup=elsewhere)
    known = Knowledge(config=config, loaded_at=NOW.timestamp())
    known.kernel.missing = frozenset(config.connections[0].remote_networks)
    refresh(known, NOW.timestamp())
    said = status(known)
    assert said["state"] == said["connections"][0]["state"] == "up"
    assert {tunnel["state"] for tunnel in said["connections"][0]["tunnels"]} == {"standby-device"}
    assert {n["reason"] for n in said["connections"][0]["networks"]} == {
        "the other gateway of the pair has it"
    }
    assert said["warnings"] == []


def test_the_other_gateways_tunnel_does_not_keep_this_one_from_being_down() -> None:
    config = make_config(
        gateway={"pair": make_pair(Device.A)}, primary={"device": Device.A}, backup={"device": Device.B}
    )
    known = Knowledge(config=config, loaded_at=NOW.timestamp())
    refresh(known, NOW.timestamp())
    assert status(known)["state"] == "down"
