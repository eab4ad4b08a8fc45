"""What to tell charon, so that it has the connections that it should: a list of actions, in order.

Pure. Only names with our prefix are ever touched. Nothing is unloaded unless the caller allows pruning,
which it does when the configuration is loaded and one full observation has succeeded.

What charon has loaded is judged by the digests of what this process loaded into this charon (``Loaded``):
list-conns tells neither proposals nor if_id. At first everything of ours is loaded once, which harms
nothing: with ``start_action = none``, load-conn leaves the SAs of an earlier load alone, changed or not.

SAs that were negotiated with settings that have changed are replaced, one tunnel at a time, those that
carry nothing first: a change that does not work stops at the first tunnel. Where charon can negotiate new
SAs beside them, make before break: they go when the new ones stand, and stay while the peer refuses. Else
(IKEv1, another key or certificate: charon would put the new CHILD_SA under the old IKE_SA) they are
terminated, and then initiated like any tunnel that is down, only while another tunnel can carry the traffic.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace

from vpnagent.config.values import OWNER_PREFIX, TunnelKey
from vpnagent.ipsec.actions import (
    DUPLICATE,
    OUTDATED,
    REPLACED,
    UNCONFIGURED,
    CharonAction,
    CharonChange,
    CharonConnection,
    LoadConnection,
    LoadSecret,
    Renew,
    Terminate,
    TerminateChild,
    UnloadConnection,
    UnloadSecret,
    Vacate,
)
from vpnagent.ipsec.messages import child_names
from vpnagent.ipsec.sa import CharonState, ChildSa, IkeSa

# SAs that charon has under a former name of their tunnel. Pure.
# charon names an IKE_SA after the connection that it was negotiated for, as long as it and its successors
# live, and negotiates in it for another connection to the same peer, or nothing where nothing differs
# (seen with 5.9.8). So a tunnel that has another name in the file keeps its SAs, if it is the same to the
# kernel and to the peer: they are known by the interface id of what carries, and by the peer's address.

FormerNames = Mapping[str, str]  #: present VICI name by former one


def present_names(sas: Iterable[IkeSa], want: Mapping[str, CharonConnection]) -> dict[str, str]:
    """Return, for each former name, that of the tunnel whose traffic the SAs carry."""
    tunnels = {(wanted.if_id, wanted.remote_address): name for name, wanted in want.items()}
    return {
        sa.connection: tunnels[child.if_id, sa.remote_host]
        for sa in sas
        if sa.connection not in want
        for child in sa.carrying_children
        if (child.if_id, sa.remote_host) in tunnels
    }


def under_present_names(sas: Iterable[IkeSa], names: FormerNames) -> tuple[IkeSa, ...]:
    """Return the SAs as if they had been negotiated under the names that their tunnels have now."""
    return tuple(_named(sa, names[sa.connection]) if sa.connection in names else sa for sa in sas)


def _named(sa: IkeSa, name: str) -> IkeSa:
    was, now = _tunnel(sa.connection), _tunnel(name)

    def renamed(child: ChildSa) -> ChildSa:
        former = child.name == was or child.name.startswith(f"{was}.")  # IKEv1 numbers them
        return replace(child, name=now + child.name.removeprefix(was)) if former else child

    return replace(sa, connection=name, children=tuple(map(renamed, sa.children)))


def _tunnel(name: str) -> str:
    return name.rpartition(".")[2]


#: Seconds for which two IKE_SAs of one connection must both have stood before one of them is a
#: duplicate: a peer that removes duplicates by itself does so at once, and two that choose differently
#: at the same moment would remove both.
DUPLICATE_AGE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedConnections:
    """What this process has loaded into this charon. Start anew with each connection to charon."""

    digests: Mapping[str, str] = field(default_factory=dict)  #: by VICI name
    connections: Mapping[str, CharonConnection] = field(default_factory=dict)  #: as they were loaded
    outdated: frozenset[str] = frozenset()  #: connections with SAs of earlier settings
    renewable: frozenset[str] = frozenset()  #: those of them beside whose SAs new ones can be negotiated
    superseded: Mapping[str, frozenset[str]] = field(default_factory=dict)  #: CHILD_SAs to be replaced
    vacating: frozenset[TunnelKey] = frozenset()  #: tunnels that no traffic is to be sent into meanwhile
    renegotiating: frozenset[str] = frozenset()  #: connections whose SAs of earlier settings were terminated

    def observed(self, state: CharonState) -> "LoadedConnections":
        """Return what remains to be done about earlier settings, given what charon has now."""
        carrying = {child.unique_id for sa in state.sas for child in sa.carrying_children}
        left = {name: children & carrying for name, children in self.superseded.items()}
        outdated = self.outdated & {sa.connection for sa in state.sas if not sa.deleting}
        renegotiating = self.renegotiating - {
            sa.connection for sa in state.sas if sa.carrying_children and sa.connection not in self.outdated
        }
        return replace(
            self,
            superseded={name: children for name, children in left.items() if children},
            outdated=outdated,
            renegotiating=renegotiating,
            vacating=frozenset(key for key in self.vacating if key.owner in outdated | renegotiating),
        )

    def after(self, action: CharonAction, digest: Callable[[CharonConnection], str]) -> "LoadedConnections":
        """Return what is loaded once charon has accepted the action."""
        match action:
            case LoadConnection(connection):
                name, new = connection.name, digest(connection)
                same = self.digests.get(name, new) == new
                beside = name in self.connections and negotiable_beside(self.connections[name], connection)
                loaded = replace(
                    self,
                    digests={**self.digests, name: new},
                    connections={**self.connections, name: connection},
                )
                return loaded if same else loaded._with_outdated(name, renewable=beside)
            case LoadSecret(connection) if connection.name in self.connections:
                # Whose key it is concerns no SA that stands.
                was = self.connections[connection.name]
                owned = replace(was, psk_by_pair=connection.psk_by_pair)
                return replace(self, connections={**self.connections, connection.name: owned})
            case UnloadConnection(name):
                kept = {other: digest for other, digest in self.digests.items() if other != name}
                return replace(
                    self,
                    digests=kept,
                    connections={other: c for other, c in self.connections.items() if other != name},
                    outdated=self.outdated - {name},
                    renewable=self.renewable - {name},
                    superseded={other: ids for other, ids in self.superseded.items() if other != name},
                    renegotiating=self.renegotiating - {name},
                )
            case Renew(name, children):
                return replace(
                    self,
                    outdated=self.outdated - {name},
                    renewable=self.renewable - {name},
                    superseded={**self.superseded, name: children},
                )
            case Vacate(key):
                return replace(self, vacating=self.vacating | {key})
            case Terminate(reason=reason) if reason == OUTDATED:
                return replace(
                    self,
                    outdated=self.outdated - {action.connection},
                    renegotiating=self.renegotiating | {action.connection},
                )
            case _:
                return self

    def renamed(self, names: FormerNames, desired: Mapping[str, CharonConnection]) -> "LoadedConnections":
        """Return this with what tunnels keep under former names outdated, where it has other settings."""
        loaded = self
        for former, name in names.items():
            if former not in self.connections or name in self.connections:
                continue
            was, now = replace(self.connections[former], key=desired[name].key), desired[name]
            if was != now:
                loaded = loaded._with_outdated(name, renewable=negotiable_beside(was, now))
        return loaded

    def _with_outdated(self, name: str, *, renewable: bool) -> "LoadedConnections":
        """Return this with SAs of earlier settings; what cannot be renewed once, cannot until it is done."""
        once = renewable and (name in self.renewable or name not in self.outdated)
        return replace(
            self,
            outdated=self.outdated | {name},
            renewable=self.renewable | {name} if once else self.renewable - {name},
        )


def negotiable_beside(old: CharonConnection, new: CharonConnection) -> bool:
    """Whether charon negotiates SAs with the new settings while those with the old stand.

    An IKE_SA whose configuration it takes to be the same is used again, and neither key nor certificate
    counts there (seen with 5.9.8: a changed IKE proposal makes a new IKE_SA, a changed ESP proposal a second
    CHILD_SA in the old one).
    """
    same_credentials = (old.psk, old.certificates) == (new.psk, new.certificates)
    return same_credentials and 1 not in (old.ike.version, new.ike.version) and old.if_id == new.if_id


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedTraffic:
    """Which tunnels carry what: what a renegotiation must respect."""

    usable: Set[TunnelKey] = frozenset()  #: packets may be sent into them
    forwarding: Set[TunnelKey] = frozenset()  #: traffic is sent into them now
    alternatives: Mapping[TunnelKey, Set[TunnelKey]] = field(default_factory=dict)
    """The other tunnels that could carry a tunnel's traffic."""


