"""One tunnel's path: its probes out, its replies in, and what that says of it by itself.

What it means when the paths of several tunnels go silent together is not decided here, but in ``domain``:
a path reports that it is quiet (a probe was missed) or silent (for its detection time).
"""

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address
from math import ceil, inf

from vpnagent.config.values import TunnelKey
from vpnagent.policy.selection import PathState
from vpnagent.probe.actions import Cause, ProberAction, ReadTraffic, SendProbe
from vpnagent.probe.confirmation import Confirmation
from vpnagent.probe.detector import COVER, Detector, Silence, StateChange
from vpnagent.probe.evidence import Evidence, IkeDaemon, LimitStage, TargetLimit
from vpnagent.probe.intent import ProbeTarget, TunnelIntent
from vpnagent.probe.probes import (
    SEQUENCES,
    Grade,
    GradeStep,
    MarkedReplies,
    ProbeRecord,
    RoundTrip,
    Schedule,
    Window,
)

_NEW = 8  #: replies
_FILTER_WATCH = 60.0  #: seconds of silence, or after a verdict, in which a local filter is looked for
_EXCUSE_EVERY = 60.0  #: seconds: whoever fills our buffers holds a verdict back once in these
_MARK_EVERY = 100  #: probes without a mark to one with it, to see whether that passes again

TargetLimits = Mapping[IPv4Address, TargetLimit]
Actions = list[ProberAction]


class Signals:
    """What others say of the tunnel."""

    __slots__ = ("child_sa", "lost_interfaces")

    def __init__(self, *, child_sa: bool) -> None:
        self.child_sa = child_sa  #: installed: as the intent has it, or newer, as we did ourselves
        self.lost_interfaces: set[str] = set()

    @property
    def usable(self) -> bool:
        """Whether probes can be expected to come through."""
        return self.child_sa and not self.lost_interfaces


