"""A route is read as it was written, and whosever rule it is, it can be read."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.routing.kernel_states import GROUPS, by_uplink, guard, lanes, route

from vpnagent.netlink.message import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NetlinkMessage,
    NetlinkRequest,
    attribute,
    messages,
)
from vpnagent.netlink.rtnetlink import MAIN_TABLE, RTA_TABLE, RTM_DELROUTE, RTM_NEWROUTE, RTM_NEWRULE, RTMSG
from vpnagent.routing.actions import Add, Remove, Replace
from vpnagent.routing.fib import FRA_SRC, fib_rule, lane_of, lane_requests, lane_rule, lane_way, route_request
from vpnagent.routing.objects import Lane, Route
from vpnagent.routing.observe import our_route

addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
networks = st.tuples(addresses, st.integers(0, 32)).map(lambda a: IPv4Network(a, strict=False))
routes = st.builds(
    Route,
    prefix=networks,
    group=st.sampled_from([None, *GROUPS]),
    source=st.one_of(st.none(), addresses.filter(int)),
)


def sent(*requests: NetlinkRequest) -> list[NetlinkMessage]:
    return list(messages(b"".join(request.data for request in requests)))


@given(routes)
def test_a_route_is_read_as_it_was_written(wanted: Route) -> None:
    [message] = sent(route_request(Add(wanted), wanted))
    in_main_table = attribute(RTA_TABLE, MAIN_TABLE.to_bytes(4, "little"))

    assert our_route(message.body + in_main_table) == (wanted, 0)


@pytest.mark.parametrize("gateway", ["198.51.100.1", None])
def test_a_route_by_an_uplink_is_read_as_it_was_written(gateway: str | None) -> None:
    wanted = by_uplink("203.0.113.2/32", gateway=gateway)
    in_main_table = attribute(RTA_TABLE, MAIN_TABLE.to_bytes(4, "little"))

    [message] = sent(route_request(Add(wanted), wanted, {"eth1": 7}))

    assert our_route(message.body + in_main_table) == (replace(wanted, interface=""), 7)


def test_an_addition_never_replaces_and_a_replacement_never_adds() -> None:
    wanted = route("100.64.0.0/10", GROUPS[0])

    [added] = sent(route_request(Add(wanted), wanted))
    [replaced] = sent(route_request(Replace(wanted, wanted), wanted))

    assert added.flags & (NLM_F_CREATE | NLM_F_EXCL | NLM_F_REPLACE) == NLM_F_CREATE | NLM_F_EXCL
    assert replaced.flags & (NLM_F_CREATE | NLM_F_EXCL | NLM_F_REPLACE) == NLM_F_REPLACE


@pytest.mark.parametrize(
    ("gone", "kind"),
    [(route("100.64.0.0/10", GROUPS[0]), 1), (by_uplink("203.0.113.2/32"), 1), (guard("100.64.0.0/10"), 7)],
    ids=["route", "by an uplink", "guard"],
)
def test_a_removal_names_owner_and_type(gone: Route, kind: int) -> None:
    [message] = sent(route_request(Remove(gone), gone))

    assert message.type == RTM_DELROUTE
    assert RTMSG.unpack_from(message.body)[5:8] == (86, 255, kind)


@given(lanes())
def test_a_lane_is_read_as_it_was_written(wanted: list[Lane]) -> None:
    for lane in wanted:
        made = sent(*lane_requests(Add(lane), lane, {"eth1": 7, "eth2": 8}))
        rules = [rule for m in made if m.type == RTM_NEWRULE and (rule := lane_rule(m.body))]
        ways = [way for m in made if m.type == RTM_NEWROUTE and (way := lane_way(m.body))]

        assert lane_of(lane.priority, rules, ways, {7: "eth1", 8: "eth2"}) == lane


def test_a_rule_with_host_bits_is_read_as_the_kernel_takes_it() -> None:
    """``ip rule add from 10.1.0.9/24``: the kernel tells it back like that."""
    rule = fib_rule(RTMSG.pack(2, 0, 24, 0, 254, 0, 0, 1, 0) + attribute(FRA_SRC, bytes([10, 1, 0, 9])))

    assert rule is not None
    assert rule.source == IPv4Network("10.1.0.0/24")
