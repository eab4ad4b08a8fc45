from dataclasses import replace

import pytest

from vpnagent.daemon.prober import failover_of, is_failover, story
from vpnagent.probe.actions import Cause
from vpnagent.probe.prober import say
from vpnagent.probe.protocol import FailedOver

TOLD = FailedOver(
    connection="hangzhou",
    old=("primary",),
    new=("backup",),
    cause=Cause.SILENT,
    tunnel=None,
    reason="nothing heard",
    last_heard=99.7,
    decided=100.0,
    netlink_sent=100.0001,
    netlink_acknowledged=100.0009,
    suppressed=0,
)


def test_a_failovers_monotonic_times_become_wall_time() -> None:
    failover = failover_of(TOLD, 1000.0)
    assert [moment.what for moment in failover.timeline()] == [
        "last heard",
        "verdict",
        "netlink sent",
        "netlink acknowledged",
    ]
    assert [moment.at for moment in failover.timeline()] == pytest.approx(
        [1099.7, 1100.0, 1100.0001, 1100.0009]
    )
    assert failover.detection_seconds == pytest.approx(0.3)
    assert failover.switch_seconds == pytest.approx(0.0009)


def test_a_tunnel_that_is_heard_for_the_first_time_takes_its_place_and_that_is_no_failover() -> None:
    assert is_failover(TOLD)
    assert not is_failover(replace(TOLD, old=()))
    assert not is_failover(replace(TOLD, cause=Cause.START))


def test_the_log_line_tells_the_whole_story() -> None:
    told = story(failover_of(TOLD, 0.0).with_first_reply(0.0125))
    assert told == (
        "last heard -0.300000, verdict 1970-01-01T00:01:40.000000Z, netlink sent +0.000100, "
        "netlink acknowledged +0.000900, first reply on the new path +0.012500"
    )


def test_without_a_daemon_the_prober_logs_the_same_moments(capfd: pytest.CaptureFixture[str]) -> None:
    say(TOLD)
    line = capfd.readouterr().err
    assert "last_heard=-0.300000 netlink_sent=+0.000100 netlink_acknowledged=+0.000900" in line
    assert " verdict=" in line
