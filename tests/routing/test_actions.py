from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

import pytest
from tests.routing.kernel_states import GROUPS, NEXTHOPS, guard, link, route

from vpnagent.routing.actions import Add, KernelAction, Remove, Replace
from vpnagent.routing.objects import GUARD_METRIC, FilterTable, Nexthop, NexthopGroup, Sysctl

A, B, _ = NEXTHOPS
G, _ = GROUPS
LINK = link("vpn-a", 101, alias="vpnagent.hz.1", address=IPv4Interface("169.254.10.2/30"))
NEXTHOP = Nexthop(id=A, interface="vpn-a")
GROUP = NexthopGroup(id=G, members=((A, 1), (B, 3)))
ROUTE = route("100.64.0.0/10", G)
GUARD = guard("100.64.0.0/10")
CLAMP = FilterTable(maximum=(("vpn-a", 1359),))
SYSCTL = Sysctl(key="net.ipv4.ip_forward", value="1")


@pytest.mark.parametrize(
    ("action", "command"),
    [
        (
            Add(LINK),
            "ip link add name vpn-a mtu 1399 type xfrm if_id 0x65"
            " && ip link set dev vpn-a alias vpnagent.hz.1 addrgenmode none up"
            " && ip address add 169.254.10.2/30 dev vpn-a",
        ),
        (Replace(LINK, replace(LINK, up=False)), "ip link set dev vpn-a up"),
        (
            Replace(LINK, replace(LINK, mtu=1500, alias="x", address=IPv4Interface("169.254.10.1/30"))),
            "ip link set dev vpn-a mtu 1399 alias vpnagent.hz.1"
            " && ip address add 169.254.10.2/30 dev vpn-a && ip address delete 169.254.10.1/30 dev vpn-a",
        ),
        (Remove(LINK), "ip link delete dev vpn-a"),
        (Add(NEXTHOP), f"ip nexthop add id {A} dev vpn-a protocol 86"),
        (Add(GROUP), f"ip nexthop add id {G} group {A}/{B},3 protocol 86"),
        (Replace(GROUP, GROUP), f"ip nexthop replace id {G} group {A}/{B},3 protocol 86"),
        (Remove(GROUP), f"ip nexthop delete id {G}"),
        (Add(GUARD), f"ip route add unreachable 100.64.0.0/10 metric {GUARD_METRIC} protocol 86"),
        (
            Replace(replace(ROUTE, source=IPv4Address("10.1.0.1")), ROUTE),
            f"ip route replace 100.64.0.0/10 nhid {G} src 10.1.0.1 protocol 86",
        ),
        (Remove(ROUTE), f"ip route delete 100.64.0.0/10 nhid {G} protocol 86"),
        (Remove(GUARD), f"ip route delete unreachable 100.64.0.0/10 metric {GUARD_METRIC} protocol 86"),
        (Add(CLAMP), "nft add table inet vpnagent maxseg vpn-a 1359"),
        (Remove(CLAMP), "nft delete table inet vpnagent"),
        (Replace(SYSCTL, replace(SYSCTL, value="0")), "sysctl -w net.ipv4.ip_forward=1"),
    ],
)
def test_an_action_reads_as_the_command_that_does_it(action: KernelAction, command: str) -> None:
    assert str(action) == command


def test_a_sysctl_cannot_be_removed() -> None:
    with pytest.raises(ValueError, match="never removed"):
        str(Remove(SYSCTL))
