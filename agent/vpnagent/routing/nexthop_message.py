"""The rtnetlink nexthop message, which pyroute2 0.9 lacks, in pyroute2's own terms.

Kernel sources: include/uapi/linux/nexthop.h (``struct nhmsg``, ``struct nexthop_grp``, ``NHA_*``),
include/uapi/linux/rtnetlink.h (``RTM_*NEXTHOP*``, ``RTNLGRP_NEXTHOP``), net/ipv4/nexthop.c. Nothing here
knows of vpnagent: the classes are named, ordered and commented as pyroute2's, to be sent upstream.
"""

import struct

from pyroute2.netlink import nla, nla_base_string, nlmsg

RTM_NEWNEXTHOP = 104
RTM_DELNEXTHOP = 105
RTM_GETNEXTHOP = 106
RTM_NEWNEXTHOPBUCKET = 116
RTM_DELNEXTHOPBUCKET = 117
RTM_GETNEXTHOPBUCKET = 118
RTNLGRP_NEXTHOP = 32

NEXTHOP_GRP_TYPE_MPATH = 0  #: hash-threshold multipath group, the default
NEXTHOP_GRP_TYPE_RES = 1  #: resilient group: buckets

NLA_F_NESTED = 0x8000

NEXTHOP_GRP = struct.Struct("=IBBH")  #: struct nexthop_grp: id, weight - 1 low, high (since 6.12), reserved


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


NEXTHOP_MESSAGES = {
    RTM_NEWNEXTHOP: nhmsg,
    RTM_DELNEXTHOP: nhmsg,
    RTM_GETNEXTHOP: nhmsg,
    RTM_NEWNEXTHOPBUCKET: nhmsg,
    RTM_DELNEXTHOPBUCKET: nhmsg,
    RTM_GETNEXTHOPBUCKET: nhmsg,
}  #: for ``register_policy()`` of an IPRoute or AsyncIPRoute