def plan(
    desired: Mapping[str, CharonConnection],
    state: CharonState,
    loaded: LoadedConnections,
    *,
    digest: Callable[[CharonConnection], str],
    traffic: CarriedTraffic,
    prune: bool,
) -> list[CharonAction]:
    """Return what is to be done now, to be applied in order."""
    loaded = loaded.observed(state)
    actions: list[CharonAction] = []
    if prune:
        # First: of two connections to the same peer, or two keys of it, charon takes the first it finds.
        actions += _unloads(desired, state)
    actions += _loads(desired, state, loaded, digest)
    if prune:
        actions += (_terminate(sa, UNCONFIGURED) for sa in _ours(state) if sa.connection not in desired)
    begun = _renegotiation(desired, state, loaded, traffic)
    changing = {action.connection for action in begun} | loaded.superseded.keys()
    actions += _duplicates(
        sa for sa in _ours(state) if sa.connection in desired and sa.connection not in changing
    )
    return [*actions, *_replaced(desired, state, loaded), *begun]


def _unloads(desired: Mapping[str, CharonConnection], state: CharonState) -> Iterator[CharonAction]:
    for name in sorted(state.connections - desired.keys()):
        if name.startswith(OWNER_PREFIX):
            yield UnloadConnection(name)
    wanted = {name for name, connection in desired.items() if connection.psk is not None}
    for id_ in sorted(state.secrets - wanted):
        if id_.startswith(OWNER_PREFIX):
            yield UnloadSecret(id_)


