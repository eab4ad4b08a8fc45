import pytest
from tests.ipsec.connections import by_name, make_connection, make_ike

from vpnagent.config.values import TunnelKey
from vpnagent.daemon.negotiations import EXACT_FOR, FORGET_AFTER, GONE_WITHIN, Negotiations
from vpnagent.ipsec.failure_reason import Reason
from vpnagent.ipsec.sa import LogLine
from vpnagent.knowledge.knowledge import CharonKnowledge
from vpnagent.knowledge.tunnels import ChildStatus, IkeStatus, SaStatus

OURS = make_connection(ike=make_ike(version=1))
KEY = OURS.key
CARRIES = {KEY: SaStatus(ike=IkeStatus.ESTABLISHED, child=ChildStatus.INSTALLED)}
REFUSED = "received NO_PROPOSAL_CHOSEN error notify"
DELETED = "received DELETE for IKE_SA vpnagent.hangzhou.primary[1]"
LIFETIME = "received 3600s lifetime, configured 86400s"


class World:
    """Negotiations, what is known of them, and a clock that only moves when told."""

    def __init__(self, *, carries: bool) -> None:
        self.now = 5000.0
        self.known = CharonKnowledge(statuses=dict(CARRIES) if carries else {})
        self.negotiations = Negotiations(self.known)
        self.negotiations.expect(by_name(OURS))
        self._ike_sas = 0

    def hear(self, *texts: str) -> None:
        """Have charon say something of a new IKE_SA."""
        self._ike_sas += 1
        for text in texts:
            said = LogLine(connection=OURS.name, ike_sa=str(self._ike_sas), text=text)
            self.negotiations.heard(said, self.now)

    def observe(self, *, carries: bool, after: float = 1.0) -> None:
        self.now += after
        self.known.statuses = dict(CARRIES) if carries else {}
        self.negotiations.observed(self.now)

    @property
    def told(self) -> Reason | None:
        failed = self.known.failures.get(KEY)
        return failed.reason if failed else None


def test_a_failure_is_told_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    world = World(carries=False)
    world.hear(REFUSED)
    world.hear(REFUSED)
    assert world.told is Reason.PROPOSAL_MISMATCH
    assert world.known.negotiation_failures == {(KEY, "ProposalMismatch"): 2}
    assert caplog.text.count("negotiation-failed") == 1


def test_a_failure_lasts_while_the_tunnel_is_down() -> None:
    world = World(carries=False)
    world.hear(REFUSED)
    world.observe(carries=False, after=10 * FORGET_AFTER)
    assert world.told is Reason.PROPOSAL_MISMATCH


def test_success_ends_it() -> None:
    world = World(carries=False)
    world.hear(REFUSED)
    world.negotiations.succeeded(OURS.name)
    assert world.told is None


def test_other_settings_end_it() -> None:
    world = World(carries=False)
    world.hear(REFUSED)
    world.negotiations.reloaded(OURS.name)
    assert world.told is None


def test_a_tunnel_that_is_no_longer_wanted_has_none() -> None:
    world = World(carries=False)
    world.hear(REFUSED)
    world.negotiations.expect({})
    world.observe(carries=False)
    assert world.told is None


def test_beside_an_sa_that_carries_it_is_told_as_long_as_that_may_live() -> None:
    world = World(carries=True)
    world.hear(REFUSED)
    world.observe(carries=True, after=FORGET_AFTER - 1)
    assert world.told is Reason.PROPOSAL_MISMATCH
    world.observe(carries=True)
    assert world.told is None


def test_a_renewal_that_failed_is_the_reason_when_the_sa_ends() -> None:
    world = World(carries=True)
    world.hear(REFUSED)
    world.observe(carries=False)
    assert world.told is Reason.PROPOSAL_MISMATCH


def test_what_a_session_before_heard_of_a_tunnel_that_carries_is_forgotten() -> None:
    world = World(carries=False)
    world.hear(REFUSED)
    world.negotiations = Negotiations(world.known)
    world.negotiations.expect(by_name(OURS))
    world.observe(carries=True)
    assert world.told is None


def test_a_deletion_is_told_of_a_tunnel_that_carries_no_more() -> None:
    world = World(carries=True)
    world.hear("parsed INFORMATIONAL_V1 request 1 [ HASH D ]", DELETED)
    assert world.told is None
    world.observe(carries=False)
    assert world.told is Reason.RECEIVE_DELETE


def test_the_deletion_of_what_was_replaced_is_not_told() -> None:
    world = World(carries=True)
    world.hear("parsed INFORMATIONAL_V1 request 1 [ HASH D ]", DELETED)
    world.observe(carries=True, after=GONE_WITHIN)
    world.observe(carries=False)
    assert world.told is None
    assert world.known.negotiation_failures == {}


def attempt_of_the_peer(world: World) -> None:
    world.hear(
        "received proposals: IKE:AES_CBC_128/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_1024",
        "configured proposals: IKE:AES_CBC_256/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_1024",
    )


def test_what_the_peers_attempts_tell_is_not_replaced_by_what_ours_tell_less_exactly() -> None:
    world = World(carries=False)
    attempt_of_the_peer(world)
    world.hear(REFUSED)
    told = [world.told]
    world.now += EXACT_FOR
    world.hear(REFUSED)
    assert [*told, world.told] == [Reason.ENCRYPTION_MISMATCH, Reason.PROPOSAL_MISMATCH]


def test_another_failure_replaces_an_exact_one() -> None:
    world = World(carries=False)
    attempt_of_the_peer(world)
    world.hear("no peer config found")
    assert world.told is Reason.PEER_ID_MISMATCH


def test_a_lifetime_is_remarked_when_the_negotiation_succeeds_and_until_one_does_without() -> None:
    world = World(carries=True)
    world.hear(LIFETIME)
    assert (world.told, dict(world.known.remarks)) == (None, {})
    world.negotiations.succeeded(OURS.name)
    assert world.known.remarks[KEY].reason is Reason.LIFETIME_MISMATCH
    assert world.known.negotiation_failures == {}
    world.negotiations.succeeded(OURS.name)
    assert dict(world.known.remarks) == {}


def test_a_connection_that_is_not_ours_is_nothing_to_it() -> None:
    world = World(carries=False)
    for tell in (world.negotiations.succeeded, world.negotiations.reloaded):
        tell(TunnelKey("operators", "own").owner)
    assert world.known.failures == {}
