"""The netlink requests for interfaces, addresses and nexthops, encoded by pyroute2's message classes. No I/O.

The requests of one action are meant for one system call, so that no crash leaves half of it: an interface
is ours by its alias, which the kernel does not take at creation (checked on 6.1 and 6.18), so it is created
under an index of our choice and gets its alias by that index.

pyroute2 takes 130 ms to import and 9 MiB: import this module where something is to be made. A daemon that
finds all in place never needs it. The nexthop message, which pyroute2 0.9 lacks, is in its own terms: named,
ordered and commented as its classes, to be sent upstream.
"""

import errno
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Interface
from typing import Any

from pyroute2.netlink import nla, nla_base_string, nlmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from vpnagent.netlink.message import (
    AF_INET,
    AF_UNSPEC,
    GONE,
    NLA_F_NESTED,
    NLM_F_ACK,
    NLM_F_REQUEST,
    NetlinkRequest,
)
from vpnagent.netlink.rtnetlink import (
    IFF_UP,
    NEXTHOP_GRP,
    PROTOCOL,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEXTHOP,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEXTHOP,
    RTM_SETLINK,
)
from vpnagent.routing.actions import Add, Remove, Replace
from vpnagent.routing.fib import CHANGE, MAKE
from vpnagent.routing.objects import Nexthop, NexthopGroup, XfrmLink

IN6_ADDR_GEN_MODE_NONE = 1


def link_requests(
    action: Add | Replace | Remove, link: XfrmLink, index: int, *, kind: str = "xfrm"
) -> list[NetlinkRequest]:
    """Return the requests for an interface; ``index`` is the one it has or, for Add, shall have."""
    match action:
        case Add():
            return [_new_link(link, index, kind), *_settings(link, index), *_address(link, index)]
        case Replace(was=XfrmLink() as was):
            return [
                _encoded(ifinfmsg(), RTM_SETLINK, NLM_F_ACK, {"index": index}, [("IFLA_MTU", link.mtu)]),
                *_settings(link, index),
                *_change_address(link, was, index),
            ]
        case _:
            return [_encoded(ifinfmsg(), RTM_DELLINK, NLM_F_ACK, {"index": index}, [], harmless=GONE)]


def nexthop_requests(
    action: Add | Replace | Remove, nexthop: Nexthop | NexthopGroup, indexes: Mapping[str, int]
) -> list[NetlinkRequest]:
    """Return the request for a nexthop or a group; ``indexes`` tells the interfaces'."""
    attributes: list[tuple[str, Any]] = [("NHA_ID", nexthop.id)]
    if isinstance(action, Remove):
        return [_encoded(nhmsg(), RTM_DELNEXTHOP, NLM_F_ACK, {}, attributes, harmless=GONE)]
    flags = MAKE if isinstance(action, Add) else CHANGE
    if isinstance(nexthop, NexthopGroup):
        family = AF_UNSPEC
        attributes.append(("NHA_GROUP", list(nexthop.members)))
    else:
        family = AF_INET
        attributes.append(("NHA_OIF", indexes[nexthop.interface]))
    return [_encoded(nhmsg(), RTM_NEWNEXTHOP, flags, {"family": family, "protocol": PROTOCOL}, attributes)]


def _new_link(link: XfrmLink, index: int, kind: str) -> NetlinkRequest:
    # No parent (IFLA_XFRM_LINK): the outer packets are routed as any others.
    data = ("IFLA_INFO_DATA", {"attrs": [("IFLA_XFRM_IF_ID", link.if_id)]})
    attributes = [
        ("IFLA_IFNAME", link.name),
        ("IFLA_MTU", link.mtu),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", kind), *([data] if kind == "xfrm" else [])]}),
    ]
    return _encoded(ifinfmsg(), RTM_NEWLINK, MAKE, {"index": index}, attributes)


