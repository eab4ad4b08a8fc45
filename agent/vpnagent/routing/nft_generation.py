"""The number of the packet filter's present rules, which changes with every transaction. No I/O.

linux/netfilter/nf_tables.h, nf_tables_getgen(). Needs CAP_NET_ADMIN, as all of nftables does.
"""

from typing import Final

from vpnagent.routing.message import attributes, message
from vpnagent.routing.nft_message import NFGENMSG, NFNL_SUBSYS_NFTABLES

NFT_MSG_GETGEN: Final = 16
NFTA_GEN_ID: Final = 1

QUESTION: Final = message(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 0, NFGENMSG.pack(0, 0, 0))


def generation(body: bytes) -> int:
    """Read an NFT_MSG_NEWGEN."""
    return int.from_bytes(attributes(body, NFGENMSG.size).get(NFTA_GEN_ID, b""))
