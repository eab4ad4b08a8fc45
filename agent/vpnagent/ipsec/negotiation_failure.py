"""Why a negotiation failed: charon's log lines, put together and named.

Pure. The phrases are strongSwan 5.9.8's, recorded from real failures in tests/data/vici.

As initiator one learns little (RFC 7296 §2.21 keeps the reason from strangers): a notify tells neither
which algorithm nor which identity differs. As responder charon logs both proposals, so the peer's own
attempts tell more than ours.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from vpnagent.ipsec.failure_reason import ABSENCES, Reason, mismatch
from vpnagent.ipsec.sa import LogLine

#: IKE_SAs whose lines are put together. More than a gateway has, and a bound on what a scanner of the
#: internet can make us remember.
REMEMBERED = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NegotiationFailed:
    """A negotiation with the peer of a connection of ours failed, or is not answered."""

    connection: str  #: the VICI connection name
    reason: Reason
    text: str  #: charon's own words
    hint: str  #: what to compare with what

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.text}"


#: What each phrase means by itself; charon logs several lines per failure, of which one stands here.
PHRASES: Final = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        (r"^DPD check timed out", Reason.DPD_TIMEOUT),
        (r"^received DELETE for (IKE_SA|ESP CHILD_SA) ", Reason.RECEIVE_DELETE),
        (r"^deleting half open IKE_SA with \S+ after timeout", Reason.PHASE1_TIMEOUT),
        (r"^received AUTHENTICATION_FAILED notify error", Reason.PSK_MISMATCH),
        # IKEv1 main mode, whose keys are made of the pre-shared key: it was understood, so the key is right.
        (r"^received AUTHENTICATION_FAILED error notify", Reason.PEER_ID_MISMATCH),
        (r"^tried \d+ shared keys? for .*MAC mismatched", Reason.PSK_MISMATCH),
        (r"^no shared key found for ", Reason.PSK_MISMATCH),
        (r"^could not decrypt payloads", Reason.PSK_MISMATCH),
        (r"^calculated HASH does not match HASH payload", Reason.PSK_MISMATCH),
        (r"^IDir '.*' does not match to ", Reason.PEER_ID_MISMATCH),
        (r"^constraint check failed: .*identity '", Reason.PEER_ID_MISMATCH),
        (r"^no (matching )?peer config found", Reason.PEER_ID_MISMATCH),
        (r"^found \d+ matching configs?, but none allows .* Mode", Reason.MODE_MISMATCH),
        (r"^Aggressive Mode PSK disabled for security reasons", Reason.MODE_MISMATCH),
        (r"^peer didn't accept DH group ", Reason.DH_GROUP_MISMATCH),
        (r"^received INVALID_MAJOR_VERSION ", Reason.IKE_VERSION_MISMATCH),
        (r"^received NO_PROPOSAL_CHOSEN (notify|error notify)", Reason.PROPOSAL_MISMATCH),
        (r"^received TS_UNACCEPTABLE notify", Reason.TRAFFIC_SELECTOR_MISMATCH),
        (r"^received INVALID_ID_INFORMATION error notify", Reason.TRAFFIC_SELECTOR_MISMATCH),
        (r"^traffic selectors .* unacceptable", Reason.TRAFFIC_SELECTOR_MISMATCH),
        (r"^no matching CHILD_SA config found for ", Reason.TRAFFIC_SELECTOR_MISMATCH),
        (r"^\S+ mode requested by responder is unacceptable", Reason.ENCAPSULATION_MODE_MISMATCH),
        (r"^received \d+s lifetime, configured \d+s", Reason.LIFETIME_MISMATCH),
        (r"^received lifetime \d+s does not match configured lifetime", Reason.LIFETIME_MISMATCH),
        (r"^unable to install .*\(SAD\) in kernel", Reason.ALGORITHM_COMPATIBILITY),
        (r"^unable to install .* in kernel", Reason.NEGOTIATION_FAILED),
        (r" not supported!$", Reason.ALGORITHM_COMPATIBILITY),
        # Two that rekeyings which collide bring about, and that charon mends by itself, are no failures.
        (
            r"^received (?!TEMPORARY_FAILURE|CHILD_SA_NOT_FOUND)[A-Z_]+ "
            r"(notify error|error notify|notify, no CHILD_SA built)",
            Reason.NEGOTIATION_FAILED,
        ),
    )
)

_PEER_BEGINS = re.compile(r"^(?P<peer>\S+) is initiating an? ")
_WE_BEGIN = re.compile(r"^initiating (\w+ Mode )?IKE_SA \S+\[(?P<new>\d+)\] to ")
_NO_CONFIG = re.compile(r"^no IKE config found for \S+\.\.\.(?P<peer>[^\s,]+), sending")
_RECEIVED = re.compile(r"^received proposals: (?P<proposals>.*)")
_CONFIGURED = re.compile(r"^configured proposals: (?P<proposals>.*)")
_ESTABLISHED = re.compile(r"^IKE_SA \S+ established between ")
_REKEYED = re.compile(r"^IKE_SA \S+\[(?P<new>\d+)\] rekeyed between ")
_CHILD_ESTABLISHED = re.compile(r"^(inbound )?CHILD_SA \S+ established with SPIs ")
_GENERATED = re.compile(r"^generating \w+ request ")
_PARSED = re.compile(r"^parsed (?P<exchange>\w+) (request|response) ")
_V1_EXCHANGES = frozenset({"ID_PROT", "AGGRESSIVE", "QUICK_MODE", "INFORMATIONAL_V1", "TRANSACTION"})
_REKEY_EXCHANGE = "CREATE_CHILD_SA"
_TRANSPORT = re.compile(r"N\(USE_TRANSP\)| NAT-OA ")  # IKEv1 behind NAT: NAT-OA, RFC 3947 §5.2
_RETRANSMIT = re.compile(
    r"^(sending )?retransmit 1 of (request|response) (with )?message ID (?P<message>\d+)"
)
_GIVING_UP = re.compile(r"^giving up after \d+ retransmits")

#: What charon makes of transport mode where only tunnel mode is configured.
_WITH_TRANSPORT = frozenset({Reason.TRAFFIC_SELECTOR_MISMATCH, Reason.NEGOTIATION_FAILED})


@dataclass(slots=True)
class _IkeSa:
    """What the lines of one IKE_SA have told so far."""

    connection: str | None = None  #: by the peer's address, while it bears no name
    received: str = ""  #: the proposals of the peer
    request: str = ""  #: our last one
    parsed: str = ""  #: the peer's last message
    established: bool | None = None  #: None: its beginning was not heard
    carried: bool = False  #: a CHILD_SA was established in it
    told: bool = False  #: a failure of its own negotiation
    silence_told: bool = False  #: and nothing was heard of the peer since

    @property
    def exchange(self) -> str:
        """The peer's last message is of this exchange."""
        parsed = _PARSED.match(self.parsed)
        return parsed["exchange"] if parsed else ""

    @property
    def asked(self) -> bool:
        """Whether the peer's last message was a request."""
        return f"{self.exchange} request" in self.parsed

    @property
    def phase2(self) -> bool:
        """Whether our last request was about a CHILD_SA, in an IKE_SA that stands."""
        return self.established is not False and ("TSi" in self.request or "QUICK_MODE" in self.request)

    @property
    def rekeying(self) -> bool:
        """Whether our last request was to rekey a CHILD_SA."""
        return "N(REKEY_SA)" in self.request

    def begin(self) -> None:
        """A negotiation of its own begins."""
        self.established = self.told = self.silence_told = False

    def take(self, text: str) -> None:
        """Note what later lines are to be understood by."""
        if _ESTABLISHED.match(text):
            self.established, self.told = True, False
        elif _CHILD_ESTABLISHED.match(text):
            self.carried = True
        elif received := _RECEIVED.match(text):
            self.received = received["proposals"]
        elif _GENERATED.match(text):
            self.request = text
        elif _PARSED.match(text):
            self.parsed, self.silence_told = text, False


