"""pyroute2's nexthop message, as this project adds it."""

import pytest
from tests.routing.recorded import KERNELS, recorded

from vpnagent.routing.message import HEADER
from vpnagent.routing.nexthop_message import NEXTHOP_GRP_TYPE_RES, RTM_NEWNEXTHOP, nhmsg
from vpnagent.routing.objects import GROUP_IDS, NEXTHOP_IDS


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
