"""A rule of our nftables table as one dump tells it: where it stands, and what its comment says it does."""

from dataclasses import dataclass

from vpnagent.routing.message import attributes, string
from vpnagent.routing.nft_message import (
    NFGENMSG,
    NFTA_RULE_CHAIN,
    NFTA_RULE_USERDATA,
    NFTNL_UDATA_RULE_COMMENT,
)


@dataclass(frozen=True, slots=True, order=True)
class RuleRow:
    """A rule of our table."""

    chain: str
    comment: str


def rule_row(body: bytes) -> RuleRow:
    """Read an NFT_MSG_NEWRULE."""
    found = attributes(body, NFGENMSG.size)
    userdata = found.get(NFTA_RULE_USERDATA, b"")
    commented = userdata[:1] == bytes([NFTNL_UDATA_RULE_COMMENT])
    return RuleRow(string(found.get(NFTA_RULE_CHAIN, b"")), string(userdata[2:]) if commented else "")
