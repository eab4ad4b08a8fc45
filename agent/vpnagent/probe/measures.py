"""What is done to the paths and tunnels of a domain: the hands of ``domain`` and ``inquiry``, who decide."""

from collections.abc import Iterable

from vpnagent.config.values import TunnelKey
from vpnagent.probe.actions import Cause, InitiateTunnel, SendIkePing, TerminateTunnel
from vpnagent.probe.blame import Judgement
from vpnagent.probe.detector import StateChange
from vpnagent.probe.outbox import Outbox, PathTransition
from vpnagent.probe.path import Path
from vpnagent.probe.remedy import Phase, Step
from vpnagent.probe.situation import Permit, Situation
from vpnagent.selection import PathState

WAITING_FOR_PEER = "return path: waiting for the cloud"
TARGET_DEAD = "the probe target may be dead"
_RTT = 0.1  #: seconds: of an IKE daemon of which nothing is known


class Measures:
    """Changes the situation, and leaves actions and changes in the outbox."""

    __slots__ = ("outbox", "situation")

    def __init__(self, situation: Situation, outbox: Outbox) -> None:
        self.situation = situation
        self.outbox = outbox

    def do(self, key: TunnelKey, steps: Iterable[Step], now: float) -> None:
        """Take the steps that a remedy asks for."""
        path = self.situation.paths[key]
        for step in steps:
            match step:
                case Step.ASK:
                    self._ask(path, now)
                case Step.PING:
                    self.ping(key, now)
                case Step.INITIATE:
                    self._initiate(path)
                case Step.LISTEN:
                    path.restart(now)
                    self.situation.judged.pop(key, None)
                case Step.WANT_RESET:
                    self.reset_or_keep(path, now)

    def _ask(self, path: Path, now: float) -> None:
        """Ask the IKE daemon, unless it gave a sign of life since the path was last heard.

        A path that was never heard proves nothing: it may be the target that does not answer.
        """
        heard_at = path.evidence.heard_at
        if heard_at is None and not self.situation.alive:
            return
        if heard_at is not None and path.evidence.ike.answered_since(heard_at):
            self.reset_or_keep(path, now)
        else:
            self.situation.remedies[path.key].begin(now, ike_rtt([path]))
            self.ping(path.key, now)

    def reset_or_keep(self, path: Path, now: float) -> None:
        """Terminate the tunnel's IKE_SA if that is allowed: it tells the peer."""
        remedy = self.situation.remedies[path.key]
        permit = self.situation.permit(path, now)
        if remedy.phase is Phase.ASKING:
            remedy.keep(now)
        if self.situation.stranded():
            return  # recovery begins: whose turn it is is decided there
        match permit:
            case Permit.NO:
                remedy.keep(now)
            case Permit.LATER:
                remedy.want(now)
            case Permit.YES:
                remedy.reset(now)
                reason = f"path down ({path.detector.reason}) while its IKE daemon lives"
                self.outbox.actions.append(TerminateTunnel(tunnel=path.key, reason=reason))

    def _initiate(self, path: Path) -> None:
        """Bring the tunnel up; a first trial puts ESP that was native into UDP, which IKE got through by."""
        remedy = self.situation.remedies[path.key]
        first = remedy.phase is Phase.INITIATING and not remedy.trials
        force = first and not path.intent.encapsulated
        self.outbox.actions.append(InitiateTunnel(tunnel=path.key, force_encapsulation=force))

    def recovered(self, path: Path, state: PathState, at: float) -> None:
        """The path is heard again, or up."""
        remedy = self.situation.remedies[path.key]
        if state is PathState.HOLD_DOWN:
            remedy.over()
            self.listen_again(at)
        elif state is PathState.UP:
            remedy.path_up(at, ike_known=path.evidence.ike.answered_at is not None)

    def ping(self, key: TunnelKey, now: float) -> None:
        """Ask the tunnel's IKE daemon."""
        path = self.situation.paths[key]
        if not path.intent.ike_ping:
            return
        path.evidence.ike.ask(now)
        self.outbox.actions.append(SendIkePing(tunnel=key))
        if self.situation.remedies[key].phase is Phase.ASKING and self.situation.remedies[key].rounds:
            path.evidence.traffic.begin()
            path.read_traffic(self.outbox.actions)

    def listen_again(self, now: float) -> None:
        """Return traffic may take another way from now on: what was silent gets a new chance."""
        self.situation.judged.clear()
        for path in self.situation.in_service():
            if path.silence.quiet and not path.own:
                path.silence.restart(now)
                path.window.clear()

    def look(self, paths: Iterable[Path]) -> None:
        """Ask for the counters."""
        for path in paths:
            path.read_traffic(self.outbox.actions)

    def take_down(self, path: Path, cause: Cause, reason: str, now: float) -> None:
        """The path is down: by verdict, not by signal."""
        self.situation.judged.clear()
        self.note(path, path.detector.lost(cause, reason, now))

    def degrade(self, path: Path, cause: Cause, reason: str, now: float) -> None:
        """The path is degraded, or, if it was down, was so by mistake."""
        self.situation.judged[path.key] = Judgement.TARGET
        self.note(path, path.detector.worse(cause, reason, now))

    def note(self, path: Path, transitions: Iterable[StateChange]) -> None:
        """Pass transitions on."""
        self.outbox.changes.extend(PathTransition(path, transition) for transition in transitions)

    def underlay_dead(self, path: Path, now: float) -> None:
        """Keep the SAs: they work again the moment it returns."""
        self.take_down(path, Cause.UNDERLAY, f"{silence_of(path)}, and its IKE daemon is silent too", now)
        self.situation.remedies[path.key].wait(now)


def silence_of(path: Path) -> str:
    """Return the reason of most verdicts."""
    return f"nothing heard for {path.detection_time:g} s"


def ike_rtt(paths: Iterable[Path]) -> float:
    """Return how long their IKE daemons may take, in seconds."""
    known = [rtt for p in paths for rtt in (p.evidence.ike.rtt, p.window.rtt.srtt) if rtt is not None]
    return min(max(known, default=_RTT), 1.0)
