"""Events are changes: each cause tells its event once, and what lasts tells nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import make_config
from tests.status.test_report import BACKUP, INSTALLED, PRIMARY, known, path

from vpnagent.config.values import TunnelKey
from vpnagent.events.detect import happenings
from vpnagent.events.event import Happening
from vpnagent.events.snapshot import DAY, KnownState, beginning, look
from vpnagent.finding import EventType, Finding, Severity
from vpnagent.ipsec.failure_reason import Reason
from vpnagent.ipsec.negotiation_failure import NegotiationFailed
from vpnagent.knowledge.incidents import RECOVERED_AFTER, Incidents
from vpnagent.knowledge.knowledge import Failover, Knowledge
from vpnagent.policy.selection import PathState, Verdict
from vpnagent.status.report import refresh, signs

NOW = 1_000_000.0
BOTH = (PRIMARY, BACKUP)


class Watch:
    """Looks at what is known, again and again."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.known = knowledge
        self.at = NOW
        self.seen: KnownState = beginning(knowledge, NOW)

    def happened(self, at: float | None = None) -> list[Happening]:
        at = self.at = self.at if at is None else at
        refresh(self.known, at)
        before, self.seen = self.seen, look(self.known, self.seen, at)
        return list(happenings(before, self.seen, at))

    def types(self) -> set[str]:
        return {happening.type.value for happening in self.happened()}

    def until_recovered(self) -> list[Happening]:
        """Look now, and when what is fine now has been so for long enough; return what the latter found."""
        self.happened()
        return self.happened(self.at + RECOVERED_AFTER)


def watch(*up: TunnelKey) -> Watch:
    """Return a watch over what has been so for a while, with exactly these tunnels up."""
    watch = Watch(known(*up))
    watch.happened()
    return watch


def install(known: Knowledge, *up: TunnelKey) -> None:
    known.charon.verdicts = {key: Verdict(child_sa_installed=True) for key in up}


def failover(reason: str, *, old: str = "primary", new: str = "backup") -> Failover:
    return Failover(
        at=NOW - 1,
        old=(old,),
        new=(new,) if new else (),
        reason=reason,
        detection_seconds=0.3,
        switch_seconds=0.0001,
    )


def finding(code: str) -> Finding:
    return Finding(code=code, subject="x", severity=Severity.CRITICAL, text="wrong", hint="mend it")


SILENCE = NegotiationFailed(connection="", reason=Reason.NO_RESPONSE, text="retransmit", hint="look")


def lose_charon(known: Knowledge) -> None:
    known.charon.connected, known.charon.error = False, "charon: no answer"


def trouble(known: Knowledge, *keys: TunnelKey) -> None:
    install(known)
    known.charon.failures = dict.fromkeys(keys, SILENCE)


def probe(known: Knowledge, state: PathState, *keys: TunnelKey) -> None:
    known.probe.reported = True
    known.probe.paths = {key: path(key, state if key in keys else PathState.UP) for key in BOTH}


def take_back(known: Knowledge) -> None:
    known.taken_back_at, known.config_error, known.loaded_at = None, "file: taken back", 5.0
    known.config = replace(known.config, connections=known.config.connections)


CAUSES: list[tuple[str, Callable[[Knowledge], object], set[str]]] = [
    (
        "one negotiation fails",
        lambda k: trouble(k, PRIMARY),
        {"IpsecTunnelNegotiationFailed", "TunnelDown"},
    ),
    (
        "all negotiations fail",
        lambda k: trouble(k, *BOTH),
        {"IpsecTunnelNegotiationFailed", "AllIpsecTunnelsFailedToNegotiate", "TunnelDown"},
    ),
    ("one path is dead", lambda k: probe(k, PathState.DOWN, PRIMARY), {"HealthCheckFailed", "TunnelDown"}),
    (
        "all paths are dead",
        lambda k: probe(k, PathState.DOWN, *BOTH),
        {"HealthCheckFailed", "VpnConnectionHealthCheckFailed", "TunnelDown"},
    ),
    ("a path is bad", lambda k: probe(k, PathState.DEGRADED, PRIMARY), {"TunnelDegraded"}),
    ("charon is lost", lose_charon, {"CharonGone"}),
    ("a drain", lambda k: setattr(k, "drained", frozenset({PRIMARY})), {"TunnelDrained"}),
    (
        "a failover",
        lambda k: k.kernel.note("hangzhou", failover("silent")),
        {"Failover"},
    ),
    (
        "a return",
        lambda k: k.kernel.note("hangzhou", failover("recovered", old="backup", new="primary")),
        {"FailBack"},
    ),
    ("drift", lambda k: k.kernel.repairs.update(route=2), {"DriftRepaired"}),
    (
        "another configuration",
        lambda k: setattr(k, "config", make_config(connection={"mtu": 1300})),
        {"ConfigurationChanged"},
    ),
    ("a refused file", lambda k: setattr(k, "config_error", "f:1: version"), {"ConfigurationRefused"}),
    ("another prober", lambda k: setattr(k.probe, "lost_at", 77.0), {"ProberRestarted"}),
    ("a warning", lambda k: setattr(k, "machine_findings", (finding("RouteShadowed"),)), {"WarningBegan"}),
    (
        "a certificate near its end",
        lambda k: setattr(k, "certificate_expiry", {PRIMARY: NOW + 20 * DAY}),
        {"CertificateExpiry"},
    ),
]


