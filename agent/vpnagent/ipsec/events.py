"""What charon tells by itself, as values: the daemon's view of VICI events."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class IkeUpDown:
    """An IKE_SA of ours was established or deleted."""

    connection: str  #: the VICI connection name
    unique_id: str
    up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildUpDown:
    """A CHILD_SA of ours was installed or removed other than by rekeying."""

    connection: str  #: the VICI connection name
    child: str
    unique_id: str  #: of the CHILD_SA
    up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rekeyed:
    """An IKE_SA, or with ``child`` a CHILD_SA, of ours was replaced by a new one."""

    connection: str  #: the VICI connection name
    child: str | None
    unique_id: str  #: of the new SA


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line of charon's log (level 0 or 1) about an IKE_SA of ours, or about none."""

    connection: str | None  #: the VICI connection name; None where charon knows none (yet)
    unique_id: str | None  #: of the IKE_SA
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """charon 6.0.3 and later: something went wrong with a connection of ours."""

    connection: str | None
    type: str  #: for example ``retransmit-send``


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLost:
    """charon is gone or hangs: connect again, and load everything anew."""

    reason: str


Event = IkeUpDown | ChildUpDown | Rekeyed | LogLine | Alert | ConnectionLost
