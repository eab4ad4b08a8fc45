"""Why a negotiation failed: charon's log lines in the cloud's vocabulary, with a hint for the operator.

Pure. The codes are those of the cloud's DiagnoseVpnConnections, so that both ends of a support case use
the same words. The phrases are strongSwan 5.9.8's, recorded from real failures in tests/data/vici.

As initiator one learns little (RFC 7296 §2.21 keeps the reason from strangers): a notify tells neither
which algorithm nor which identity differs. As responder charon logs both proposals, so the peer's own
attempts tell more than ours.
"""

import enum
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Self

from vpnagent.ipsec.events import LogLine

#: IKE_SAs whose lines are put together. More than a gateway has, and a bound on what a scanner of the
#: internet can make us remember.
REMEMBERED = 1024


class Reason(enum.Enum):
    """Why a negotiation failed: the cloud's code (``value``), and what an operator can do (``hint``)."""

    NO_RESPONSE = (
        "NoResponse",
        "check remote_address, that UDP 500 and 4500 pass both ways, and that the cloud's tunnel exists",
    )
    DPD_TIMEOUT = (
        "DpdTimeout",
        "the peer stopped answering: check the line to it, and the tunnel in the cloud console",
    )
    PSK_MISMATCH = (
        "PskMismatch",
        "compare the pre-shared key with the cloud's, character by character; then the ids, and ike.mode",
    )
    PEER_ID_MISMATCH = (
        "PeerIdMismatch",
        "local_id must be the cloud's RemoteId, remote_id its LocalId, in the same form (address or name)",
    )
    PROPOSAL_MISMATCH = (
        "ProposalMismatch",
        "encryption, integrity and groups must equal the cloud's, and ike.version; it must know our address",
    )
    ENCRYPTION_MISMATCH = ("EncryptionAlgorithmMismatch", "make encryption equal to the cloud's")
    AUTHENTICATION_MISMATCH = ("AuthenticationAlgorithmMismatch", "make integrity equal to the cloud's")
    DH_GROUP_MISMATCH = ("DhGroupMismatch", "make ike.dh_group equal to the cloud's")
    PFS_MISMATCH = (
        "PfsMismatch",
        "make esp.pfs_group equal to the cloud's; in IKEv2 only a rekey finds out",
    )
    TRAFFIC_SELECTOR_MISMATCH = (
        "TrafficSelectorMismatch",
        "local_networks and remote_networks must mirror the cloud's, or both ends use 0.0.0.0/0",
    )
    PEER_MISMATCH = (
        "PeerMismatch",
        "the peer's version of IKE or its addresses fit no connection: check ike.version and local_address",
    )
    MODE_MISMATCH = (
        "NegotiationModeMismatch",
        "make ike.mode equal to the cloud's; charon answers no aggressive mode unless it is told to",
    )
    ALGORITHM_COMPATIBILITY = (
        "AlgorithmCompatibility",
        "the running charon or kernel lacks an algorithm: install its plugin or module, or choose another",
    )

    hint: str

    def __new__(cls, code: str, hint: str) -> Self:
        """The code alone is the value."""
        reason = object.__new__(cls)
        reason._value_ = code
        reason.hint = hint
        return reason


@dataclass(frozen=True, slots=True, kw_only=True)
class NegotiationFailed:
    """A negotiation with the peer of a connection of ours failed, or is not answered."""

    connection: str  #: the VICI connection name
    reason: Reason
    text: str  #: charon's own words


