from datetime import UTC, datetime, timedelta

import click
import pytest
from tests.config_examples import make_config

from vpnagent.finding import Finding, Severity
from vpnagent.knowledge import Failover, Knowledge
from vpnagent.render import age, milliseconds, percent, rate, status_text
from vpnagent.status import rfc3339, status, worst_of

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (61, "1m01s"), (3600, "1h00m"), (90061, "1d01h"), (-5, "0s")],
)
def test_an_age_has_two_units(seconds: int, text: str) -> None:
    assert age((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == text


@pytest.mark.parametrize(
    ("bits", "text"), [(0, "0bps"), (999, "999bps"), (64000, "64kbps"), (2.5e8, "250Mbps"), (1e9, "1Gbps")]
)
def test_a_rate_is_decimal(bits: float, text: str) -> None:
    assert rate(bits) == text


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


def screen(known: Knowledge) -> str:
    return click.unstyle(status_text(status(known), NOW))


def test_what_is_wrong_stands_before_the_tables() -> None:
    known = Knowledge(config=make_config(), loaded_at=NOW.timestamp())
    finding = Finding(code="NoStandby", subject="", severity=Severity.WARNING, text="one left", hint="look")
    known.findings.update([finding], NOW.timestamp() - 61)
    lines = screen(known).splitlines()
    assert lines[1:3] == ["  warning: one left (since 1m01s)", "      -> look"]


def test_every_tunnel_and_every_route_has_a_line() -> None:
    text = screen(Knowledge(config=make_config(), loaded_at=NOW.timestamp()))
    for word in ("primary", "backup", "vpn-hz-1", "vpn-hz-2", "100.64.0.0/10", "172.16.0.0/16"):
        assert word in text


def test_the_last_failover_is_told() -> None:
    known = Knowledge(config=make_config(), loaded_at=NOW.timestamp())
    known.kernel.failovers["hangzhou"] = Failover(
        at=NOW.timestamp() - 5,
        old=("primary",),
        new=("backup",),
        reason="child-sa-gone",
        detection_seconds=0.0,
        switch_seconds=0.001,
    )
    told = "last failover 5s ago: primary -> backup (child-sa-gone), detected in 0ms, switched in 1ms"
    assert told in screen(known)


def test_the_last_failovers_moments_are_told_with_times_and_offsets() -> None:
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
    lines = screen(known).splitlines()
    begin = next(n for n, line in enumerate(lines) if "last failover" in line)
    assert lines[begin + 1 : begin + 3] == [
        "      11:59:54.700000 last heard (-300.00ms), 11:59:55.000000 verdict",
        "      11:59:55.000500 netlink sent (+0.50ms), 11:59:55.001000 netlink acknowledged (+1.00ms), "
        "11:59:55.012500 first reply on the new path (+12.50ms)",
    ]


def test_a_moment_that_nobody_knows_is_left_out() -> None:
    known = Knowledge(config=make_config(), loaded_at=NOW.timestamp())
    known.kernel.failovers["hangzhou"] = Failover(
        at=NOW.timestamp(), old=("a",), new=(), reason="link", detection_seconds=0.0, switch_seconds=0.0
    )
    [told] = status(known)["connections"][0]["last_failover"]["timeline"]
    assert told == {"at": "2026-11-23T12:00:00.000000Z", "offset_seconds": 0.0, "what": "verdict"}


@pytest.mark.parametrize(("seconds", "text"), [(None, "-"), (0.0123, "12.3ms"), (1.5, "1500ms")])
def test_a_round_trip_is_in_milliseconds(seconds: float | None, text: str) -> None:
    assert milliseconds(seconds) == text


@pytest.mark.parametrize(("ratio", "text"), [(None, "-"), (0.0, "0%"), (0.055, "5.5%")])
def test_a_loss_is_in_percent(ratio: float | None, text: str) -> None:
    assert percent(ratio) == text
