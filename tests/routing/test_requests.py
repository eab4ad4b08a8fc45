"""What pyroute2 encodes is what the decoder of the dumps reads."""

from dataclasses import replace
from ipaddress import IPv4Interface

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.netlink.recorded import KERNELS, recorded
from tests.routing.kernel_states import GROUPS, NEXTHOPS, link

from vpnagent.netlink.message import (
    HEADER,
    NLM_F_EXCL,
    NetlinkMessage,
    NetlinkRequest,
    attributes,
    messages,
)
from vpnagent.netlink.rtnetlink import (
    IFINFOMSG,
    IFLA_LINKINFO,
    NEXTHOP_GRP_TYPE_RES,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEXTHOP,
    RTM_SETLINK,
    address_row,
    link_row,
    nexthop_row,
)
from vpnagent.routing.actions import Add, Remove, Replace
from vpnagent.routing.objects import GROUP_IDS, NEXTHOP_IDS, Nexthop, NexthopGroup
from vpnagent.routing.requests import link_requests, nexthop_requests, nhmsg

A, B, C = NEXTHOPS
INDEX = 0x56000007
INSIDE = IPv4Interface("169.254.10.2/30")


def sent(*requests: NetlinkRequest) -> list[NetlinkMessage]:
    return list(messages(b"".join(request.data for request in requests)))


def test_an_interface_is_made_under_its_index_and_marked_in_the_same_breath() -> None:
    wanted = link("vpn-a", 101, address=INSIDE)

    made, marked, quiet, up, address = sent(*link_requests(Add(wanted), wanted, INDEX))

    row = link_row(made.body)
    assert (row.index, row.name, row.kind, row.if_id, row.mtu) == (INDEX, "vpn-a", "xfrm", 101, 1399)
    assert made.flags & NLM_F_EXCL
    assert link_row(marked.body).alias == wanted.alias
    assert {link_row(m.body).index for m in (marked, quiet, up)} == {INDEX}
    assert link_row(up.body).up
    assert address_row(address.body) == (INDEX, INSIDE)
    assert [m.type for m in (made, marked, address)] == [RTM_NEWLINK, RTM_SETLINK, RTM_NEWADDR]


def test_ipv6_is_kept_quiet_before_the_interface_is_up() -> None:
    wanted = link("vpn-a", 101)

    _, _, quiet, up = sent(*link_requests(Add(wanted), wanted, INDEX))

    families = attributes(attributes(quiet.body, IFINFOMSG.size)[26])
    assert attributes(families[10])[8] == b"\1"  # IFLA_AF_SPEC, AF_INET6, IFLA_INET6_ADDR_GEN_MODE: none
    assert link_row(up.body).up


def test_a_stand_in_is_made_without_parameters() -> None:
    wanted = link("vpn-a", 0)

    made = sent(*link_requests(Add(wanted), wanted, INDEX, kind="ifb"))[0]

    assert link_row(made.body).kind == "ifb"
    assert 2 not in attributes(attributes(made.body, IFINFOMSG.size)[IFLA_LINKINFO])


def test_an_address_is_added_before_its_predecessor_goes_and_again_after() -> None:
    was = link("vpn-a", 101, address=IPv4Interface("169.254.10.1/30"))
    wanted = replace(was, address=INSIDE)

    changes = sent(*link_requests(Replace(wanted, was), wanted, INDEX))

    assert [m.type for m in changes if m.type in (RTM_NEWADDR, RTM_DELADDR)] == [
        RTM_NEWADDR,
        RTM_DELADDR,
        RTM_NEWADDR,
    ]


def test_an_interface_goes_by_its_index_and_not_by_its_name() -> None:
    gone = link("vpn-a", 101)

    [message] = sent(*link_requests(Remove(gone), gone, INDEX))

    assert message.type == RTM_DELLINK
    assert (link_row(message.body).index, link_row(message.body).name) == (INDEX, "")


def test_a_nexthop_is_read_as_it_was_written() -> None:
    wanted = Nexthop(id=A, interface="vpn-a")

    [message] = sent(*nexthop_requests(Add(wanted), wanted, {"vpn-a": INDEX}))

    row = nexthop_row(message.body)
    assert (row.id, row.protocol, row.interface_index, row.members) == (A, 86, INDEX, ())


@given(st.dictionaries(st.sampled_from(NEXTHOPS), st.integers(1, 255), min_size=1))
def test_a_group_is_read_as_it_was_written(weights: dict[int, int]) -> None:
    wanted = NexthopGroup(id=GROUPS[0], members=tuple(sorted(weights.items())))

    [message] = sent(*nexthop_requests(Add(wanted), wanted, {}))

    row = nexthop_row(message.body)
    assert (row.id, row.protocol, row.interface_index, row.group_type) == (GROUPS[0], 86, 0, 0)
    assert tuple(sorted(row.members)) == wanted.members


def decoded(body: bytes) -> nhmsg:
    message = nhmsg(HEADER.pack(HEADER.size + len(body), RTM_NEWNEXTHOP, 0, 1, 0) + body)
    message.decode()
    return message


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_kernels_sent_is_decoded(kernel: str) -> None:
    by_id = {message.get_attr("NHA_ID"): message for message in map(decoded, recorded(kernel, "nexthops"))}

    group = by_id[GROUP_IDS[0]]
    assert group.get_attr("NHA_GROUP") == [(NEXTHOP_IDS[0], 1), (NEXTHOP_IDS[1], 2)]
    assert by_id[NEXTHOP_IDS[0]]["protocol"] == 86
    assert by_id[NEXTHOP_IDS[8]].get_attr("NHA_BLACKHOLE") is not None
    assert by_id[NEXTHOP_IDS[9]].get_attr("NHA_GATEWAY") == "192.0.2.2"


def test_a_resilient_group_is_decoded_as_it_was_encoded() -> None:
    message = nhmsg()
    message["header"] = {"type": RTM_NEWNEXTHOP, "flags": 0, "sequence_number": 0, "pid": 0}
    message["attrs"] = [
        ("NHA_ID", 9),
        ("NHA_GROUP", [(1, 256), (2, 1)]),
        ("NHA_GROUP_TYPE", NEXTHOP_GRP_TYPE_RES),
        ("NHA_RES_GROUP", {"attrs": [("NHA_RES_GROUP_BUCKETS", 32), ("NHA_RES_GROUP_IDLE_TIMER", 6000)]}),
    ]
    message.encode()

    again = nhmsg(bytes(message.data))
    again.decode()

    assert again.get_attr("NHA_GROUP") == [(1, 256), (2, 1)]
    assert again.get_attr("NHA_GROUP_TYPE") == NEXTHOP_GRP_TYPE_RES
    assert again.get_attr("NHA_RES_GROUP").get_attr("NHA_RES_GROUP_BUCKETS") == 32