#: What each phrase means by itself; charon logs several lines per failure, of which one stands here.
PHRASES: Final = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        (r"^DPD check timed out", Reason.DPD_TIMEOUT),
        (r"^received AUTHENTICATION_FAILED (notify error|error notify)", Reason.PSK_MISMATCH),
        (r"^tried \d+ shared keys? for .*MAC mismatched", Reason.PSK_MISMATCH),
        (r"^no shared key found for ", Reason.PEER_ID_MISMATCH),
        (r"^could not decrypt payloads", Reason.PSK_MISMATCH),
        (r"^calculated HASH does not match HASH payload", Reason.PSK_MISMATCH),
        (r"^IDir '.*' does not match to ", Reason.PEER_ID_MISMATCH),
        (r"^constraint check failed: .*identity '", Reason.PEER_ID_MISMATCH),
        (r"^no (matching )?peer config found", Reason.PEER_ID_MISMATCH),
        (r"^found \d+ matching configs?, but none allows .* Mode", Reason.MODE_MISMATCH),
        (r"^Aggressive Mode PSK disabled for security reasons", Reason.MODE_MISMATCH),
        (r"^peer didn't accept DH group ", Reason.DH_GROUP_MISMATCH),
        (r"^received NO_PROPOSAL_CHOSEN (notify|error notify)", Reason.PROPOSAL_MISMATCH),
        (r"^received TS_UNACCEPTABLE notify", Reason.TRAFFIC_SELECTOR_MISMATCH),
        (r"^received INVALID_ID_INFORMATION error notify", Reason.TRAFFIC_SELECTOR_MISMATCH),
        (r"^traffic selectors .* unacceptable", Reason.TRAFFIC_SELECTOR_MISMATCH),
        (r"^no matching CHILD_SA config found for ", Reason.TRAFFIC_SELECTOR_MISMATCH),
        (r"^unable to install .* in kernel", Reason.ALGORITHM_COMPATIBILITY),
        (r" not supported!$", Reason.ALGORITHM_COMPATIBILITY),
    )
)

_INITIATING = re.compile(r"^(?P<peer>\S+) is initiating an? ")
_NO_CONFIG = re.compile(r"^no IKE config found for \S+\.\.\.(?P<peer>[^\s,]+), sending")
_RECEIVED = re.compile(r"^received proposals: (?P<proposals>.*)")
_CONFIGURED = re.compile(r"^configured proposals: (?P<proposals>.*)")
_BEGINNING = re.compile(r"^(initiating |\S+ is initiating )")
_ESTABLISHED = re.compile(r"^IKE_SA \S+ established between ")
_REQUEST = re.compile(r"^generating \w+ request ")
_RETRANSMIT = re.compile(r"^(sending )?retransmit 1 of request (with )?message ID (?P<message>\d+)")
_GIVING_UP = re.compile(r"^giving up after \d+ retransmits")


@dataclass(slots=True)
class _IkeSa:
    """What the lines of one IKE_SA have told so far."""

    connection: str | None = None  #: by the peer's address, while it bears no name
    received: str = ""  #: the proposals of the peer
    established: bool | None = None  #: None: its beginning was not heard
    rekeying: bool = False  #: our last request was to rekey a CHILD_SA
    told: bool = False  #: a failure of its own negotiation


class Diagnosis:
    """Drive it with ``heard()``: it puts together what charon says of one IKE_SA in several lines."""

    def __init__(self) -> None:
        self._remote_addresses: dict[str, str] = {}  #: by connection
        self._ike_sas: OrderedDict[str, _IkeSa] = OrderedDict()  #: by unique id, the last heard of last

    def expect(self, connection: str, remote_address: str) -> None:
        """Take what is said of that address, by IKE_SAs that bear no name yet, for the connection's."""
        self._remote_addresses[connection] = remote_address

    def forget(self, connection: str) -> None:
        """No longer expect anything of the connection."""
        self._remote_addresses.pop(connection, None)

    def heard(self, line: LogLine) -> NegotiationFailed | None:
        """Return the failure that the line tells, if it tells one of a connection of ours.

        Of the negotiation of an IKE_SA only the first: what follows, silence included, is its consequence.
        """
        ike_sa = self._heard_of(line)
        if no_config := _NO_CONFIG.match(line.text):
            connection = self._connection_with(no_config["peer"])
            reason: Reason | None = Reason.PEER_MISMATCH
        else:
            connection = line.connection or ike_sa.connection
            reason = _reason(line.text, ike_sa)
        if reason is None or connection is None or connection not in self._remote_addresses or ike_sa.told:
            return None
        ike_sa.told = not ike_sa.established
        return NegotiationFailed(connection=connection, reason=reason, text=line.text)

    def _connection_with(self, remote_address: str) -> str | None:
        """Return the one connection with that peer; of several none, for it might be either."""
        names = [name for name, address in self._remote_addresses.items() if address == remote_address]
        return names[0] if len(names) == 1 else None

    def _heard_of(self, line: LogLine) -> _IkeSa:
        """Return what is known of the line's IKE_SA, with what the line adds to it."""
        if line.ike_sa is None:
            return _IkeSa()
        ike_sa = self._ike_sas.setdefault(line.ike_sa, _IkeSa())
        self._ike_sas.move_to_end(line.ike_sa)
        if len(self._ike_sas) > REMEMBERED:
            self._ike_sas.popitem(last=False)
        if initiating := _INITIATING.match(line.text):
            ike_sa.connection = self._connection_with(initiating["peer"])
        _take(line.text, ike_sa)
        return ike_sa


