"""A connection of the documents under its name, and one made of all those to one peer. Pure.

In IKE version 1 the cloud has a connection for each pair of a local and a remote network; the two ends have
one IKE_SA all the same, with a CHILD_SA for each pair (RFC 2409 §5.5). Here that is one connection with all
the networks. Its tunnels negotiate every local network with every remote one, so all these pairs must be
there, and what is not of a pair must be told alike.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from vpnagent.commands.import_.json_object import DocumentFacts, DocumentValue, Told, merged
from vpnagent.commands.import_.views import View
from vpnagent.config.wording import listed
from vpnagent.errors import Problem
from vpnagent.secret import Secret

_NETWORKS: Final = ("local_networks", "remote_networks")
_ENDS: Final = ("remote_address", "remote_id", "local_id")
#: What each of the cloud's connections, and each tunnel of them, has for itself.
_OWN: Final = frozenset({*_NETWORKS, "name", "connection_id", "health_check", "tunnel_id"})
_SHOWN: Final = 4  #: pairs
_ONE_IKE_SA: Final = "the two have the same two ends, and one IKE_SA serves both"


@dataclass(frozen=True, slots=True)
class ImportedTunnel:
    """A tunnel with the name that it gets, and all that is told of it."""

    name: Told
    view: View

    @property
    def facts(self) -> DocumentFacts:
        """What is told."""
        return self.view.facts

    @property
    def psk(self) -> Secret | None:
        """The pre-shared key, if a document has it."""
        told = self.facts.get("psk")
        return told.value if told and isinstance(told.value, Secret) else None


@dataclass(frozen=True, slots=True)
class ImportedConnection:
    """A connection with the name that it gets, and all that is told of it."""

    name: Told
    view: View
    tunnels: tuple[ImportedTunnel, ...]
    parts: "tuple[ImportedConnection, ...]" = ()  #: the cloud's, one for each pair of networks

    @property
    def facts(self) -> DocumentFacts:
        """What is told."""
        return self.view.facts

    @property
    def words(self) -> set[str]:
        """What the command line may call it."""
        told = self.facts.get("connection_id")
        own = {str(self.name.value), *([str(told.value)] if told else [])}
        return own.union(*(part.words for part in self.parts))

    def psk_file(self, tunnel: ImportedTunnel) -> str:
        """Return the name of a tunnel's file in the directory of pre-shared keys."""
        return f"{self.name.value}.{tunnel.name.value}.psk"

    def says(self, key: str, value: str) -> bool:
        """Whether this is told."""
        return key in self.facts and self.facts[key].value == value


_Ends = tuple[DocumentValue, ...]  #: of a tunnel


def by_peer(connections: Sequence[ImportedConnection], problems: list[Problem]) -> list[ImportedConnection]:
    """Return the connections, those between the same two ends as one. Why they cannot be is a problem."""
    groups: dict[frozenset[_Ends | str], list[ImportedConnection]] = {}
    for connection in connections:
        ends = frozenset(_ends(tunnel) for tunnel in connection.tunnels)
        key: frozenset[_Ends | str] = frozenset(pair for pair in ends if pair)
        if None in ends:  # not told: it is one of its own
            key = frozenset({str(connection.name.value)})
        groups.setdefault(key, []).append(connection)
    made = [_one(group, problems) if len(group) > 1 else group[0] for group in groups.values()]
    problems += _sharing_an_end(made)
    return made


def _ends(tunnel: ImportedTunnel) -> _Ends | None:
    told = [tunnel.facts[key].value for key in _ENDS if key in tunnel.facts]
    return tuple(told) if len(told) == len(_ENDS) else None


def _one(group: Sequence[ImportedConnection], problems: list[Problem]) -> ImportedConnection:
    """Return one connection for a group between the same two ends."""
    first, *others = group
    refused = list(_refusals(group))
    if refused:
        problems += refused
        return first
    tunnels = []
    for tunnel in first.tunnels:
        views = [_counterpart(tunnel, connection).view for connection in others]
        tunnels.append(replace(tunnel, view=_united([tunnel.view, *views], problems)))
    view = _united([connection.view for connection in group], problems)
    networks = {key: _all_of([connection.facts[key] for connection in group]) for key in _NETWORKS}
    view = replace(view, facts={**view.facts, **networks})
    return ImportedConnection(first.name, view, tuple(tunnels), parts=tuple(group))