@pytest.mark.parametrize(("cause", "expected"), [row[1:] for row in CAUSES], ids=[row[0] for row in CAUSES])
def test_a_change_tells_its_event_once(cause: Callable[[Knowledge], object], expected: set[str]) -> None:
    watched = watch(*BOTH)
    cause(watched.known)
    assert watched.types() - {"WarningBegan"} == expected - {"WarningBegan"}
    assert ("WarningBegan" in expected) <= bool(watched.seen.findings)
    assert watched.types() == set()


@given(st.lists(st.sampled_from([row[1] for row in CAUSES]), max_size=6))
def test_looking_again_tells_nothing_more(causes: list[Callable[[Knowledge], object]]) -> None:
    watched = watch(*BOTH)
    for cause in causes:
        cause(watched.known)
    watched.happened()
    assert watched.happened() == []


@given(st.lists(st.sampled_from([row[1] for row in CAUSES]), max_size=6), st.sampled_from(CAUSES))
def test_no_event_is_of_a_tunnel_that_is_not_there(
    causes: list[Callable[[Knowledge], object]], last: tuple[str, Callable[[Knowledge], object], set[str]]
) -> None:
    watched = watch(*BOTH)
    for cause in [*causes, last[1]]:
        cause(watched.known)
    keys = {(h.connection, h.tunnel) for h in watched.happened()}
    assert keys <= {*BOTH, ("hangzhou", ""), ("", "")}


def test_all_is_quiet_when_the_daemon_starts_with_a_drain() -> None:
    knowledge = known(*BOTH)
    knowledge.drained = frozenset({PRIMARY})
    assert "TunnelDrained" not in Watch(knowledge).types()


def test_what_comes_up_after_a_start_is_told() -> None:
    assert Watch(known(*BOTH)).types() == {"TunnelUp"}


def test_a_charon_that_was_never_seen_is_gone_and_then_back_once() -> None:
    knowledge = known()
    lose_charon(knowledge)
    watched = Watch(knowledge)
    assert "CharonGone" in watched.types()
    knowledge.charon.connected, knowledge.charon.error = True, None
    assert [h.type for h in watched.until_recovered()] == [EventType.CHARON_BACK]


def test_the_first_connection_to_charon_is_no_return() -> None:
    assert "CharonBack" not in Watch(known(*BOTH)).types()


def test_a_tunnel_negotiated_again_has_not_failed_a_second_time() -> None:
    watched = watch(PRIMARY)
    watched.known.charon.failures = {}  # the trouble is forgotten while it is being tried again
    assert watched.types() == set()
    watched.known.charon.failures = {BACKUP: SILENCE}
    assert watched.types() == set()


def test_a_negotiation_that_succeeded_may_fail_anew() -> None:
    watched = watch(*BOTH)
    for _ in range(2):
        trouble(watched.known, PRIMARY)
        assert "IpsecTunnelNegotiationFailed" in watched.types()
        watched.known.charon.failures = {}
        install(watched.known, *BOTH)
        assert EventType.TUNNEL_UP in {h.type for h in watched.until_recovered()}


