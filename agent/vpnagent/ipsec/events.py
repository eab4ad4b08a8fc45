"""What charon tells by itself, as values: the daemon's view of VICI events."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class IkeUpDown:
    """An IKE_SA was established or is being deleted."""

    connection: str  #: the VICI connection name
    ike_sa: str  #: unique id
    up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildUpDown:
    """A CHILD_SA was installed or removed other than by rekeying."""

    connection: str  #: the VICI connection name
    child: str
    child_sa: str  #: unique id
    up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rekeyed:
    """An IKE_SA, or with ``child`` a CHILD_SA, was replaced by a new one."""

    connection: str  #: the VICI connection name
    child: str | None
    new: str  #: unique id


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line of charon's log at level 0 or 1."""

    connection: str | None  #: the VICI connection name; None where charon knows none (yet)
    ike_sa: str | None  #: unique id
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something is wrong with a connection: charon 6.0.3 and later."""

    connection: str  #: the VICI connection name
    type: str  #: for example ``retransmit-send``


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLost:
    """charon is gone or hangs: connect again, and load everything anew."""

    reason: str


Event = IkeUpDown | ChildUpDown | Rekeyed | Alert | LogLine | ConnectionLost
