"""The prober over a real kernel, where its probes are hindered rather than the tunnels."""

import contextlib
import os
import subprocess
from collections.abc import Iterator

import pytest
from lab.namespace import ip
from tests.native.prober_process import (
    ControlDaemon,
    Group,
    configure,
    control_daemon,
    shared_targets,
    until,
)
from tests.native.two_tunnels import SHARED, TwoTunnels, two_tunnels

from vpnagent.config.values import OnPathDown
from vpnagent.policy.selection import PathState
from vpnagent.probe.actions import PathChanged
from vpnagent.probe.intent import Configure
from vpnagent.probe.protocol import FailedOver

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, raw sockets, nexthops")


@pytest.fixture
def world() -> Iterator[TwoTunnels]:
    with two_tunnels() as made:
        yield made


@contextlib.contextmanager
def running(world: TwoTunnels, wanted: Configure) -> Iterator[ControlDaemon]:
    with control_daemon(world, wanted=wanted) as daemon:
        until(lambda: states(daemon) == {PathState.UP}, within=10)
        yield daemon


def states(daemon: ControlDaemon) -> set[PathState]:
    return {path.state for path in daemon.report.paths} if daemon.report else set()


def told(daemon: ControlDaemon) -> set[str]:
    return {finding.code for finding in daemon.report.findings} if daemon.report else set()


def nft(namespace: str, rules: str) -> None:
    subprocess.run(["ip", "netns", "exec", namespace, "nft", "-f", "-"], input=rules, text=True, check=True)


def sysctl(namespace: str, setting: str) -> None:
    subprocess.run(["ip", "netns", "exec", namespace, "sysctl", "-qw", setting], check=True)


def test_an_output_chain_that_drops_the_probes_is_told_and_moves_nothing(world: TwoTunnels) -> None:
    with running(world, configure(targets=shared_targets())) as daemon:
        group = Group(world.gw)
        before = group()
        nft(
            world.gw,
            "table inet f { chain o { type filter hook output priority 0; icmp type echo-request drop; }; }",
        )
        until(lambda: states(daemon) == {PathState.UNPROBED}, within=3)
        assert told(daemon) == {"PathUnprobed"}
        assert daemon.report is not None
        assert daemon.report.send_errors > 0
        assert group() == before
        group.close()
        nft(world.gw, "delete table inet f")
        until(lambda: states(daemon) == {PathState.UP}, within=5)


@pytest.mark.slow("a limit is believed when it has been seen for a while")
def test_a_target_that_polices_echo_requests_is_told_and_asked_more_slowly(world: TwoTunnels) -> None:
    limit = "icmp type echo-request limit rate over 10/second burst 5 packets drop"
    nft(world.far, f"table ip lim {{ chain i {{ type filter hook input priority 0; {limit}; }}; }}")
    wanted = configure(targets=shared_targets(), on_path_down=OnPathDown.RESET)
    with running(world, wanted) as daemon:
        until(lambda: told(daemon) == {"ProbeTargetLimits"}, within=20)
        until(lambda: states(daemon) == {PathState.UP}, within=20)
        moved = len(daemon.of(FailedOver))
        assert daemon.report is not None
        sent = sum(path.sent for path in daemon.report.paths)
        until(lambda: daemon.report and sum(p.sent for p in daemon.report.paths) > sent + 60, within=20)
        assert len(daemon.of(FailedOver)) == moved
        assert states(daemon) == {PathState.UP}


RP_FILTER = "net.ipv4.conf.all.rp_filter"
FILTERS = [
    RP_FILTER,
    "chain i { type filter hook input priority 0; icmp type echo-reply drop; }",
    "chain i { type filter hook prerouting priority 0; fib saddr . iif oif missing drop; }",
]


@pytest.mark.parametrize("filter_", FILTERS)
def test_a_filter_of_replies_is_told_and_resets_and_moves_nothing(world: TwoTunnels, filter_: str) -> None:
    wanted = configure(targets=shared_targets(), on_path_down=OnPathDown.RESET)
    with running(world, wanted) as daemon:
        group = Group(world.gw)
        before, moved = group(), len(daemon.of(FailedOver))
        if "icmp type echo-reply drop" not in filter_:  # so that it finds no way back by either tunnel
            ip(f"route add unreachable {SHARED}/32 metric 1", namespace=world.gw)
        if filter_ is RP_FILTER:
            sysctl(world.gw, f"{RP_FILTER}=1")
        else:
            nft(world.gw, f"table inet f {{ {filter_}; }}")
        until(lambda: told(daemon) == {"ProbeRepliesFiltered"}, within=3)
        assert states(daemon) == {PathState.DEGRADED}
        assert daemon.report is not None
        sent = sum(path.sent for path in daemon.report.paths)
        until(lambda: daemon.report and sum(p.sent for p in daemon.report.paths) > sent + 60, within=20)
        assert told(daemon) == {"ProbeRepliesFiltered"}
        assert states(daemon) == {PathState.DEGRADED}
        assert group() == before
        assert len(daemon.of(FailedOver)) == moved
        assert PathState.DOWN not in {change.new for change in daemon.of(PathChanged)}
        group.close()
        if filter_ is RP_FILTER:
            sysctl(world.gw, f"{RP_FILTER}=0")
        else:
            nft(world.gw, "delete table inet f")
        until(lambda: states(daemon) == {PathState.UP}, within=5)
        assert not told(daemon)
