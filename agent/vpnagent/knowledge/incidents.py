"""Incidents: one fault from its first symptom to recovery, with its flaps, trials and consequences. Pure.

A *symptom* is a tunnel that is down, or charon that does not answer. The first one opens an incident. What
fails soon after it, or while charon is gone, is of the same fault. A symptom has ended when it has been fine
for ``RECOVERED_AFTER``, and an incident ends with its last symptom. What is unknown for a while, as the state
of a tunnel that is negotiated again or after a restart of the daemon, neither begins nor ends anything.

Times are of the wall clock, in seconds: only what is told depends on them.
"""

import enum
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from vpnagent.config.values import TunnelKey
from vpnagent.finding import Finding
from vpnagent.record import Json, record, replace

RECOVERED_AFTER: Final = 30.0  #: seconds that a symptom must have been absent: a flap is no recovery
TOGETHER: Final = 30.0  #: seconds after an incident's begin in which what fails has failed with it
LONGEST_NAME: Final = 80  #: characters of a symptom's code or subject: CONNECTION/TUNNEL is 65
MOST_READ: Final = 1024  #: incidents, and symptoms of one, that are taken from a file

CHARON_GONE, TUNNEL_DOWN = "CharonUnreachable", "TunnelDown"

#: Findings that say no more than the incident of their tunnel, or of their connection's tunnel, does.
CONSEQUENCES: Final = frozenset({"NoStandby", "PathDown", "TunnelLeftDown", "NegotiationFailed"})


class Sign(enum.Enum):
    """What a look says of a possible symptom."""

    FAULT = "fault"
    UNKNOWN = "unknown"
    FINE = "fine"


class SymptomKey(NamedTuple):
    """Code and subject of the finding that a symptom is."""

    code: str
    subject: str


CHARON: Final = SymptomKey(CHARON_GONE, "")


def of_tunnel(key: TunnelKey) -> SymptomKey:
    """Return the symptom that a tunnel is down."""
    return SymptomKey(TUNNEL_DOWN, str(key))


@record(frozen=True, slots=True)
class Symptom:
    """One part of a fault."""

    since: float  #: wall clock, seconds
    fine_since: float | None = None  #: None: it is not; else it recovers, unless it fails again soon


@record(frozen=True, slots=True, kw_only=True)
class Incident:
    """A fault that has not ended."""

    id: str
    began: float  #: wall clock, seconds
    symptoms: Mapping[SymptomKey, Symptom]  #: those that have not ended, at least one

    @property
    def cause(self) -> SymptomKey:
        """The symptom that explains the others: charon, else what came first."""
        return min(self.symptoms, key=lambda key: (key.code != CHARON_GONE, self.symptoms[key].since, key))

    @property
    def recovering(self) -> bool:
        """Whether nothing is wrong any more, and it only has to stay so."""
        return all(symptom.fine_since is not None for symptom in self.symptoms.values())

    @property
    def connections(self) -> frozenset[str]:
        """The connections whose tunnels are down in it."""
        return frozenset(k.subject.partition("/")[0] for k in self.symptoms if k.code == TUNNEL_DOWN)

    def explains(self, finding: Finding) -> bool:
        """Whether the finding is a symptom of this fault, or follows from it."""
        if (key := SymptomKey(finding.code, finding.subject)) in self.symptoms:
            return True
        down = SymptomKey(TUNNEL_DOWN, key.subject) in self.symptoms or key.subject in self.connections
        return key.code in CONSEQUENCES and down

    def since(self, finding: Finding) -> float:
        """Return when the part of the fault began that this finding, which it explains, tells of."""
        for key in (SymptomKey(finding.code, finding.subject), SymptomKey(TUNNEL_DOWN, finding.subject)):
            if key in self.symptoms:
                return self.symptoms[key].since
        return self.began


