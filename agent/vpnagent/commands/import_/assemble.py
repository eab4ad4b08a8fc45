"""What all documents tell together, with what the operator adds, under names for the YAML. Pure.

Names are what the cloud calls them, in the characters that we allow.
"""

import os.path
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from vpnagent.commands.import_.json_object import DocumentFacts, DocumentValue, Source, Told, merged, same
from vpnagent.commands.import_.peers import ImportedConnection, ImportedTunnel, by_peer
from vpnagent.commands.import_.views import ConnectionView, DocumentTunnel
from vpnagent.config.file_models import MAX_TUNNELS
from vpnagent.config.wording import listed
from vpnagent.errors import Problem

LENGTH: Final = 32  #: characters; see config.kinds.NAME
ONLY_TUNNEL: Final = "tunnel"

_OTHERS: Final = re.compile(r"[^A-Za-z0-9_-]+", re.ASCII)


def connection_names(connections: Sequence[ConnectionView]) -> list[Told]:
    """Return a name for each: its Name if that is unique, else its id, else the name of the document."""
    names = [_named(connection, "name", "connection_id") for connection in connections]
    often = Counter(told.value for told in names)
    names = [
        _named(connection, "connection_id") if often[told.value] > 1 else told
        for connection, told in zip(connections, names, strict=True)
    ]
    seen: Counter[object] = Counter()
    for index, told in enumerate(names):  # documents without an id, of one name in several folders
        seen[told.value] += 1
        if seen[told.value] > 1:
            names[index] = Told(f"{str(told.value)[: LENGTH - 4]}-{seen[told.value]}", told.sources)
    return names


def tunnel_name(tunnel: DocumentTunnel) -> Told:
    """Return the TunnelId: what the cloud's console and logs call it, whatever its role becomes."""
    told = tunnel.view.facts.get("tunnel_id")
    if told and (name := _permitted(str(told.value))):
        return Told(name, told.sources)
    return Told(ONLY_TUNNEL, (Source("the only one, which has no id", None),))


def _named(connection: ConnectionView, *keys: str) -> Told:
    for key in keys:
        told = connection.view.facts.get(key)
        if told and (name := _permitted(str(told.value))):
            return Told(name, told.sources)
    document = connection.view.where.document
    stem = os.path.splitext(os.path.basename(document))[0]
    return Told(_permitted(stem) or "connection", (Source(f"the name of {document}", None),))


def _permitted(name: str) -> str:
    return _OTHERS.sub("-", name).strip("-")[:LENGTH]


# Connections as the documents tell them, with what the command line adds: named, complete, held together.
# What must not be assumed is a problem where it is missing: the cloud's own pages contradict each other
# on the defaults of the algorithms. What may be answered later is left out, and becomes a question in
# ``layout``.

IKE: Final = (
    "ike.version",
    "ike.mode",
    "ike.encryption",
    "ike.integrity",
    "ike.dh_group",
    "ike.lifetime",
    "ike.dpd",
)
ESP: Final = ("esp.encryption", "esp.integrity", "esp.pfs_group", "esp.lifetime")

NETWORKS: Final = ("local_networks", "remote_networks")

#: What the cloud sets for each tunnel, and the YAML once for the connection where the tunnels agree.
SHARED: Final = (*IKE, *ESP, "udp_encapsulation")
_REQUIRED: Final = tuple(key for key in (*IKE, *ESP) if key not in ("ike.mode", "ike.dpd"))


