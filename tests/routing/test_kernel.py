import pytest
from tests.routing.kernel_states import GROUPS, guard, link, route

from vpnagent.netlink.message import NetlinkMessage, NetlinkRequest, messages
from vpnagent.routing.actions import Add
from vpnagent.routing.fib import route_request
from vpnagent.routing.filter_table import requests as clamp_requests
from vpnagent.routing.kernel import concerns_us
from vpnagent.routing.objects import FilterTable, NexthopGroup, Route
from vpnagent.routing.requests import link_requests, nexthop_requests

GROUP = NexthopGroup(id=GROUPS[0], members=((1, 1),))
LINK = link("vpn-a", 1)
CLAMP = FilterTable(maximum=(("vpn-a", 1359),))


def event(request: NetlinkRequest) -> NetlinkMessage:
    """Return a request as the event by which the kernel tells of it: the messages are the same."""
    [message] = messages(request.data)
    return message


def of_protocol(wanted: Route, protocol: int) -> NetlinkMessage:
    message = event(route_request(Add(wanted), wanted))
    return message._replace(body=message.body[:5] + bytes([protocol]) + message.body[6:])


@pytest.mark.parametrize(
    "request_",
    [
        link_requests(Add(LINK), LINK, 7)[0],
        nexthop_requests(Add(GROUP), GROUP, {})[0],
        route_request(Add(route("100.64.0.0/10", GROUPS[0])), guard("100.64.0.0/10")),
        *clamp_requests(Add(CLAMP), CLAMP)[1:-1],
    ],
)
def test_what_is_ours_concerns_us(request_: NetlinkRequest) -> None:
    assert concerns_us(event(request_))


@pytest.mark.parametrize("protocol", [2, 4, 186])
def test_routes_of_others_do_not(protocol: int) -> None:
    assert not concerns_us(of_protocol(guard("100.64.0.0/10"), protocol))


def test_a_default_route_does_whosever_it_is() -> None:
    assert concerns_us(of_protocol(guard("0.0.0.0/0"), 16))


def test_tables_of_others_do_not() -> None:
    ours = event(clamp_requests(Add(CLAMP), CLAMP)[1])

    assert not concerns_us(ours._replace(body=ours.body.replace(b"vpnagent", b"firewall")))