def _loads(
    desired: Mapping[str, CharonConnection],
    state: CharonState,
    loaded: LoadedConnections,
    digest: Callable[[CharonConnection], str],
) -> Iterator[CharonAction]:
    for name, connection in desired.items():
        same = loaded.digests.get(name) == digest(connection)
        owned = loaded.connections.get(name, connection).psk_by_pair == connection.psk_by_pair
        if connection.psk is not None and not (same and owned and name in state.secrets):
            yield LoadSecret(connection)
        if not (same and name in state.connections):
            yield LoadConnection(connection)


def _duplicates(sas: Iterable[IkeSa]) -> Iterator[CharonAction]:
    """Yield the end of the oldest duplicate of each connection: both ends may have initiated at once.

    Of two, the newer stays, because the kernels of both ends send into the newest CHILD_SA.
    """
    by_connection: dict[str, list[IkeSa]] = {}
    for sa in sas:
        if sa.carrying_children and sa.established_for >= DUPLICATE_AGE:
            by_connection.setdefault(sa.connection, []).append(sa)
    for of_connection in by_connection.values():
        if any(sa.version == 1 for sa in of_connection):
            yield from _duplicate_child(of_connection)
        else:
            yield from _duplicate_ike_sa(of_connection)


def _duplicate_ike_sa(sas: list[IkeSa]) -> Iterator[CharonAction]:
    """One that carries nothing is none: it may be on its way to something, and costs nothing."""
    oldest, *newer = sorted(sas, key=_age, reverse=True)
    carried_by_newer = {child.name for sa in newer for child in sa.carrying_children}
    if {child.name for child in oldest.carrying_children} <= carried_by_newer:
        yield _terminate(oldest, DUPLICATE)


def _duplicate_child(sas: list[IkeSa]) -> Iterator[CharonAction]:
    """In IKEv1 the CHILD_SAs alone: charon moves them from one IKE_SA to another, each end as it likes.

    To delete an IKE_SA may delete at the peer what we take to be in the other (seen with two 5.9.8).
    """
    children = sorted(
        (child for sa in sas for child in sa.carrying_children if child.installed_for >= DUPLICATE_AGE),
        key=lambda child: int(child.unique_id),
    )
    for older, child in enumerate(children, start=1):
        if child.name in {newer.name for newer in children[older:]}:
            yield TerminateChild(sas[0].connection, child.unique_id, DUPLICATE)
            return