class Diagnosis:
    """Drive it with ``heard()``: it puts together what charon says of one IKE_SA in several lines."""

    def __init__(self) -> None:
        self._peers: dict[str, tuple[str, int]] = {}  #: remote address and version of IKE, by connection
        self._ike_sas: OrderedDict[str, _IkeSa] = OrderedDict()  #: by unique id, the last heard of last

    def expect(self, connection: str, remote_address: str, ike_version: int) -> None:
        """Take what is said of that address, by IKE_SAs that bear no name yet, for the connection's."""
        self._peers[connection] = remote_address, ike_version

    def forget(self, connection: str) -> None:
        """No longer expect anything of the connection."""
        self._peers.pop(connection, None)

    def heard(self, line: LogLine) -> NegotiationFailed | None:
        """Return the failure that the line tells, if it tells one of a connection of ours.

        Of the negotiation of an IKE_SA only the first: what follows, silence included, is its consequence.
        """
        ike_sa = self._heard_of(line)
        connection = line.connection or ike_sa.connection
        if no_config := _NO_CONFIG.match(line.text):
            connection = self._connection_with(no_config["peer"])
        if connection not in self._peers or connection is None:
            return None
        failed = self._failed(connection, line.text, ike_sa)
        if failed is None or ike_sa.told or (failed.reason in ABSENCES and ike_sa.silence_told):
            return None
        if failed.reason in ABSENCES:
            ike_sa.silence_told = True
        else:
            ike_sa.told = not ike_sa.established
        return failed

    def _failed(self, connection: str, text: str, ike_sa: _IkeSa) -> NegotiationFailed | None:
        phase2 = ike_sa.phase2
        reason: Reason | None
        if configured := _CONFIGURED.match(text):
            phase2 = not configured["proposals"].startswith("IKE:")
            reason, text = mismatch(ike_sa.received, configured["proposals"])
        elif _NO_CONFIG.match(text):
            version = 1 if ike_sa.exchange in _V1_EXCHANGES else 2
            same = version == self._peers[connection][1]
            reason = Reason.PEER_MISMATCH if same else Reason.IKE_VERSION_MISMATCH
        else:
            reason = _reason(text, ike_sa)
        if reason is None:
            return None
        hint = reason.phase2_hint if phase2 else reason.hint
        return NegotiationFailed(connection=connection, reason=reason, text=text, hint=hint)

    def _connection_with(self, remote_address: str) -> str | None:
        """Return the one connection with that peer; of several none, for it might be either."""
        names = [name for name, (address, _) in self._peers.items() if address == remote_address]
        return names[0] if len(names) == 1 else None

    def _heard_of(self, line: LogLine) -> _IkeSa:
        """Return what is known of the line's IKE_SA, with what the line adds to it.

        An IKE_SA also says how its successor begins and stands, when it is rekeyed or authenticated anew.
        """
        if line.ike_sa is None:
            return _IkeSa()
        ike_sa = self._remembered(line.ike_sa)
        if we_begin := _WE_BEGIN.match(line.text):
            self._remembered(we_begin["new"]).begin()
        elif peer_begins := _PEER_BEGINS.match(line.text):
            if ike_sa.exchange != _REKEY_EXCHANGE:
                ike_sa.begin()
                ike_sa.connection = self._connection_with(peer_begins["peer"])
        elif rekeyed := _REKEYED.match(line.text):
            successor = self._remembered(rekeyed["new"])
            successor.established = successor.carried = True
        else:
            ike_sa.take(line.text)
        return ike_sa

    def _remembered(self, unique_id: str) -> _IkeSa:
        ike_sa = self._ike_sas.setdefault(unique_id, _IkeSa())
        self._ike_sas.move_to_end(unique_id)
        if len(self._ike_sas) > REMEMBERED:
            self._ike_sas.popitem(last=False)
        return ike_sa