def _counterpart(tunnel: ImportedTunnel, connection: ImportedConnection) -> ImportedTunnel:
    return next(other for other in connection.tunnels if _ends(other) == _ends(tunnel))


def _united(views: Sequence[View], problems: list[Problem]) -> View:
    first, *others = views
    alike = [{key: told for key, told in view.facts.items() if key not in _OWN} for view in others]
    return replace(first, facts=merged([first.facts, *alike], problems, _ONE_IKE_SA))


def _all_of(told: Sequence[Told]) -> Told:
    """Return every network once, and every place that tells one."""
    networks = dict.fromkeys(network for one in told for network in _texts(one))
    return Told(tuple(networks), tuple(dict.fromkeys(source for one in told for source in one.sources)))


def _texts(told: Told) -> tuple[str, ...]:
    return told.value if isinstance(told.value, tuple) else ()


def _refusals(group: Sequence[ImportedConnection]) -> Iterator[Problem]:
    """Yield why connections between the same two ends cannot be one."""
    first = group[0]
    for connection in group[1:]:
        same = f"has the same two ends as connection {first.name.value}"
        if not all(by_pair(c) for c in (first, connection)):
            yield connection.view.where.problem(
                f"{same}: that can be one connection here only in IKE version 1 with networks at both ends. "
                "In the cloud use one connection in destination routing mode, or in IKE version 2 with all "
                "networks; or take one with --connection"
            )
        elif len(connection.tunnels) != len(first.tunnels):
            yield connection.view.where.problem(f"{same}, and another number of tunnels")
    if all(by_pair(connection) for connection in group):
        yield from _refused_pairs(group)


def by_pair(connection: ImportedConnection) -> bool:
    """Whether it is one that the cloud has for a pair of networks, or made of several."""
    versions = [tunnel.facts.get("ike.version") for tunnel in connection.tunnels]
    networks = all(key in connection.facts for key in _NETWORKS)
    return networks and all(told is not None and told.value == 1 for told in versions)


def _refused_pairs(group: Sequence[ImportedConnection]) -> Iterator[Problem]:
    """Yield pairs that two connections have, and those that none has although they would be negotiated."""
    there: dict[tuple[str, str], ImportedConnection] = {}
    for connection in group:
        for pair in product(_texts(connection.facts[_NETWORKS[0]]), _texts(connection.facts[_NETWORKS[1]])):
            if pair in there:
                text = f"is for {' and '.join(pair)}, as connection {there[pair].name.value} is"
                yield connection.view.where.problem(f"{text}: take one of them with --connection")
            there.setdefault(pair, connection)
    ours, clouds = (dict.fromkeys(pair[end] for pair in there) for end in (0, 1))
    if lacking := [" with ".join(pair) for pair in product(ours, clouds) if pair not in there]:
        names = listed([str(connection.name.value) for connection in group], "and")
        yield group[0].view.where.problem(
            f"{names} have the same two ends, and none of them is for {listed(lacking[:_SHOWN], 'or')}: "
            "vpnagent negotiates every local network with every remote one. Make a connection in the cloud "
            "for each of these pairs, or take some of the connections with --connection"
        )


def _sharing_an_end(connections: Sequence[ImportedConnection]) -> Iterator[Problem]:
    """Yield connections of which some tunnels have the same two ends, and others not."""
    first: dict[_Ends, ImportedConnection] = {}
    for connection in connections:
        for tunnel in connection.tunnels:
            other = first.setdefault(ends, connection) if (ends := _ends(tunnel)) else connection
            if other is not connection:
                yield tunnel.view.where.problem(
                    f"has the same two ends as a tunnel of connection {other.name.value}, whose other "
                    "tunnels have other ends: charon cannot tell them apart. Take one with --connection"
                )
