"""Packets go by the line or into the tunnels as metrics and verdicts say, and never anywhere else."""

from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import make_config

from vpnagent.config.file_models import MAX_ROUTE_METRIC
from vpnagent.config.values import Config, TunnelKey
from vpnagent.finding import Severity
from vpnagent.netlink.rtnetlink import MAIN_TABLE
from vpnagent.policy.desired import desired
from vpnagent.policy.lines import exits, given_way, not_used, unheard
from vpnagent.policy.selection import PathState, Verdict
from vpnagent.routing.objects import GUARD_METRIC, Diversion, KernelObjects, RouteKey

PRIMARY, BACKUP = TunnelKey("hangzhou", "primary"), TunnelKey("hangzhou", "backup")
OSS, VPC = IPv4Network("100.64.0.0/10"), IPv4Network("172.16.0.0/16")
LINE = "eth3"


def config_of(metric: int, *names: str) -> Config:
    return make_config(connection={"route_metric": metric, "exits": names})


def way(config: Config, objects: KernelObjects, line: int | None) -> str:
    """Return where the kernel sends packets for the cloud's services."""
    ours = [
        (metric, "tunnel" if route.group else "guard")
        for (p, metric), route in objects.routes.items()
        if p == OSS
    ]
    return min([*ours, *([] if line is None else [(line, LINE)])])[1]


verdicts_of = st.builds(
    Verdict, child_sa_installed=st.booleans(), path=st.sampled_from(PathState), drained=st.booleans()
)


@given(
    st.sampled_from([0, 1, 500, MAX_ROUTE_METRIC]),
    st.none() | st.sampled_from([20, 400, 600, GUARD_METRIC - 1]),
    verdicts_of,
    verdicts_of,
    st.booleans(),
)
def test_the_kernel_and_the_tunnels_decide_between_line_and_tunnels(
    ours: int, line: int | None, primary: Verdict, backup: Verdict, stood: bool
) -> None:
    if ours == line:
        return
    config, verdicts = config_of(ours, LINE), {PRIMARY: primary, BACKUP: backup}
    want = desired(config, verdicts).kernel
    have = want if stood else replace(want, routes={k: r for k, r in want.routes.items() if not r.group})
    beside: dict[str, set[RouteKey]] = {} if line is None else {LINE: {(OSS, line)}}

    made = given_way(config, want, unheard(config, verdicts, have), beside)

    usable = [v.path for v in (primary, backup) if v.child_sa_installed]
    dead = {PathState.DOWN} if stood else {PathState.DOWN, PathState.HOLD_DOWN, PathState.INIT}
    if line is not None and line < ours:
        expected = LINE
    elif not set(usable) <= dead:
        expected = "tunnel"
    elif line is not None:
        expected = LINE
    else:
        expected = "tunnel" if usable else "guard"  # fail static, or closed
    assert way(config, made, line) == expected
    assert made.routes[OSS, GUARD_METRIC] == want.routes[OSS, GUARD_METRIC]
    assert replace(made, routes={}) == replace(want, routes={})
    if line is None or line < ours:
        assert made == want, "nothing behind it to give way to: ours stays beneath"


def test_who_has_no_exits_has_no_line() -> None:
    config = config_of(0)
    verdicts = dict.fromkeys((PRIMARY, BACKUP), Verdict(child_sa_installed=True, path=PathState.DOWN))
    want = desired(config, verdicts).kernel

    assert exits(config) == {}
    assert unheard(config, verdicts, want) == {}


def test_a_metric_is_that_of_the_route_and_the_rest_is_as_without() -> None:
    up = dict.fromkeys((PRIMARY, BACKUP), Verdict(child_sa_installed=True))
    plain, made = (desired(config_of(metric), up).kernel for metric in (0, 500))

    assert {key for key, route in made.routes.items() if route.group} == {(OSS, 500), (VPC, 500)}
    assert {route.metric for route in made.routes.values()} == {500, GUARD_METRIC}
    assert replace(made, routes={}) == replace(plain, routes={})
    assert MAX_ROUTE_METRIC == GUARD_METRIC - 1


def test_the_route_of_a_line_goes_with_its_carrier_only_where_ours_waits_beneath() -> None:
    key = "net.ipv4.conf.bond0/7.ignore_routes_with_linkdown"
    assert desired(config_of(500, "bond0.7"), {}).kernel.sysctls[key].value == "1"
    assert (
        desired(config_of(0, "bond0.7"), {}).kernel.sysctls.keys()
        == desired(config_of(0), {}).kernel.sysctls.keys()
    )


@pytest.mark.parametrize(
    ("metric", "text"), [(500, "a better route by eth3"), (0, "the route by eth3 has them")]
)
def test_a_connection_that_is_not_used_is_told_once_for_a_line_and_is_no_fault(
    metric: int, text: str
) -> None:
    by_exit = {prefix: Diversion(prefix, "", LINE, MAIN_TABLE, meant=True) for prefix in (OSS, VPC)}
    [found] = not_used(config_of(metric, LINE), by_exit)

    assert (found.code, found.severity) == ("NotUsed", Severity.INFO)
    assert found.text == f"connection hangzhou is not used for 100.64.0.0/10, 172.16.0.0/16: {text}"