def test_a_path_that_is_reset_and_dead_again_has_not_failed_a_second_time() -> None:
    watched = watch(*BOTH)
    probe(watched.known, PathState.DOWN, PRIMARY)
    assert "HealthCheckFailed" in watched.types()
    install(watched.known, BACKUP)
    watched.happened()
    install(watched.known, *BOTH)
    assert "HealthCheckFailed" not in watched.types()


def test_a_tunnel_without_an_sa_has_not_failed_its_health_check() -> None:
    watched = watch(BACKUP)
    probe(watched.known, PathState.DOWN, PRIMARY)
    assert "HealthCheckFailed" not in watched.types()


def test_an_undrained_tunnel_is_told_as_that_and_not_as_up() -> None:
    watched = watch(*BOTH)
    watched.known.drained = frozenset({PRIMARY})
    watched.happened()
    watched.known.drained = frozenset()
    assert watched.types() - {"WarningEnded"} == {"TunnelUndrained"}


def test_several_failovers_between_two_looks_are_counted_in_one() -> None:
    watched = watch(*BOTH)
    for _ in range(3):
        watched.known.kernel.note("hangzhou", failover("silent"))
    [told] = watched.happened()
    assert told.fields["failovers"] == 3
    assert told.at == NOW - 1


def test_traffic_that_went_nowhere_is_critical() -> None:
    watched = watch(*BOTH)
    watched.known.kernel.note("hangzhou", failover("recovered", new=""))
    [told] = watched.happened()
    assert (told.type, told.severity) == (EventType.FAILOVER, Severity.CRITICAL)


def test_a_change_that_takes_itself_back_is_neither_refused_nor_an_ordinary_change() -> None:
    watched = watch(*BOTH)
    watched.known.taken_back_at = NOW + 60
    watched.happened()
    take_back(watched.known)
    assert watched.types() - {"WarningEnded"} == {"ConfigurationTakenBack"}


def test_a_refused_file_while_a_change_waits_takes_nothing_back() -> None:
    watched = watch(*BOTH)
    watched.known.taken_back_at = NOW + 60
    watched.happened()
    watched.known.config_error = "vpnagent.yaml:1: version: must be 1"
    assert watched.types() == {"ConfigurationRefused"}


def test_a_certificate_is_told_at_each_step_to_its_end() -> None:
    watched = watch(*BOTH)
    watched.known.certificate_expiry = {PRIMARY: NOW + 40 * DAY}
    told = [h.severity for day in range(45) for h in watched.happened(NOW + day * DAY)]
    assert told == [Severity.WARNING, Severity.WARNING, Severity.CRITICAL, Severity.CRITICAL]


def test_a_warning_ends_as_it_began() -> None:
    watched = watch(*BOTH)
    watched.known.machine_findings = (finding("RouteShadowed"),)
    [began] = watched.happened()
    watched.known.machine_findings = ()
    [ended] = watched.happened()
    assert (began.type, ended.type) == (EventType.WARNING_BEGAN, EventType.WARNING_ENDED)
    assert began.subject == ended.subject
    assert (began.severity, ended.severity) == (Severity.CRITICAL, Severity.INFO)


def test_every_text_is_one_line() -> None:
    watched = watch()
    watched.known.config_error = "a:1: one\na:2: two"
    assert all("\n" not in h.text for h in watched.happened())


def phases(happened: list[Happening]) -> list[tuple[str, str, str]]:
    """Return what is of an incident: its phase, type and tunnel."""
    return [(h.phase, h.type.value, h.tunnel) for h in happened if h.incident]


def test_one_fault_is_told_when_it_begins_and_when_it_ends_whatever_lies_between() -> None:
    watched = watch(*BOTH)
    probe(watched.known, PathState.DOWN, PRIMARY)
    told = watched.happened()
    for trial in (True, False) * 6:  # a trial every 20 s, as the prober makes them
        left = replace(path(PRIMARY, PathState.DOWN, held=True), trial=trial)
        watched.known.probe.paths = {PRIMARY: left, BACKUP: path(BACKUP, PathState.UP)}
        install(watched.known, *BOTH) if trial else install(watched.known, BACKUP)
        told += watched.happened(watched.at + 20)
    install(watched.known, *BOTH)
    probe(watched.known, PathState.UP)
    told += watched.until_recovered()
    assert phases(told) == [
        ("begin", "TunnelDown", "primary"),
        ("during", "HealthCheckFailed", "primary"),
        ("end", "TunnelUp", "primary"),
    ]
    assert len({h.incident for h in told}) == 1
    assert told[-1].fields["lasted_seconds"] == 240
    assert told[-1].text.startswith("tunnel hangzhou/primary is up again after 4 min 0 s")