class Incidents:
    """The open incidents. Drive it with ``update()``."""

    def __init__(self, still_open: Iterable[Incident] = ()) -> None:
        self.open: tuple[Incident, ...] = tuple(still_open)  #: oldest first; another tuple after a change

    def of(self, key: SymptomKey) -> Incident | None:
        """Return the incident that has this symptom."""
        return next((incident for incident in self.open if key in incident.symptoms), None)

    def explaining(self, finding: Finding) -> Incident | None:
        """Return the incident that the finding belongs to."""
        return next((incident for incident in self.open if incident.explains(finding)), None)

    def update(self, signs: Mapping[SymptomKey, Sign], at: float) -> bool:
        """Take in one look at wall time ``at``; return whether anything changed.

        A symptom of which nothing is said any more has ended: its tunnel is no longer configured.
        """
        before = self.open
        found = tuple(left for incident in before if (left := _stepped(incident, signs, at)) is not None)
        for key in sorted(
            (k for k, s in signs.items() if s is Sign.FAULT), key=lambda k: k.code != CHARON_GONE
        ):
            if not any(key in incident.symptoms for incident in found):
                found = _with(found, key, at)
        if found == before:
            return False
        self.open = found
        return True


def _stepped(incident: Incident, signs: Mapping[SymptomKey, Sign], at: float) -> Incident | None:
    """Return the incident with the symptoms that it has left; None: it is over."""
    symptoms = {
        key: stepped
        for key, symptom in incident.symptoms.items()
        if key in signs and (stepped := _symptom(symptom, signs[key], at)) is not None
    }
    return replace(incident, symptoms=symptoms) if symptoms else None


def _symptom(symptom: Symptom, sign: Sign, at: float) -> Symptom | None:
    if sign is Sign.FAULT:
        return replace(symptom, fine_since=None)
    if sign is Sign.UNKNOWN:
        return symptom
    fine_since = at if symptom.fine_since is None else min(symptom.fine_since, at)  # the clock may step back
    return None if at - fine_since >= RECOVERED_AFTER else replace(symptom, fine_since=fine_since)


def _with(found: tuple[Incident, ...], key: SymptomKey, at: float) -> tuple[Incident, ...]:
    """Return the incidents with one more symptom, in the incident that it belongs to or in a new one."""
    for incident in found:
        if CHARON in incident.symptoms or 0 <= at - incident.began < TOGETHER:
            joined = replace(incident, symptoms={**incident.symptoms, key: Symptom(at)})
            return tuple(joined if other is incident else other for other in found)
    return (*found, Incident(id=_id(key, at), began=at, symptoms={key: Symptom(at)}))


def _id(key: SymptomKey, at: float) -> str:
    """Return a name that says when and what, and that no second incident can have."""
    about = key.subject.replace("/", "-") or "charon"
    return f"{datetime.fromtimestamp(at, UTC):%Y%m%dT%H%M%SZ}-{about}"


# What survives a restart of the daemon, as JSON.


def plain(incidents: Iterable[Incident]) -> list[Json]:
    """Return incidents as JSON; ``incidents_in`` reads it."""
    return [
        {
            "id": incident.id,
            "began": incident.began,
            "symptoms": [[*key, s.since, s.fine_since] for key, s in incident.symptoms.items()],
        }
        for incident in incidents
    ]


def incidents_in(value: Any) -> tuple[Incident, ...]:
    """Return the incidents. Raises ValueError, TypeError or KeyError for anything else."""
    if not isinstance(value, list) or len(value) > MOST_READ:
        raise ValueError("it is no list of incidents")
    return tuple(
        Incident(id=_name(row["id"]), began=_time(row["began"]), symptoms=dict(_symptoms(row["symptoms"])))
        for row in value
        if row["symptoms"]
    )


def _symptoms(rows: Any) -> Iterator[tuple[SymptomKey, Symptom]]:
    if len(rows) > MOST_READ:
        raise ValueError("it has too many symptoms")
    for code, subject, since, fine_since in rows:
        fine = None if fine_since is None else _time(fine_since)
        yield SymptomKey(_name(code), _name(subject)), Symptom(_time(since), fine)


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_NAME + len("20261201T031207Z-"):
        raise ValueError("a name is not one")
    return value


def _time(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LATEST:
        raise ValueError("a time is not one")
    return float(value)


LATEST: Final = 253402300800.0  #: seconds: the year 10000, which no calendar here can write