class Path:
    """Drive it with ``sent``, ``answered`` and ``advance``; transitions are returned, actions appended."""

    __slots__ = (
        "_elsewhere_since",
        "_error",
        "_excused_at",
        "_filtered_since",
        "_limits",
        "_slower",
        "_unsent_since",
        "carries",
        "confirmation",
        "detector",
        "evidence",
        "grade",
        "intent",
        "key",
        "mark",
        "schedule",
        "signals",
        "silence",
        "window",
    )

    def __init__(self, intent: TunnelIntent, limits: TargetLimits, *, at: float, first_probe: float) -> None:
        self.intent = intent
        self._limits = limits
        self._excused_at = -inf  #: when a silence was last put down to a full buffer of ours
        self._error = ""  #: why the last probe could not be sent
        self._unsent_since: float | None = None  #: when the first probe failed since one was sent
        self._elsewhere_since: float | None = None  #: likewise, the first reply by an interface of others
        self._filtered_since: float | None = None  #: likewise, the first that something here dropped
        self._slower = 1  #: times slower than configured is it probed, for its target's sake
        self.key = intent.key
        self.window = Window(ceil(intent.limits.window / intent.interval), intent.detection_time)
        self.silence = Silence(intent.interval, intent.detect_multiplier, at)
        self.schedule = Schedule(intent.interval, intent.targets, first_probe)
        self.confirmation = Confirmation(intent.confirm_count, intent.confirm_interval)
        self.carries = False  #: traffic, by selection
        self.detector = Detector(intent.hold_down, 2 * COVER * intent.interval, at)
        self.evidence = Evidence()
        self.signals = Signals(child_sa=intent.child_sa_installed)
        self.grade = Grade(intent.limits)
        self.mark = MarkedReplies()
        if intent.failed_trials is not None:
            self.detector.lost(Cause.RESET, "left down by a former prober", at)

    def replace_intent(self, intent: TunnelIntent, at: float) -> None:
        """Go on under another intent; what does not depend on what changed is kept."""
        old, self.intent = self.intent, intent
        if (old.interval, old.detect_multiplier, old.targets) != (
            intent.interval,
            intent.detect_multiplier,
            intent.targets,
        ):
            self.silence = Silence(intent.interval, intent.detect_multiplier, at)
            self.schedule = Schedule(intent.interval, intent.targets, at)
            self._slower = 1
            self.window.clear()
            self.window.rtt = RoundTrip(intent.detection_time)
        if (old.confirm_count, old.confirm_interval) != (intent.confirm_count, intent.confirm_interval):
            self.confirmation = Confirmation(intent.confirm_count, intent.confirm_interval)
        if _question(old) != _question(intent):
            self.window.forget()
        if old.limits != intent.limits:
            self.grade = Grade(intent.limits)
        self.detector.tune(intent.hold_down, 2 * COVER * intent.interval)
        if old.remote_address != intent.remote_address:
            self.evidence.ike = IkeDaemon()

    @property
    def state(self) -> PathState:
        """The detector's."""
        return self.detector.state

    @property
    def detection_time(self) -> float:
        """Seconds of silence that mean down."""
        return self.intent.detection_time * self._slower

    @property
    def limit(self) -> TargetLimit:
        """What is known of a limit of the target that is asked now."""
        return self._limits[self.schedule.usual.address]

    def heard_since(self, at: float) -> bool:
        """Whether a reply to a probe of this tunnel came since then."""
        return self.evidence.heard_at is not None and self.evidence.heard_at >= at

    @property
    def new(self) -> bool:
        """Whether the path was not heard for long enough to be missed."""
        return 0 < self.window.totals.answered < _NEW

    @property
    def own(self) -> bool:
        """Whether the target that is asked now answers through this tunnel only."""
        return self.schedule.usual.inside_peer

    @property
    def alive(self) -> bool:
        """Whether the path is heard just now."""
        known = self.evidence.heard_at is not None and self.state is not PathState.UNPROBED
        return self.signals.usable and known and not self.silence.quiet

    @property
    def deadline(self) -> float:
        """When ``advance`` is next due."""
        signals = self.signals
        if not signals.child_sa or signals.lost_interfaces:
            return inf
        due = self.schedule.due
        missed = self.silence.deadline(self.window.rtt.patience)
        return min(missed, due, self.confirmation.due)

    def sent(self, sequence: int, at: float) -> None:
        """The kernel accepted the probe."""
        probe = self.window.find(sequence)
        if probe is None or probe.sent_at is not None:
            return
        probe.sent_at = at
        self._unsent_since = None
        self._limits[probe.target.address].sent(at)
        if self.limit.slower != self._slower:
            self._pace(self.limit.slower, at)
        self.window.totals.sent += 1
        self.evidence.traffic.probe()
        if not probe.spare:
            self.silence.sent(probe.number, at)

    def failed(self, sequence: int, error: str, at: float) -> list[StateChange]:
        """The probe could not be sent: it counts neither as sent nor as lost, but not for long."""
        probe = self.window.find(sequence)
        if probe is None or probe.sent_at is not None:
            return []
        self.window.void(probe)
        self.confirmation.over()
        if probe.spare or not self.signals.usable:
            return []
        if self._unsent_since is None:
            self._unsent_since = at
        self._error = error
        return self.unprobed(at) if at - self._unsent_since >= self.detection_time else []

    def unprobed(self, at: float) -> list[StateChange]:
        """Nothing is known of the path any more, if the last probe could not be sent."""
        if self._unsent_since is None:
            return []
        transitions = self.detector.unsent(f"probes cannot be sent: {self._error}", at)
        if transitions:
            self.silence.restart(at)  # a silence is one of probes that are sent: nothing is known of this one
        return transitions

    def arrived(self, heard_on: TunnelKey | None, at: float) -> list[StateChange]:
        """The reply that was just answered came by that tunnel; None: by an interface of others."""
        if heard_on is not None:
            self._elsewhere_since = None
            return self.detector.returned(at)
        if self._elsewhere_since is None:
            self._elsewhere_since = at
        if at - self._elsewhere_since < self.detection_time:
            return []
        return self.detector.elsewhere(at)

    def filtered(self, at: float) -> list[StateChange]:
        """The reply that was just answered arrived, and something on this machine dropped it."""
        if self._filtered_since is None:
            self._filtered_since = at
        if at - self._filtered_since < self.detection_time:
            return []
        return self.detector.filtered(at)

    def received(self, at: float) -> list[StateChange]:
        """The reply that was just answered reached the socket."""
        if self._filtered_since is None:
            return []
        self._filtered_since = None
        return self.detector.unfiltered(at)

    @property
    def is_filtered(self) -> bool:
        """Whether the last reply arrived, and did not reach the socket."""
        return self._filtered_since is not None

    def suspects_filter(self, now: float) -> bool:
        """Whether replies are missing of which it is worth to see whether they arrive here."""
        silence = self.silence
        if not self.signals.usable:
            return False
        if not silence.quiet or silence.quiet_at is None:
            return self.is_filtered
        return now < max(silence.quiet_at, self.detector.since) + _FILTER_WATCH

    def probe_of(self, target: IPv4Address, sequence: int) -> ProbeRecord | None:
        """Return the probe that a reply belongs to, if it is one of ours and was not answered before."""
        probe = self.window.find(sequence)
        if probe is None or probe.sent_at is None or probe.rtt is not None:
            return None
        asked = probe.target.address
        return probe if asked is target or asked == target else None

    def answered(self, probe: ProbeRecord, at: float) -> list[StateChange]:
        """A reply to that probe arrived."""
        sent_at = probe.sent_at if probe.sent_at is not None else at
        self.window.answer(probe, max(0.0, at - sent_at))
        self.schedule.answered(probe.target)
        self.mark.answered(probe, matters=self.limit.stage is LimitStage.NORMAL and not self.limit.undecided)
        self._limits[probe.target.address].answered()
        if self.detector.state is PathState.DOWN and sent_at < self.detector.since:
            return []
        quiet = self.silence.quiet
        self.silence.heard(probe.number, at)
        self.evidence.heard_at = at
        if quiet:
            self.detector.missed(at)
        transitions = self.detector.heard(sent_at, at)
        if transitions and transitions[0].new is PathState.HOLD_DOWN:
            self.window.clear()
        return transitions

    def advance(self, now: float, random: Callable[[], float], actions: Actions) -> list[StateChange]:
        """Apply the passage of time."""
        if not self.signals.usable:
            return []
        silence = self.silence
        was_quiet = silence.quiet
        silence.advance(now, self.window.rtt.patience)
        if silence.quiet and not was_quiet:
            self.detector.missed(now)
            self.evidence.traffic.begin()
            self.read_traffic(actions)
            self._send(self.schedule.everyone(), actions)
            self._look_closer(now, actions)
        if self.confirmation.due <= now:
            self._confirm(now, actions)
        transitions = self._known_again(now)
        if self.schedule.due <= now:
            self._send(self.schedule.take(now, random()), actions)
            self.window.settle(now - self.detection_time - (self.window.rtt.srtt or 0.0))
            transitions += self._grade(now, actions)
        return transitions

    def _look_closer(self, now: float, actions: Actions) -> None:
        """A probe was missed: ask once without the mark, and more than once where traffic depends on it."""
        clear = self.limit.stage is LimitStage.NORMAL and not self.new
        good = self.state in (PathState.UP, PathState.DEGRADED) and not self.limit.undecided
        self.confirmation.begin(now, worth_it=clear and good and self.carries)
        if clear and self.marked and self.confirmation.due == inf:
            self._ask(self.schedule.usual, actions, spare=True, marked=False)

    def _confirm(self, now: float, actions: Actions) -> None:
        if not self.silence.quiet:
            self.confirmation.over()
        elif (number := self.confirmation.take(now, self.window.rtt.patience)) is not None:
            self._ask(self.schedule.usual, actions, spare=True, marked=self.marked and number > 1)

    @property
    def suspected(self) -> bool:
        """Whether traffic is better off elsewhere, until more is known."""
        return self.confirmation.suspected and self.silence.quiet

    def _known_again(self, now: float) -> list[StateChange]:
        """Probes can be sent again, and none is answered: of an unprobed path nobody else is a witness."""
        if self.state is not PathState.UNPROBED or not self.silence.complete:
            return []
        return self.detector.lost(Cause.SILENT, "nothing heard since probes can be sent again", now)

    def _pace(self, slower: int, at: float) -> None:
        """Probe at another rate from now on: what was missed until now was perhaps the target's doing."""
        self._slower = slower
        interval = self.intent.interval * slower
        self.silence = Silence(interval, self.intent.detect_multiplier, at)
        self.schedule.pace(interval)
        self.detector.tune(self.intent.hold_down, 2 * COVER * interval)
        self.window.clear()

    def ask_now(self, actions: Actions) -> None:
        """Ask the usual target once more, at once: for another path's sake."""
        self._send([(self.schedule.usual, False)], actions)

    def stalled(self, since: float, until: float) -> None:
        """Nothing of us ran in between."""
        if until - since > self.intent.interval / 4:
            self.silence.stalled(since, until)
            self.confirmation.stalled(until, self.window.rtt.patience)

    def excuse(self, at: float) -> bool:
        """Begin to listen anew for our own sake, which is done only now and then; return whether it was."""
        if at < self._excused_at + _EXCUSE_EVERY:
            return False
        self._excused_at = at
        self.silence.restart(at)
        return True

    def restart(self, at: float) -> None:
        """Begin to listen anew, and probe at once."""
        self.silence.restart(at)
        self.schedule.start(at)

    def signal(self, cause: Cause, reason: str, at: float, *, was_usable: bool) -> list[StateChange]:
        """Something changed in ``signals``: take the path down, or begin to listen anew."""
        if not self.signals.usable:
            if self.state is PathState.INIT:
                return []
            return self.detector.lost(cause, reason, at)
        if not was_usable:
            self.restart(at)
        return []

    def read_traffic(self, actions: Actions) -> None:
        """Ask for the interface's counters."""
        actions.append(ReadTraffic(tunnel=self.key, interface=self.intent.interface))

    def _grade(self, now: float, actions: Actions) -> list[StateChange]:
        if self.silence.complete or self.limit.undecided:
            return []  # not a matter of the path's quality
        change = self.grade.judge(self.window, self.detector, now)
        if change is None:
            return []
        if change is GradeStep.LOOK:
            if not self.silence.quiet and self.grade.looks == 1:
                self.evidence.traffic.begin()
            self.read_traffic(actions)
        elif change is GradeStep.WORSE:
            full = self.evidence.traffic.full(self.intent.bandwidth, self.intent.packet_rate)
            cause = Cause.CONGESTION if full else Cause.QUALITY
            return self.detector.worse(cause, self.grade.reason(self.window), now)
        elif change is GradeStep.BETTER:
            return self.detector.better(self.grade.reason(self.window), now)
        return []

    def _send(self, targets: Iterable[tuple[ProbeTarget, bool]], actions: Actions) -> None:
        for target, spare in targets:
            probe = self._ask(target, actions, spare=spare, marked=self.marked)
            if not self.marked and self.intent.dscp and probe.number % _MARK_EVERY == 0:
                self._ask(target, actions, spare=True, marked=True)

    def _ask(self, target: ProbeTarget, actions: Actions, *, spare: bool, marked: bool) -> ProbeRecord:
        probe = self.window.open(target, spare=spare, marked=marked)
        actions.append(SendProbe(self.key, target, probe.number % SEQUENCES, marked))
        return probe

    @property
    def marked(self) -> bool:
        """Whether probes carry the tunnel's DSCP."""
        return bool(self.intent.dscp) and self.mark.passes


def _question(intent: TunnelIntent) -> tuple[object, ...]:
    """Return what a probe asks, whom and through what: an answer to another question is none to this one."""
    return intent.targets, intent.method, intent.port, intent.interface, intent.source