_Names = tuple[DocumentValue, DocumentValue]  #: of a connection and of a tunnel in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the command line tells, in the words of the YAML."""

    attachment: str | None = None
    local_networks: tuple[str, ...] = ()  #: of all connections, or ``CONNECTION=NETWORK``, as the next
    remote_networks: tuple[str, ...] = ()
    active: tuple[str, ...] = ()  #: names or remote addresses of tunnels
    only: tuple[str, ...] = ()  #: names or ids of connections; empty: all

    def told(self, name: str, of: Collection[str] = ()) -> DocumentFacts:
        """Return one answer as a fact, if it was given for all, or for a connection of one of these names."""
        value = getattr(self, name)
        if isinstance(value, tuple):
            halves = [text.rpartition("=") for text in value]
            value = tuple(half[2] for half in halves if (half[0] in of if half[1] else not of))
        return {name: Told(value, (_option(name),))} if value else {}

    def addressees(self) -> Iterator[tuple[str, Source]]:
        """Yield whom an answer is for, as far as it is not for all, and the option."""
        yield from ((word, _option("connection")) for word in self.only)
        for name in NETWORKS:
            yield from ((t.rpartition("=")[0], _option(name)) for t in getattr(self, name) if "=" in t)


@dataclass(frozen=True, slots=True)
class Assembly:
    """The whole file as facts."""

    gateway: DocumentFacts
    connections: tuple[ImportedConnection, ...]
    notes: tuple[str, ...] = ()  #: what of the documents is not in here


def assemble(views: Sequence[ConnectionView], answers: Answers, problems: list[Problem]) -> Assembly:
    """Return the connections with names and answers. Contradictions and gaps are added to the problems."""
    connections = [
        ImportedConnection(
            name,
            view.view,
            tuple(ImportedTunnel(tunnel_name(tunnel), tunnel.view) for tunnel in view.tunnels),
        )
        for name, view in zip(connection_names(views), views, strict=True)
    ]
    problems += _unknown(connections, answers)
    connections = [c for c in connections if not answers.only or c.words.intersection(answers.only)]
    connections = by_peer(connections, problems)
    active = _active(connections, answers.active, problems)
    lacking = {key for key in NETWORKS if any(key not in c.facts for c in connections)}
    complete = tuple(_complete(connection, answers, active, lacking, problems) for connection in connections)
    for connection in complete:
        problems += _gaps(connection)
    return Assembly(_gateway(complete, answers), complete)


def _unknown(connections: Sequence[ImportedConnection], answers: Answers) -> Iterator[Problem]:
    """Yield answers that are for no connection there is."""
    known = {word for connection in connections for word in connection.words}
    for word, option in answers.addressees():
        if word not in known:
            there = listed([str(connection.name.value) for connection in connections], "and")
            yield option.problem(f"{word} is the name of no connection: there are {there}")


def _gateway(connections: Sequence[ImportedConnection], answers: Answers) -> DocumentFacts:
    """Return the local networks: as answered, else all that connections tell."""
    key = "local_networks"
    told = [connection.facts[key] for connection in connections if key in connection.facts]
    if answered := answers.told(key).get(key):
        alike = (one for one in told if same(one.value, answered.value))
        return {key: Told(answered.value, (*(s for one in alike for s in one.sources), *answered.sources))}
    if not told:
        return {}
    networks = dict.fromkeys(n for one in told if isinstance(one.value, tuple) for n in one.value)
    return {key: Told(tuple(networks), tuple(dict.fromkeys(s for one in told for s in one.sources)))}


def _complete(
    connection: ImportedConnection,
    answers: Answers,
    active: set[_Names],
    lacking: Collection[str],
    problems: list[Problem],
) -> ImportedConnection:
    """Return the connection with the answers, its tunnels' roles, and what the tunnels share.

    An answer for all is for those that lack it, of which ``lacking`` tells whether there are any.
    """
    given = [answers.told("attachment")]
    for key in NETWORKS:
        own = answers.told(key, of=connection.words)
        told = key in connection.facts
        given.append(own)
        if not own and ((told and key not in lacking) or (not told and key == "remote_networks")):
            given.append(answers.told(key))
    facts = merged([connection.facts, *given], problems)
    connection = replace(connection, view=replace(connection.view, facts=facts))
    tunnels = _with_roles(connection, active, problems)
    if connection.says("traffic_selectors", "networks"):  # BGP is not among what they let through
        tunnels = [_without(tunnel, "inside_address", "inside_candidates") for tunnel in tunnels]
    view = replace(connection.view, facts={**facts, **_in_common(tunnels)})
    return replace(connection, view=view, tunnels=tuple(tunnels))