def test_tunnels_that_fail_together_are_one_incident_that_ends_with_the_last_of_them() -> None:
    watched = watch(*BOTH)
    probe(watched.known, PathState.DOWN, *BOTH)
    begun = phases(watched.happened())
    assert begun[:2] == [("begin", "TunnelDown", "backup"), ("during", "TunnelDown", "primary")]
    assert {phase for phase, _, _ in begun[1:]} == {"during"}
    probe(watched.known, PathState.DOWN, BACKUP)
    assert phases(watched.until_recovered()) == [("during", "TunnelUp", "primary")]
    probe(watched.known, PathState.UP)
    assert phases(watched.until_recovered()) == [("end", "TunnelUp", "backup")]


def test_a_restart_of_the_daemon_tells_no_begin_again_and_the_end_once() -> None:
    watched = watch(*BOTH)
    probe(watched.known, PathState.DOWN, PRIMARY)
    [incident, *_] = {h.incident for h in watched.happened()}
    again = known()
    again.charon.failures, again.incidents = {}, Incidents(watched.known.incidents.open)
    later = Watch(again)
    assert phases(later.happened(NOW + 60)) == []
    install(again, *BOTH)
    probe(again, PathState.DOWN, PRIMARY)
    assert "TunnelDown" not in {h.type.value for h in later.happened(NOW + 70)}
    probe(again, PathState.UP)
    [end] = [h for h in later.until_recovered() if h.incident]
    assert (end.phase, end.incident, end.fields["lasted_seconds"]) == ("end", incident, 70)


def test_a_failover_is_of_the_incident_that_caused_it() -> None:
    watched = watch(*BOTH)
    probe(watched.known, PathState.DOWN, PRIMARY)
    watched.known.kernel.note("hangzhou", failover("silent"))
    assert ("during", "Failover", "") in phases(watched.happened())


def test_what_only_follows_from_an_incident_is_no_event_of_its_own() -> None:
    watched = watch(*BOTH)
    probe(watched.known, PathState.DOWN, PRIMARY)
    assert "WarningBegan" not in watched.types()
    assert "NoStandby" in {finding.code for finding in watched.known.findings.current}


def test_a_tunnel_that_is_no_longer_configured_ends_its_incident() -> None:
    watched = watch(*BOTH)
    probe(watched.known, PathState.DOWN, *BOTH)
    watched.happened()
    watched.known.config = replace(watched.known.config, connections=())
    told = [h for h in watched.happened() if h.incident]
    assert [(h.phase, h.type.value) for h in told] == [("during", "WarningEnded"), ("end", "WarningEnded")]


@given(st.lists(st.tuples(st.sampled_from(list(PathState)), st.floats(0.2, 60)), max_size=30))
def test_every_incident_has_exactly_one_begin_and_after_it_one_end(
    looks: list[tuple[PathState, float]],
) -> None:
    watched = watch(*BOTH)
    told: list[Happening] = []
    for state, seconds in (*looks, (PathState.UP, 1.0), (PathState.UP, RECOVERED_AFTER)):
        probe(watched.known, state, PRIMARY)
        told += watched.happened(watched.at + seconds)
    by_incident: dict[str, list[str]] = {}
    for happening in told:
        if happening.incident:
            by_incident.setdefault(happening.incident, []).append(happening.phase)
    for course in by_incident.values():
        assert (course[0], course[-1]) == ("begin", "end")
        assert course.count("begin") == course.count("end") == 1


def test_what_the_other_gateway_of_a_pair_takes_over_is_no_fault_here() -> None:
    watched = watch(*BOTH)
    probe(watched.known, PathState.DOWN, PRIMARY)
    watched.happened()
    watched.known.tunnels.update(
        at=NOW,
        tunnels=watched.known.config.tunnels(),
        statuses=dict.fromkeys(BOTH, INSTALLED),
        verdicts=watched.known.verdicts(),
        troubles={},
        standby=BOTH,
    )
    assert [sign for key, sign in signs(watched.known) if key.subject] == []
