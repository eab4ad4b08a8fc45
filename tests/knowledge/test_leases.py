"""A drill's drain is its own, one a connection, and over when it is not renewed."""

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import make_config, make_tunnel

from vpnagent.config.values import TunnelKey
from vpnagent.errors import ControlError
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.knowledge.leases import LONGEST, Leases, Request, request_of, stream_of
from vpnagent.knowledge.tunnels import TunnelState
from vpnagent.policy.selection import Verdict
from vpnagent.status.report import findings, refresh

PRIMARY = TunnelKey("hangzhou", "primary")
BACKUP = TunnelKey("hangzhou", "backup")
OTHER = TunnelKey("beijing", "primary")


def ask(
    tunnel: TunnelKey = PRIMARY, *, holder: str = "a", seconds: float = 5, renewal: bool = False
) -> Request:
    return Request(tunnel=tunnel, holder=holder, seconds=seconds, renewal=renewal)


def test_a_lease_holds_until_its_time() -> None:
    leases = Leases()
    leases.take(ask(), 10.0)
    assert leases.expire(14.999) == []
    assert leases.tunnels == {PRIMARY}
    assert leases.expire(15.0) == [PRIMARY]
    assert leases.tunnels == frozenset()


def test_a_renewed_lease_holds_from_then_on() -> None:
    leases = Leases()
    assert leases.take(ask(), 0.0)
    assert not leases.take(ask(renewal=True), 4.0)
    assert leases.expire(8.9) == []
    assert leases.expire(9.0) == [PRIMARY]


def test_a_lease_that_ran_out_is_not_renewed() -> None:
    leases = Leases()
    leases.take(ask(), 0.0)
    leases.expire(5.0)
    with pytest.raises(ControlError, match="not renewed in time"):
        leases.take(ask(renewal=True), 5.0)
    assert leases.tunnels == frozenset()


def test_ending_it_twice_is_fine() -> None:
    leases = Leases()
    leases.take(ask(), 0.0)
    for _ in range(2):
        leases.take(ask(seconds=0), 1.0)
    assert leases.tunnels == frozenset()


@pytest.mark.parametrize(
    "request_", [ask(holder="b"), ask(BACKUP), ask(BACKUP, holder="b"), ask(holder="b", seconds=0)]
)
def test_a_connection_has_one_drill_at_a_time(request_: Request) -> None:
    leases = Leases()
    leases.take(ask(), 0.0)
    with pytest.raises(ControlError, match="another drill is under way: it has drained hangzhou/primary"):
        leases.take(request_, 1.0)
    leases.take(ask(OTHER, holder="b"), 1.0)
    assert leases.tunnels == {PRIMARY, OTHER}


requests = st.builds(
    Request,
    tunnel=st.sampled_from([PRIMARY, BACKUP, OTHER]),
    holder=st.sampled_from("ab"),
    seconds=st.floats(0, LONGEST),
    renewal=st.booleans(),
)


@given(st.lists(st.tuples(requests, st.floats(0, 10))))
def test_whatever_is_asked_one_tunnel_a_connection_and_never_longer_than_the_longest(
    asked: list[tuple[Request, float]],
) -> None:
    leases, now = Leases(), 0.0
    for request, pause in asked:
        now += pause
        leases.expire(now)
        try:
            leases.take(request, now)
        except ControlError:
            continue
        assert (request.tunnel in leases.tunnels) == (request.seconds > 0)
        connections = [tunnel.connection for tunnel in leases.tunnels]
        assert len(set(connections)) == len(connections)
    leases.expire(now + LONGEST)
    assert leases.tunnels == frozenset()


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"tunnel": "primary", "holder": "a"},
        {"tunnel": "primary", "holder": "", "seconds": 1},
        {"tunnel": "primary", "holder": "a", "seconds": -1},
        {"tunnel": "primary", "holder": "a", "seconds": LONGEST + 1},
        {"tunnel": "primary", "holder": "a", "seconds": float("nan")},
        {"tunnel": "primary", "holder": "a", "seconds": True},
        {"tunnel": "nobody", "holder": "a", "seconds": 1},
    ],
)
def test_a_request_that_means_nothing_is_a_usage_error(plain: dict[str, Any]) -> None:
    with pytest.raises(ControlError) as error:
        request_of(make_config(), plain)
    assert error.value.exit_status == 2


def test_only_addresses_that_are_routed_into_the_tunnels_can_be_measured_with() -> None:
    targets = (IPv4Address("169.254.10.1"), IPv4Address("172.16.0.10"))
    probe = replace(make_tunnel(1).probe, targets=targets)
    config = make_config(primary={"probe": probe}, backup={"probe": probe})
    assert stream_of(config, PRIMARY)["targets"] == ["172.16.0.10"]
    assert stream_of(config, PRIMARY)["source"] == "10.1.0.1"


def test_a_shared_target_serves_though_the_tunnels_are_asked_inside() -> None:
    shared = (IPv4Address("192.0.2.9"), IPv4Address("100.100.2.136"))
    config = make_config(connection={"shared_targets": shared})
    assert stream_of(config, PRIMARY)["targets"] == ["100.100.2.136"]


def known_with_a_drill() -> Knowledge:
    known = Knowledge(config=make_config(), loaded_at=0.0)
    known.charon.verdicts = dict.fromkeys((PRIMARY, BACKUP), Verdict(child_sa_installed=True))
    known.drills.take(ask(), 0.0)
    return known


def test_a_drill_drains_as_an_operator_does_but_is_no_operators_drain() -> None:
    known = known_with_a_drill()
    assert known.verdicts()[PRIMARY].drained
    assert known.drained == frozenset()
    refresh(known, 1.0)
    assert known.tunnels.views[PRIMARY].state is TunnelState.DRAINED
    assert {f.code for f in findings(known)} >= {"Drill"}
    assert "TunnelDrained" not in {f.code for f in findings(known)}


def test_when_it_ends_nothing_is_drained() -> None:
    known = known_with_a_drill()
    known.drills.expire(100.0)
    assert not known.verdicts()[PRIMARY].drained