def _in_common(tunnels: Sequence[ImportedTunnel]) -> DocumentFacts:
    """Return what all tunnels tell alike of what may stand once; the rest stands in each of them."""
    return {
        key: tunnels[0].facts[key]
        for key in SHARED
        if all(key in t.facts and same(t.facts[key].value, tunnels[0].facts[key].value) for t in tunnels)
    }


def _active(
    connections: Sequence[ImportedConnection], named: Sequence[str], problems: list[Problem]
) -> set[_Names]:
    """Return the tunnels that ``--active`` names."""
    found: set[_Names] = set()
    for word in named:
        meant = [
            (connection.name.value, tunnel.name.value)
            for connection in connections
            for tunnel in connection.tunnels
            if word in _words(connection, tunnel)
        ]
        if len(meant) == 1:
            found.add(meant[0])
        else:
            known = [f"{c.name.value}/{t.name.value}" for c in connections for t in c.tunnels]
            text = "is the name of several tunnels" if meant else "is the name of no tunnel"
            problems.append(_option("active").problem(f"{word} {text}: there are {listed(known, 'and')}"))
    return found


def _words(connection: ImportedConnection, tunnel: ImportedTunnel) -> set[object]:
    told = [tunnel.facts[key].value for key in ("tunnel_id", "remote_address") if key in tunnel.facts]
    return {tunnel.name.value, f"{connection.name.value}/{tunnel.name.value}", *told}


def _with_roles(
    connection: ImportedConnection, active: set[_Names], problems: list[Problem]
) -> list[ImportedTunnel]:
    """Return the tunnels with the roles that they have; at a transit router, all of them carry traffic."""
    ours = {tunnel for name, tunnel in active if name == connection.name.value}
    if connection.says("attachment", "transit-router"):
        if ours:
            text = "has no meaning with a transit router: all tunnels are active"
            problems.append(_option("active").problem(text))
        return [_without(tunnel, "role") for tunnel in connection.tunnels]
    if not ours:
        return list(connection.tunnels)
    roles = ["active" if tunnel.name.value in ours else "standby" for tunnel in connection.tunnels]
    return [
        _with(tunnel, merged([tunnel.facts, {"role": Told(role, (_option("active"),))}], problems))
        for tunnel, role in zip(connection.tunnels, roles, strict=True)
    ]


def _without(tunnel: ImportedTunnel, *keys: str) -> ImportedTunnel:
    return _with(tunnel, {key: told for key, told in tunnel.facts.items() if key not in keys})


def _with(tunnel: ImportedTunnel, facts: DocumentFacts) -> ImportedTunnel:
    return replace(tunnel, view=replace(tunnel.view, facts=facts))


def _gaps(connection: ImportedConnection) -> Iterator[Problem]:
    """Return what is missing and must not be assumed, and what cannot be."""
    for number, tunnel in enumerate(connection.tunnels[MAX_TUNNELS:], MAX_TUNNELS + 1):
        yield tunnel.view.where.problem(
            f"is tunnel {number} of the connection, which must have at most {MAX_TUNNELS} entries: the cloud "
            "gives it one or two"
        )
    where = connection.view.absent.get("traffic_selectors")
    if where and "traffic_selectors" not in connection.facts:
        yield where.problem("is missing, or its counterpart is: 0.0.0.0/0 at both ends, or networks at both")
    for tunnel in connection.tunnels:
        version = tunnel.facts.get("ike.version")
        required = (*_REQUIRED, "ike.mode") if version and version.value == 1 else _REQUIRED
        for key in required:
            if key not in tunnel.facts:
                where = tunnel.view.absent.get(key, tunnel.view.where)
                yield where.problem("is missing, and nothing is assumed: the cloud's defaults differ by page")


def _only(facts: DocumentFacts, keys: Sequence[str]) -> DocumentFacts:
    return {key: facts[key] for key in keys if key in facts}


def _option(name: str) -> Source:
    return Source(f"--{name.removesuffix('s').replace('_', '-')}", None)
