"""The SAs that charon has: IKE_SAs and CHILD_SAs of our connections, as list-sas tells them.

Names and states are charon's own (strongSwan src/libcharon/plugins/vici/README.md, list-sa event).
"""

import enum
from dataclasses import dataclass

Selectors = tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]


class IkeState(enum.Enum):
    """The state of an IKE_SA, in charon's words."""

    CREATED = "CREATED"
    CONNECTING = "CONNECTING"
    ESTABLISHED = "ESTABLISHED"
    PASSIVE = "PASSIVE"
    REKEYING = "REKEYING"
    REKEYED = "REKEYED"
    DELETING = "DELETING"
    DESTROYING = "DESTROYING"


class ChildState(enum.Enum):
    """The state of a CHILD_SA, in charon's words."""

    CREATED = "CREATED"
    ROUTED = "ROUTED"
    INSTALLING = "INSTALLING"
    INSTALLED = "INSTALLED"
    UPDATING = "UPDATING"
    REKEYING = "REKEYING"
    REKEYED = "REKEYED"
    RETRYING = "RETRYING"
    DELETING = "DELETING"
    DELETED = "DELETED"
    DESTROYING = "DESTROYING"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSa:
    """One CHILD_SA. Bytes and packets are of this SA alone: they start again at each rekey."""

    name: str
    unique_id: str
    state: ChildState
    if_id: int  #: 0 where charon tells none
    bytes_in: int
    bytes_out: int
    packets_in: int
    packets_out: int
    installed_for: float  #: seconds
    encapsulated: bool  #: ESP in UDP
    local_ts: tuple[str, ...] = ()  #: the traffic selectors that were negotiated; empty: not told
    remote_ts: tuple[str, ...] = ()

    @property
    def carries_traffic(self) -> bool:
        """Whether the kernel has it for both directions; true while it is being rekeyed."""
        return self.state in (ChildState.INSTALLED, ChildState.REKEYING, ChildState.UPDATING)


@dataclass(frozen=True, slots=True, kw_only=True)
class IkeSa:
    """One IKE_SA and its CHILD_SAs."""

    connection: str  #: the VICI connection name
    unique_id: str
    remote_host: str  #: the peer's address
    state: IkeState
    initiator: bool
    established_for: float  #: seconds; 0 before
    children: tuple[ChildSa, ...]
    version: int = 2  #: of IKE
    negotiating_child: bool = False  #: a CHILD_SA is being negotiated in it; it is in ``children`` only later

    @property
    def connecting(self) -> bool:
        """Whether the IKE_SA itself is still being negotiated."""
        return self.state in (IkeState.CREATED, IkeState.CONNECTING)

    @property
    def deleting(self) -> bool:
        """Whether it is on its way out: nothing can be built on it."""
        return self.state in (IkeState.DELETING, IkeState.DESTROYING)

    @property
    def carrying_children(self) -> tuple[ChildSa, ...]:
        """The CHILD_SAs that carry traffic.

        None of an IKE_SA that is being deleted: while the peer does not answer our DELETE, charon
        keeps its CHILD_SAs INSTALLED for minutes, and the peer may have forgotten them long ago.
        """
        if self.deleting:
            return ()
        return tuple(child for child in self.children if child.carries_traffic)


@dataclass(frozen=True, slots=True, kw_only=True)
class CharonState:
    """One observation of charon."""

    version: str
    connections: frozenset[str]  #: names of all loaded connections, ours and others'
    secrets: frozenset[str]  #: ids of all loaded shared secrets, ours and others'
    sas: tuple[IkeSa, ...]  #: of our connections only


# What charon tells by itself, as values: the daemon's view of VICI events.


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
class CharonAlert:
    """Something is wrong with a connection: charon 6.0.3 and later."""

    connection: str  #: the VICI connection name
    type: str  #: for example ``retransmit-send``


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLost:
    """charon is gone or hangs: connect again, and load everything anew."""

    reason: str


ViciEvent = IkeUpDown | ChildUpDown | Rekeyed | CharonAlert | LogLine | ConnectionLost