def _settings(link: XfrmLink, index: int) -> list[NetlinkRequest]:
    """Return alias, no IPv6 addresses of its own accord, up.

    An interface that comes up with IPv6 sends router solicitations, into the tunnel.
    """
    no_ipv6 = {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", IN6_ADDR_GEN_MODE_NONE)]})]}
    without_ipv6 = frozenset({errno.EAFNOSUPPORT, errno.EOPNOTSUPP})
    up = {"index": index, "flags": IFF_UP, "change": IFF_UP}
    return [
        _encoded(ifinfmsg(), RTM_SETLINK, NLM_F_ACK, {"index": index}, [("IFLA_IFALIAS", link.alias)]),
        _encoded(
            ifinfmsg(),
            RTM_SETLINK,
            NLM_F_ACK,
            {"index": index},
            [("IFLA_AF_SPEC", no_ipv6)],
            harmless=without_ipv6,
        ),
        _encoded(ifinfmsg(), RTM_SETLINK, NLM_F_ACK, up, []),
    ]


def _address(link: XfrmLink, index: int) -> list[NetlinkRequest]:
    if link.address is None:
        return []
    return [_address_request(RTM_NEWADDR, MAKE, link.address, index, frozenset({errno.EEXIST}))]


def _change_address(link: XfrmLink, was: XfrmLink, index: int) -> list[NetlinkRequest]:
    """Add before removing; and again, as the kernel removes an address with the primary of its network."""
    if link.address == was.address:
        return []
    if was.address is None:
        return _address(link, index)
    removal = _address_request(RTM_DELADDR, NLM_F_ACK, was.address, index, GONE)
    return [*_address(link, index), removal, *_address(link, index)]


def _address_request(
    kind: int, flags: int, address: IPv4Interface, index: int, harmless: frozenset[int]
) -> NetlinkRequest:
    fields = {"family": AF_INET, "prefixlen": address.network.prefixlen, "index": index}
    local = str(address.ip)
    attributes = [("IFA_LOCAL", local), ("IFA_ADDRESS", local)]
    return _encoded(ifaddrmsg(), kind, flags, fields, attributes, harmless=harmless)


def _encoded(
    built: nlmsg,
    kind: int,
    flags: int,
    fields: Mapping[str, int],
    attributes: Sequence[tuple[str, Any]],
    *,
    harmless: frozenset[int] = frozenset(),
) -> NetlinkRequest:
    built["header"] = {"type": kind, "flags": flags | NLM_F_REQUEST, "sequence_number": 0, "pid": 0}
    for name, value in fields.items():
        built[name] = value
    built["attrs"] = list(attributes)
    built.encode()
    return NetlinkRequest(bytes(built.data), harmless)


class nhmsg(nlmsg):  # type: ignore[misc]  # noqa: N801 - pyroute2's way: untyped, the kernel's names
    """A nexthop object or a group of them.

    C structure::

        struct nhmsg {
            unsigned char  nh_family;
            unsigned char  nh_scope;     /* return only */
            unsigned char  nh_protocol;  /* routing protocol that installed it */
            unsigned char  resvd;
            unsigned int   nh_flags;     /* RTNH_F flags */
        };
    """

    prefix = "NHA_"

    fields = (
        ("family", "B"),
        ("scope", "B"),
        ("protocol", "B"),
        ("resvd", "B"),
        ("flags", "I"),
    )

    nla_map = (
        ("NHA_UNSPEC", "none"),
        ("NHA_ID", "uint32"),
        ("NHA_GROUP", "nexthop_grp_list"),
        ("NHA_GROUP_TYPE", "uint16"),
        ("NHA_BLACKHOLE", "flag"),
        ("NHA_OIF", "uint32"),
        ("NHA_GATEWAY", "target"),
        ("NHA_ENCAP_TYPE", "uint16"),
        ("NHA_ENCAP", "hex"),
        ("NHA_GROUPS", "flag"),
        ("NHA_MASTER", "uint32"),
        ("NHA_FDB", "flag"),
        ("NHA_RES_GROUP", "nexthop_res_group"),
        ("NHA_RES_BUCKET", "nexthop_res_bucket"),
        ("NHA_OP_FLAGS", "uint32"),
        ("NHA_GROUP_STATS", "hex"),
        ("NHA_HW_STATS_ENABLE", "uint32"),
        ("NHA_HW_STATS_USED", "uint32"),
    )

    class nexthop_grp_list(nla_base_string):  # type: ignore[misc]  # noqa: N801
        """An array of struct nexthop_grp; the value is a list of (nexthop id, weight).

        The kernel stores weight - 1: 0 on the wire is a weight of 1.
        """

        def encode(self) -> None:
            """Pack the list."""
            self["value"] = b"".join(
                NEXTHOP_GRP.pack(id_, (weight - 1) & 0xFF, (weight - 1) >> 8, 0) for id_, weight in self.value
            )
            nla_base_string.encode(self)

        def decode(self) -> None:
            """Unpack the list."""
            nla_base_string.decode(self)
            self.value = [
                (id_, (low | high << 8) + 1) for id_, low, high, _ in NEXTHOP_GRP.iter_unpack(self["value"])
            ]

    class nexthop_res_group(nla):  # type: ignore[misc]  # noqa: N801
        """Parameters of a resilient group. Times are in clock_t (USER_HZ)."""

        nla_flags = NLA_F_NESTED  # nh_create parses it with nla_parse_nested: refused without the flag
        prefix = "NHA_RES_GROUP_"
        nla_map = (
            ("NHA_RES_GROUP_PAD", "hex"),
            ("NHA_RES_GROUP_BUCKETS", "uint16"),
            ("NHA_RES_GROUP_IDLE_TIMER", "uint32"),
            ("NHA_RES_GROUP_UNBALANCED_TIMER", "uint32"),
            ("NHA_RES_GROUP_UNBALANCED_TIME", "uint64"),
        )

    class nexthop_res_bucket(nla):  # type: ignore[misc]  # noqa: N801
        """One bucket of a resilient group, in RTM_*NEXTHOPBUCKET."""

        nla_flags = NLA_F_NESTED
        prefix = "NHA_RES_BUCKET_"
        nla_map = (
            ("NHA_RES_BUCKET_PAD", "hex"),
            ("NHA_RES_BUCKET_INDEX", "uint16"),
            ("NHA_RES_BUCKET_IDLE_TIME", "uint64"),
            ("NHA_RES_BUCKET_NH_ID", "uint32"),
        )
