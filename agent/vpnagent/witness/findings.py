"""What the witness tells beside its verdicts: one finding a cause, not one a network. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from vpnagent.config.values import Config
from vpnagent.finding import Finding, Severity
from vpnagent.routing.ways import Flow
from vpnagent.witness import values
from vpnagent.witness.judgement import FORWARDING, NO_LAN, Court
from vpnagent.witness.questions import MOST_FLOWS, pairs, unasked
from vpnagent.witness.values import Facts, KernelAnswers, Link, NetworkVerdict, Pair, Question, Statement

SHOWN: Final = 3  #: networks in one line
CODES: Final = {
    Link.ROUTE: "NetworkNotCarried",
    Link.SOURCE_NETWORK: "NoWayToLan",
    Link.FORWARDING: "SysctlHarmful",
    Link.WAY_OUT: "NetworkNotCarried",
    Link.WAY_BACK: "NoWayToLan",
    Link.SELECTORS: "SelectorsNarrowed",
}  #: a tunnel that is down and a filter that drops are told as such elsewhere


def statement(config: Config, facts: Facts, answers: KernelAnswers) -> Statement:
    """Return the verdicts, and what is to be told."""
    court = Court(config, facts, answers)
    return statement_of(court, (judged(court, pair) for pair in pairs(config)))


def judged(court: Court, pair: Pair) -> tuple[NetworkVerdict, list[Finding]]:
    """Return whether a pair is carried, and which packets of it go astray although it is."""
    verdict = court.verdict(pair)
    astray = [*_traffic_astray(court, verdict)]
    surely = [finding.text for finding in astray if finding.severity is Severity.CRITICAL]
    reason = surely[0].partition(": carried, but ")[2] if surely else verdict.reason
    return replace(verdict, reason=reason), astray


def statement_of(court: Court, found_by_pair: Iterable[tuple[NetworkVerdict, list[Finding]]]) -> Statement:
    """Return what follows from what ``judged`` says of each pair."""
    by_pair = [*found_by_pair]
    verdicts = tuple(verdict for verdict, _ in by_pair)
    astray = [finding for _, found in by_pair for finding in found]
    found = [
        *not_carried(verdicts),
        *_lan(court, verdicts),
        *_standby(court, verdicts),
        *_own(court, verdicts),
        *{finding.text.partition(": ")[2]: finding for finding in reversed(astray)}.values(),
        *_not_asked(court),
    ]
    return Statement(verdicts=verdicts, findings=tuple(found))


def not_carried(verdicts: Iterable[NetworkVerdict]) -> Iterator[Finding]:
    """Yield a finding for each cause for which networks are not carried."""
    causes: dict[tuple[Link, str], list[NetworkVerdict]] = {}
    for verdict in verdicts:
        if verdict.link in CODES:
            causes.setdefault((verdict.link, _cause(verdict)), []).append(verdict)
    for (link, _), found in causes.items():
        first = found[0]
        yield Finding(
            code=CODES[link],
            subject=_subject(first),
            severity=Severity.CRITICAL,
            text=f"{_networks(found)}: not carried: {first.reason}",
            hint=first.hint,
        )


def _cause(verdict: NetworkVerdict) -> str:
    """Return what verdicts of one cause have in common."""
    if verdict.link in (Link.SOURCE_NETWORK, Link.WAY_BACK):
        return str(verdict.pair.local)
    if verdict.link in (Link.ROUTE, Link.WAY_OUT):
        return verdict.reason.rpartition(": ")[2]
    return verdict.reason


def _subject(verdict: NetworkVerdict) -> str:
    match verdict.link:
        case Link.FORWARDING:
            return verdict.reason.partition(" ")[0]
        case Link.SELECTORS:
            return verdict.reason.partition(" ")[0]
        case Link.SOURCE_NETWORK | Link.WAY_BACK:
            return str(verdict.pair.local)
        case _:
            return str(verdict.pair)


def _networks(verdicts: list[NetworkVerdict]) -> str:
    shown = ", ".join(str(verdict.pair) for verdict in verdicts[:SHOWN])
    more = len(verdicts) - SHOWN
    return shown + (f" and {more} more" if more > 0 else "")


def _lan(court: Court, verdicts: tuple[NetworkVerdict, ...]) -> Iterator[Finding]:
    """Yield local networks that are reached in part only, or where no tunnel carries them, not at all."""
    told = {v.pair.local for v in verdicts if v.link in (Link.SOURCE_NETWORK, Link.WAY_BACK)}
    facts, ours = court.facts, court.ours
    for network in court.config.local_networks():
        hosts = court.local_hosts(network)
        if network in told or not hosts:
            continue
        side = court.side(network)
        if side is None:
            text = f"{network} is not reached: {court.no_lan(hosts[0])}"
            yield _no_way(str(network), Severity.CRITICAL, text)
            continue
        name = court.answer(side).interface
        if not facts.forwarding.get(name, True) and all(v.link is not Link.FORWARDING for v in verdicts):
            yield _forwarding(name)
        for host in hosts:
            entry, way = court.answer(Question(host, entry=True)), court.answer(Question(host))
            by_default = not entry.errno and not entry.length and way.interface not in ours
            if by_default and not court.is_one_armed(way.interface):
                text = f"{network} is reached in part: {court.no_lan(host)}; what the cloud sends there "
                yield _no_way(str(network), Severity.WARNING, text + "leaves this machine in clear")
                break


def _no_way(network: str, severity: Severity, text: str) -> Finding:
    hint = NO_LAN.replace("NETWORK", network) + ", or correct gateway.local_networks"
    return Finding(code="NoWayToLan", subject=network, severity=severity, text=text, hint=hint)


def _forwarding(name: str) -> Finding:
    key = FORWARDING.format(name.replace(".", "/"))
    return Finding(
        code="SysctlHarmful",
        subject=key,
        severity=Severity.CRITICAL,
        text=f"{key} is 0: what the LAN's hosts send is not forwarded, and nothing tells them",
        hint=f"sysctl -w {key}=1; who sets it? IPv4Forwarding= of systemd-networkd, a hardening script",
    )


def _standby(court: Court, verdicts: tuple[NetworkVerdict, ...]) -> Iterator[Finding]:
    """Yield tunnels that carry nothing now, and were narrowed too."""
    told = {_subject(verdict) for verdict in verdicts if verdict.link is Link.SELECTORS}
    for connection in court.config.connections:
        for tunnel in connection.tunnels:
            negotiated = court.facts.selectors.get(tunnel.key)
            if not negotiated or str(tunnel.key) in told:
                continue
            outside = [
                NetworkVerdict(pair)
                for pair in pairs(court.config)
                if pair.connection == connection.name
                and not values.covers(negotiated, pair.local, pair.remote)
            ]
            if outside:
                yield Finding(
                    code="SelectorsNarrowed",
                    subject=str(tunnel.key),
                    severity=Severity.WARNING,
                    text=f"{tunnel.key} was negotiated for {values.text(negotiated)} only: when it "
                    f"carries the traffic, {_networks(outside)} will not be carried",
                    hint=court.narrowed(tunnel),
                )


def _own(court: Court, verdicts: tuple[NetworkVerdict, ...]) -> Iterator[Finding]:
    """Yield where this machine's own packets go astray although the hosts' do not."""
    for verdict in verdicts:
        if not verdict.carried:
            continue
        asked = court.ways_out(verdict.pair, own=True)
        answers = [court.answer(question) for question in asked]
        if asked and not any(court.is_meant(answer, verdict.pair.remote) for answer in answers):
            reason, hint = court.astray(asked[0], answers[0])
            yield Finding(
                code="OwnPacketsAstray",
                subject=str(verdict.pair),
                severity=Severity.WARNING,
                text=f"{verdict.pair}: hosts are carried, and this machine's own packets are not: {reason}",
                hint=hint,
            )
            return


def _traffic_astray(court: Court, verdict: NetworkVerdict) -> Iterator[Finding]:
    """Yield packets of certain marks, protocols or ports that leave although plain ones are carried."""
    asked = court.ways_out(verdict.pair)[:1] if verdict.carried else []
    as_usual = court.flow(verdict.pair)
    for plain in asked:
        for flow in court.flows:
            question = plain._replace(flow=flow)
            answer = court.answer(question)
            if not court.is_meant(answer, verdict.pair.remote) and flow != as_usual:
                yield _astray(court.facts, verdict.pair, flow, *court.astray(question, answer))


def _astray(facts: Facts, pair: Pair, flow: Flow, reason: str, hint: str) -> Finding:
    filtered = facts.filtering.get((pair.local, pair.remote))
    marking = filtered.marking if filtered else None
    severity, who = Severity.CRITICAL, "these packets leave in clear, or not at all"
    if flow.mark and marking and (marking.unclear or flow.mark in marking.possible):
        severity, who = Severity.WARNING, "the packet filter sets that mark on some of the hosts' packets"
    elif flow.mark:
        severity, who = Severity.INFO, "nothing that was read sets that mark on the hosts' packets"
    return Finding(
        code="TrafficAstray",
        subject=f"{pair}, {flow}",
        severity=severity,
        text=f"{pair}: carried, but not for {flow}: {reason}; {who}",
        hint=hint,
    )


def _not_asked(court: Court) -> Iterator[Finding]:
    flows = court.all_flows
    if len(flows) > MOST_FLOWS:
        what = f"{len(flows) - MOST_FLOWS} of {len(flows)} marks and protocols of ip rules and packet filter"
        yield _unseen("marks", what, f"at most {MOST_FLOWS} are")
    for rule in unasked(court.facts.rules):
        yield _unseen(f"ip rule {rule}", f"ip rule {rule}", "it asks for what a look-up cannot say")


def not_seen(why: str) -> Finding:
    """Return the finding that the kernel could not be asked."""
    return _unseen("networks", "whether the networks are carried", why)


def _unseen(subject: str, what: str, why: str) -> Finding:
    return Finding(
        code="NotLookedAt",
        subject=subject,
        severity=Severity.INFO,
        text=f"{what}: not looked up: {why}",
        hint="see for yourself that what these are about does not leave past the tunnels",
    )
