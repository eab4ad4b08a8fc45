"""Whether a drill may begin, and what it measured, as lines and as JSON. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from vpnagent.commands.drill.ledger import Measure
from vpnagent.control.protocol import USAGE
from vpnagent.errors import ControlError
from vpnagent.record import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Standby:
    """A tunnel that is to take the traffic over, and why it may not be able to."""

    name: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrilledTunnels:
    """The tunnel that a drill takes the traffic off, and those that are to carry it meanwhile."""

    connection: str
    tunnel: str
    active: tuple[str, ...]  #: names of the tunnels that carry the connection's traffic
    standbys: tuple[Standby, ...]

    def __str__(self) -> str:
        return f"{self.connection}/{self.tunnel}"

    def impossible(self) -> str | None:
        """Return why there is nothing to rehearse, whoever insists."""
        if not self.standbys:
            return f"{self} is the only tunnel of its connection: there is none to fail over to"
        if self.tunnel not in self.active:
            return f"{self} carries no traffic: there is nothing to move off it"
        return None

    def unwise(self) -> str | None:
        """Return why traffic would be at risk."""
        if any(not standby.problems for standby in self.standbys):
            return None
        told = "; ".join(f"{standby.name}: {', '.join(standby.problems)}" for standby in self.standbys)
        return f"no healthy standby for {self}: {told}"


def subject_of(status: Json, name: str | None) -> DrilledTunnels:
    """Return what is to be drilled: ``CONNECTION/TUNNEL``, a bare name, or None: the one that carries.

    Raises ControlError when that is none or several.
    """
    pairs = [(c, t) for c in status["connections"] for t in c["tunnels"]]
    if name is None:
        found = [(c, t) for c, t in pairs if t["forwarding"] and len(c["tunnels"]) > 1]
        problem = "say which tunnel" if found else "no tunnel with a standby carries traffic"
    else:
        found = [(c, t) for c, t in pairs if name in (t["name"], f"{c['name']}/{t['name']}")]
        problem = f"{name!r} is {'not unique' if found else 'not a tunnel'}"
    if len(found) != 1:
        known = ", ".join(f"{c['name']}/{t['name']}" for c, t in found or pairs)
        raise ControlError(f"{problem}: {known}", USAGE)
    [(connection, tunnel)] = found
    others = (t for t in connection["tunnels"] if t is not tunnel)
    probed = bool(status["prober"]["connected"])
    return DrilledTunnels(
        connection=connection["name"],
        tunnel=tunnel["name"],
        active=tuple(connection["active"]),
        standbys=tuple(Standby(name=t["name"], problems=tuple(_problems(t, probed))) for t in others),
    )


def _problems(tunnel: Json, probed: bool) -> Iterable[str]:
    path = tunnel["path"]
    if tunnel["child_sa"] == "none":
        yield "no CHILD_SA"
    if not probed:
        yield "its path is not known, as no prober runs"
    elif path["state"] != "up":
        reason = path.get("reason")
        yield f"path {path['state']}" + (f" ({reason})" if reason else "")
    if tunnel["state"] in ("drained", "trial"):
        yield tunnel["state"]


# What a drill found, for a person and as JSON. Pure.

DETECTION: Final = (
    "detection: a drill asks for the switch, a fault is noticed first, within the tunnel's detection time"
)
CLOUD: Final = "the cloud's direction: it moves only when the cloud decides"
CLOCKS: Final = 0.002  #: seconds by which a time that the daemon tells may seem to be before its cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """The probes that the drill sent."""

    source: str | None  #: None: the kernel picks
    target: str
    interval: float  #: seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """Traffic was moved, and what the stream saw of it. Moments are seconds after ``asked``."""

    title: str  #: what was asked for
    asked: float  #: wall clock, seconds
    moved: float | None = None  #: the daemon told that other tunnels carry; None: it did not
    old: tuple[str, ...]
    new: tuple[str, ...]  #: empty: not known, as the daemon did not move it
    sent: float | None = None  #: the netlink message that replaces the nexthop group
    acknowledged: float | None = None
    first_reply: float | None = None  #: to a probe that was sent on the new path
    measure: Measure

    def moments(self) -> Iterator[tuple[str, float]]:
        """Yield what is known of it."""
        told = (
            ("asked", 0.0),
            ("netlink sent", self.sent),
            ("nexthop group replaced", self.acknowledged),
            ("told by the daemon", self.moved),
            ("first reply on the new path", self.first_reply),
        )
        known = [(what, at) for what, at in told if at is not None]
        yield from sorted(known, key=lambda moment: moment[1])


@dataclass(slots=True, kw_only=True)
class Report:
    """Filled while the drill goes on; it is fine while ``problems`` is empty."""

    subject: DrilledTunnels
    forced: bool
    stream: Stream | None = None
    before: Measure | None = None
    switches: list[Switch] = field(default_factory=list)
    interfaces: Mapping[int, str] = field(default_factory=dict)  #: names by index
    timeline: list[str] = field(default_factory=list)  #: the captured packets
    problems: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Yield the report for a person."""
        yield f"drill of {self.subject}: {'failed' if self.problems else 'ok'}"
        yield from (f"  problem: {problem}" for problem in self.problems)
        for standby in self.subject.standbys:
            yield f"  standby {standby.name}: {', '.join(standby.problems) or 'CHILD_SA installed, path up'}"
        if self.forced:
            yield "  forced: the standby's health was no condition"
        if self.stream and self.before:
            yield (
                f"  stream: ICMP echo {self.stream.source or ''} -> {self.stream.target} every "
                f"{_ms(self.stream.interval)}, routed as other traffic is"
            )
            yield f"  before: {self._told(self.before)}"
        for switch in self.switches:
            yield from self._switch(switch)
        if self.timeline:
            yield "packets (times from the switch; ESP of other traffic is among them):"
            yield from (f"  {line}" for line in self.timeline)
        if self.switches:
            yield "not rehearsed:"
            yield from (f"  - {what}" for what in self._not_rehearsed())

    def plain(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {
            "ok": not self.problems,
            "problems": self.problems,
            "connection": self.subject.connection,
            "tunnel": self.subject.tunnel,
            "forced": self.forced,
            "standbys": [
                {"tunnel": s.name, "healthy": not s.problems, "problems": list(s.problems)}
                for s in self.subject.standbys
            ],
            "stream": self.stream
            and {
                "source": self.stream.source,
                "target": self.stream.target,
                "interval_seconds": self.stream.interval,
            },
            "before": self.before and self._plain_measure(self.before),
            "switches": [self._plain_switch(switch) for switch in self.switches],
            "timeline": self.timeline,
            "not_rehearsed": list(self._not_rehearsed()),
        }

    def _switch(self, switch: Switch) -> Iterator[str]:
        path = f"{'+'.join(switch.old)} -> {'+'.join(switch.new) or '?'}"
        yield f"  {switch.title}: {path} at {_time(switch.asked)}"
        yield "    " + ", ".join(what if at == 0 else f"{what} +{_ms(at)}" for what, at in switch.moments())
        yield f"    {self._told(switch.measure)}"

    def _told(self, measure: Measure) -> str:
        told = f"{measure.sent} sent, {measure.lost} lost, longest gap {_ms(measure.longest_gap)}"
        if self.stream and measure.longest_pause > 2 * self.stream.interval + 0.01:
            told += f" (the stream itself paused for {_ms(measure.longest_pause)})"
        arrived = ", ".join(self._interfaces(measure))
        return f"{told}; replies on {arrived}" if arrived else told

    def _interfaces(self, measure: Measure) -> list[str]:
        return sorted(self.interfaces.get(index, f"interface {index}") for index in measure.replies_on)

    def _not_rehearsed(self) -> Iterator[str]:
        arrived = {name for switch in self.switches for name in self._interfaces(switch.measure)}
        seen = f"; replies arrived on {', '.join(sorted(arrived))}" if arrived else ""
        yield f"{CLOUD}{seen}"
        yield DETECTION

    def _plain_switch(self, switch: Switch) -> dict[str, Any]:
        return {
            "title": switch.title,
            "from": list(switch.old),
            "to": list(switch.new),
            "asked_at": _time(switch.asked),
            "netlink_sent_seconds": _rounded(switch.sent),
            "netlink_acknowledged_seconds": _rounded(switch.acknowledged),
            "moved_seconds": _rounded(switch.moved),
            "first_reply_seconds": _rounded(switch.first_reply),
            **self._plain_measure(switch.measure),
        }

    def _plain_measure(self, measure: Measure) -> dict[str, Any]:
        return {
            "sent": measure.sent,
            "lost": measure.lost,
            "longest_gap_seconds": round(measure.longest_gap, 6),
            "longest_pause_seconds": round(measure.longest_pause, 6),
            "replies_on": self._interfaces(measure),
        }


def moments_since(failover: Mapping[str, Any] | None, asked: float) -> dict[str, float]:
    """Return when the daemon's last failover was ``sent`` and ``acknowledged``, in seconds after ``asked``.

    Empty when that failover is an older one, or the daemon does not know. ``asked`` is wall clock.
    """
    if failover is None:
        return {}
    at = {
        moment["what"]: datetime.fromisoformat(moment["at"]).timestamp() - asked
        for moment in failover["timeline"]
    }
    if at["verdict"] < -CLOCKS:
        return {}
    known = {"sent": at.get("netlink sent"), "acknowledged": at.get("netlink acknowledged")}
    return {what: seconds for what, seconds in known.items() if seconds is not None}


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}ms"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _time(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
