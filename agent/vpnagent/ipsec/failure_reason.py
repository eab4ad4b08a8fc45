"""Why a negotiation failed, in the cloud's words, and what to compare with what.

The codes are those of the cloud's DiagnoseVpnConnections (FailedReasonCode), so that both ends of a support
case use the same words. A hint names keys of the configuration and fields of the cloud's documents
(DescribeVpnConnection: IkeConfig, IpsecConfig). docs/negotiation.md says which reason is seen where, and
which of the cloud's codes charon cannot show.
"""

import enum
import re
from typing import Final, Self


class Reason(enum.Enum):
    """The cloud's code (``value``), and what an operator can do, by phase where it differs."""

    NO_RESPONSE = (
        "NoResponse",
        "compare remote_address with InternetIp, and our public address with the customer gateway's "
        "IpAddress; UDP 500 must pass both ways",
    )
    PHASE1_TIMEOUT = (
        "Phase1NegotiationTimeout",
        "the peer answered, then fell silent: UDP 4500 must pass both ways; it may also drop what it cannot "
        "read: compare psk_file with Psk, local_id with RemoteId, ike.mode with IkeMode",
    )
    PHASE2_TIMEOUT = (
        "Phase2NegotiationTimeout",
        "phase 1 stands and phase 2 gets no answer: compare esp with IpsecConfig and the networks with "
        "RemoteSubnet and LocalSubnet; large packets must pass UDP 4500",
    )
    DPD_TIMEOUT = (
        "DpdTimeout",
        "the peer answers no more: look at the line to remote_address, and at the tunnel's log in the cloud",
    )
    RECEIVE_DELETE = (
        "ReceiveDeleteNotify",
        "the peer ended it and does not say why: was the tunnel changed or reset there? See its log in the "
        "cloud",
    )
    PSK_MISMATCH = (
        "PskMismatch",
        "compare psk_file with Psk, character by character; then local_id with RemoteId and remote_id with "
        "LocalId",
    )
    PEER_ID_MISMATCH = (
        "PeerIdMismatch",
        "local_id must equal RemoteId, and remote_id LocalId, in the same form (address or name); with IKE "
        "version 1 compare ike.mode with IkeMode too",
    )
    PEER_MISMATCH = (
        "PeerMismatch",
        "what the peer sends fits none of our connections: compare local_address and remote_address with the "
        "customer gateway's IpAddress and InternetIp",
    )
    IKE_VERSION_MISMATCH = ("IkeVersionMismatch", "compare ike.version with IkeVersion")
    MODE_MISMATCH = (
        "NegotiationModeMismatch",
        "compare ike.mode with IkeMode; charon answers no aggressive mode with a pre-shared key unless "
        "strongswan.conf says so, main mode is better",
    )
    PROPOSAL_MISMATCH = (
        "ProposalMismatch",
        "compare ike.encryption, ike.integrity, ike.dh_group with IkeEncAlg, IkeAuthAlg, IkePfs; then "
        "ike.version with IkeVersion, and our public address with the customer gateway's IpAddress",
        "compare esp.encryption, esp.integrity, esp.pfs_group with IpsecEncAlg, IpsecAuthAlg, IpsecPfs",
    )
    ALGORITHM_MISMATCH = (
        "AlgorithmMismatch",
        "compare ike.encryption, ike.integrity, ike.dh_group with IkeEncAlg, IkeAuthAlg, IkePfs",
        "compare esp.encryption, esp.integrity, esp.pfs_group with IpsecEncAlg, IpsecAuthAlg, IpsecPfs",
    )
    ENCRYPTION_MISMATCH = (
        "EncryptionAlgorithmMismatch",
        "compare ike.encryption with IkeEncAlg",
        "compare esp.encryption with IpsecEncAlg",
    )
    AUTHENTICATION_MISMATCH = (
        "AuthenticationAlgorithmMismatch",
        "compare ike.integrity with IkeAuthAlg",
        "compare esp.integrity with IpsecAuthAlg",
    )
    DH_GROUP_MISMATCH = ("DhGroupMismatch", "compare ike.dh_group with IkePfs")
    PFS_MISMATCH = (
        "PfsMismatch",
        "compare esp.pfs_group with IpsecPfs; with IKE version 2 only the first rekeying finds out",
    )
    SECURITY_PROTOCOL_MISMATCH = (
        "SecurityProtocolMismatch",
        "the peer wants another protocol than ESP: set it to ESP there, we have no other",
    )
    ENCAPSULATION_MODE_MISMATCH = (
        "EncapsulationModeMismatch",
        "the peer wants transport mode: set it to tunnel mode there, we have no other",
    )
    TRAFFIC_SELECTOR_MISMATCH = (
        "TrafficSelectorMismatch",
        "with traffic_selectors any, LocalSubnet and RemoteSubnet must be 0.0.0.0/0; with networks, compare "
        "remote_networks with LocalSubnet and gateway.local_networks with RemoteSubnet",
    )
    LIFETIME_MISMATCH = (
        "LifetimeMismatch",
        "the tunnel works, and the shorter lifetime counts; compare ike.lifetime with IkeLifetime and "
        "esp.lifetime with IpsecLifetime",
    )
    ALGORITHM_COMPATIBILITY = (
        "AlgorithmCompatibility",
        "the running charon or kernel lacks what was agreed on: install its plugin or module, or change ike "
        "or esp at both ends",
    )
    NEGOTIATION_FAILED = (
        "NegotiationFailed",
        "the text is all that charon tells; the tunnel's log in the cloud tells the peer's side",
    )

    hint: str
    phase2_hint: str

    def __new__(cls, code: str, hint: str, phase2_hint: str = "") -> Self:
        """The code alone is the value; without a hint of its own, phase 2 has that of phase 1."""
        reason = object.__new__(cls)
        reason._value_ = code
        reason.hint = hint
        reason.phase2_hint = phase2_hint or hint
        return reason


#: The peer is silent or went away: of a tunnel that carries traffic beside, this says nothing.
ABSENCES: Final = frozenset(
    {
        Reason.NO_RESPONSE,
        Reason.PHASE1_TIMEOUT,
        Reason.PHASE2_TIMEOUT,
        Reason.DPD_TIMEOUT,
        Reason.RECEIVE_DELETE,
    }
)

_PROPOSALS: Final = frozenset(
    {
        Reason.ALGORITHM_MISMATCH,
        Reason.ENCRYPTION_MISMATCH,
        Reason.AUTHENTICATION_MISMATCH,
        Reason.DH_GROUP_MISMATCH,
        Reason.PFS_MISMATCH,
        Reason.SECURITY_PROTOCOL_MISMATCH,
        Reason.IKE_VERSION_MISMATCH,
        Reason.PEER_MISMATCH,
    }
)

#: What a reason may be in truth: we as initiator are told only the former, as responder we see the latter.
IN_TRUTH: Final = {
    Reason.PROPOSAL_MISMATCH: _PROPOSALS,
    Reason.PSK_MISMATCH: frozenset({Reason.PEER_ID_MISMATCH, Reason.MODE_MISMATCH}),
    Reason.PEER_ID_MISMATCH: frozenset({Reason.MODE_MISMATCH}),
    Reason.TRAFFIC_SELECTOR_MISMATCH: frozenset({Reason.ENCAPSULATION_MODE_MISMATCH}),
}


# What differs between two lists of proposals, in charon's notation. Pure.
# ``IKE:AES_CBC_128/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_1024, IKE:...``;
# ``ESP:AES_CBC_128/HMAC_SHA1_96/NO_EXT_SEQ``

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
