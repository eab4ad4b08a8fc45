"""What differs between two lists of proposals, in charon's notation. Pure.

``IKE:AES_CBC_128/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_1024, IKE:...``; ``ESP:AES_CBC_128/HMAC_SHA1_96/NO_EXT_SEQ``
"""

import re
from typing import Final

from vpnagent.ipsec.failure_reason import Reason

_AEAD: Final = re.compile(r"(AES_GCM|AES_CCM|CHACHA20)_")
_KINDS: Final = (
    (re.compile(r"(MODP|ECP|CURVE)_"), Reason.DH_GROUP_MISMATCH),
    (re.compile(r"(PRF_)?(HMAC|AES_XCBC|AES_CMAC)_"), Reason.AUTHENTICATION_MISMATCH),
    (re.compile(r"AES|3DES|DES|CAMELLIA|CHACHA20|NULL|SM4"), Reason.ENCRYPTION_MISMATCH),
)


def mismatch(received: str, configured: str) -> tuple[Reason, str]:
    """Return what differs between the peer's proposals and ours, as a reason and in charon's words.

    Of several proposals of the peer, the nearest to ours tells: one kind of difference is the culprit.
    """
    ours = configured.split(", ")[0]
    theirs = min(received.split(", "), key=lambda proposal: len(_transforms(proposal) ^ _transforms(ours)))
    protocols = [proposal.partition(":")[0] for proposal in (theirs, ours)]
    if protocols[0] != protocols[1] and received:
        return Reason.SECURITY_PROTOCOL_MISMATCH, "received {}, configured {}".format(*protocols)
    text = f"received {_only(theirs, ours)}, configured {_only(ours, theirs)}"
    kinds = _kinds(_transforms(theirs) ^ _transforms(ours), esp=protocols[1] == "ESP")
    match len(kinds):
        case 1:
            return kinds.pop(), text
        case 0:
            return Reason.PROPOSAL_MISMATCH, text
        case _:
            return Reason.ALGORITHM_MISMATCH, text


def _kinds(transforms: set[str], *, esp: bool) -> set[Reason]:
    kinds = {_kind(transform, esp=esp) for transform in transforms}
    if any(_AEAD.match(transform) for transform in transforms):
        kinds.discard(Reason.AUTHENTICATION_MISMATCH)  # an AEAD cipher brings its own integrity
    if len(kinds) > 1:
        kinds.discard(Reason.PFS_MISMATCH)  # IKE_AUTH offers no group, wanted or not (RFC 7296 §1.2)
    return kinds


def _kind(transform: str, *, esp: bool) -> Reason:
    reason = next((reason for kind, reason in _KINDS if kind.match(transform)), Reason.PROPOSAL_MISMATCH)
    return Reason.PFS_MISMATCH if esp and reason is Reason.DH_GROUP_MISMATCH else reason


def _transforms(proposal: str) -> set[str]:
    return {transform for transform in proposal.partition(":")[2].split("/") if transform}


def _only(one: str, other: str) -> str:
    """Return the transforms that only one of two proposals has, in its order."""
    others = _transforms(other)
    return "/".join(t for t in one.partition(":")[2].split("/") if t not in others) or "none of these"