def _take(text: str, ike_sa: _IkeSa) -> None:
    """Note what later lines are to be understood by."""
    if _BEGINNING.match(text):
        ike_sa.established = False
    elif _ESTABLISHED.match(text):
        ike_sa.established = True
    elif received := _RECEIVED.match(text):
        ike_sa.received = received["proposals"]
    elif _REQUEST.match(text):
        ike_sa.rekeying = "N(REKEY_SA)" in text


def _reason(text: str, ike_sa: _IkeSa) -> Reason | None:
    if configured := _CONFIGURED.match(text):
        return mismatch(ike_sa.received, configured["proposals"])
    if retransmit := _RETRANSMIT.match(text):
        # A lost packet of an established IKE_SA is none of ours: liveness checks are for that.
        unanswered = ike_sa.established is False or (
            ike_sa.established is None and retransmit["message"] == "0"
        )
        return Reason.NO_RESPONSE if unanswered else None
    if _GIVING_UP.match(text):
        return Reason.DPD_TIMEOUT if ike_sa.established else None
    reason = next((reason for phrase, reason in PHRASES if phrase.search(text)), None)
    # What was right for the first CHILD_SA is wrong for the next: only PFS is new (RFC 7296 §1.2).
    return Reason.PFS_MISMATCH if ike_sa.rekeying and reason is Reason.PROPOSAL_MISMATCH else reason


def mismatch(received: str, configured: str) -> Reason:
    """Return what differs between the peer's proposals and ours, in charon's notation.

    Of several proposals of the peer, the nearest to ours tells: one kind of difference is the culprit.
    """
    ours = configured.split(", ")[0]
    nearest = min((_transforms(theirs) ^ _transforms(ours) for theirs in received.split(", ")), key=len)
    kinds = {_kind(transform, esp=ours.startswith("ESP:")) for transform in nearest}
    if len(kinds) > 1:
        kinds.discard(Reason.PFS_MISMATCH)  # IKE_AUTH offers no group, wanted or not (RFC 7296 §1.2)
    return kinds.pop() if len(kinds) == 1 else Reason.PROPOSAL_MISMATCH


def _transforms(proposal: str) -> set[str]:
    """``IKE:AES_CBC_128/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_1024``; the PRF goes with the integrity."""
    transforms = proposal.partition(":")[2].split("/")
    return {transform for transform in transforms if not transform.startswith("PRF_")}


def _kind(transform: str, *, esp: bool) -> Reason:
    if re.match(r"(MODP|ECP|CURVE)_", transform):
        return Reason.PFS_MISMATCH if esp else Reason.DH_GROUP_MISMATCH
    if re.match(r"(HMAC|AES_XCBC|AES_CMAC)_", transform):
        return Reason.AUTHENTICATION_MISMATCH
    if re.match(r"(AES|3DES|DES|CAMELLIA|CHACHA20|NULL|SM4)", transform):
        return Reason.ENCRYPTION_MISMATCH
    return Reason.PROPOSAL_MISMATCH