def _reason(text: str, ike_sa: _IkeSa) -> Reason | None:
    if retransmit := _RETRANSMIT.match(text):
        return _silence(retransmit["message"], ike_sa)
    if _GIVING_UP.match(text):
        return None if ike_sa.established is False else Reason.DPD_TIMEOUT
    reason = next((reason for phrase, reason in PHRASES if phrase.search(text)), None)
    return _in_context(reason, ike_sa)


def _in_context(reason: Reason | None, ike_sa: _IkeSa) -> Reason | None:
    """Return what a phrase means after what was said before it."""
    match reason:
        case Reason.RECEIVE_DELETE if not ike_sa.asked:
            return None  # the answer to our own
        case Reason.PSK_MISMATCH if ike_sa.established:
            return None  # what is authentic was understood: a stray packet
        case Reason.PROPOSAL_MISMATCH if ike_sa.rekeying:
            return Reason.PFS_MISMATCH  # the rest was right for the first CHILD_SA (RFC 7296 §1.2)
        case Reason.TRAFFIC_SELECTOR_MISMATCH if ike_sa.established is False:
            return Reason.PEER_ID_MISMATCH  # IKEv1 has one INVALID_ID_INFORMATION for both phases
    if reason in _WITH_TRANSPORT and ike_sa.asked and _TRANSPORT.search(ike_sa.parsed):
        return Reason.ENCAPSULATION_MODE_MISMATCH
    return reason


def _silence(message: str, ike_sa: _IkeSa) -> Reason | None:
    """Return what an unanswered message means; one of an IKE_SA that carries is left to liveness checks."""
    if ike_sa.established:
        return Reason.PHASE2_TIMEOUT if ike_sa.phase2 and not ike_sa.carried else None
    if ike_sa.established is None and message != "0":
        return None
    return Reason.PHASE1_TIMEOUT if ike_sa.parsed else Reason.NO_RESPONSE