def _renegotiation(
    desired: Mapping[str, CharonConnection],
    state: CharonState,
    loaded: LoadedConnections,
    traffic: CarriedTraffic,
) -> list[CharonChange | Terminate]:
    """Return what begins to replace the SAs of one outdated tunnel, or nothing while that must wait."""
    candidates = [
        connection
        for name, connection in desired.items()
        if name in loaded.outdated or _wrong_if_id(connection, state)
    ]
    candidates.sort(key=lambda connection: connection.key in traffic.forwarding)
    under_way = {desired[n].key for n in (*loaded.renegotiating, *loaded.superseded) if n in desired}
    for connection in candidates:
        sas = [sa for sa in _ours(state) if sa.connection == connection.name]
        if connection.name in loaded.renewable:
            if not traffic.alternatives.get(connection.key, frozenset()) & under_way:
                carrying = (child.unique_id for sa in sas for child in sa.carrying_children)
                return [Renew(connection.name, frozenset(carrying))]
        elif _may_go(connection.key, traffic, under_way):
            if not _must_be_vacated(connection.key, traffic):
                return [_terminate(sa, OUTDATED) for sa in sas]
            return [] if connection.key in loaded.vacating else [Vacate(connection.key)]
    return []


def _must_be_vacated(key: TunnelKey, traffic: CarriedTraffic) -> bool:
    """Whether traffic is sent into the tunnel that another can carry."""
    return key in traffic.forwarding and bool(traffic.alternatives.get(key, frozenset()) & traffic.usable)


def _may_go(key: TunnelKey, traffic: CarriedTraffic, under_way: Set[TunnelKey]) -> bool:
    alternatives = traffic.alternatives.get(key, frozenset())
    if key not in traffic.usable or not alternatives:
        return True
    return not alternatives & under_way and bool(alternatives & traffic.usable)


def _replaced(
    desired: Mapping[str, CharonConnection], state: CharonState, loaded: LoadedConnections
) -> Iterator[CharonAction]:
    """Yield the end of SAs beside which new ones stand."""
    for name, old in loaded.superseded.items():
        sas = [sa for sa in _ours(state) if sa.connection == name]
        new = {c.name for sa in sas for c in sa.carrying_children if c.unique_id not in old}
        if name not in desired or not new.issuperset(child_names(desired[name])):
            continue
        for sa in sas:
            ending = [child for child in sa.carrying_children if child.unique_id in old]
            if ending and len(ending) == len(sa.carrying_children):
                yield _terminate(sa, REPLACED)
            else:
                yield from (TerminateChild(name, child.unique_id, REPLACED) for child in ending)


def without_superseded(sas: Iterable[IkeSa], loaded: LoadedConnections) -> list[IkeSa]:
    """Return the SAs as initiation is to see them: what is to be replaced carries nothing."""
    return [
        replace(
            sa,
            children=tuple(
                child
                for child in sa.children
                if child.unique_id not in loaded.superseded.get(sa.connection, ())
            ),
        )
        for sa in sas
    ]


def _wrong_if_id(connection: CharonConnection, state: CharonState) -> bool:
    """Whether an SA of an earlier process's settings feeds another interface."""
    return any(
        child.if_id != connection.if_id
        for sa in state.sas
        if sa.connection == connection.name
        for child in sa.carrying_children
    )


def _ours(state: CharonState) -> Iterator[IkeSa]:
    """Yield our IKE_SAs that can still be terminated."""
    return (sa for sa in state.sas if sa.connection.startswith(OWNER_PREFIX) and not sa.deleting)


def _terminate(sa: IkeSa, reason: str) -> Terminate:
    """One that is not established has nobody to tell."""
    return Terminate(sa.connection, sa.unique_id, reason, force=sa.connecting)


def _age(sa: IkeSa) -> tuple[float, int]:
    """Charon tells whole seconds; its unique ids count up."""
    return (sa.established_for, -int(sa.unique_id))
