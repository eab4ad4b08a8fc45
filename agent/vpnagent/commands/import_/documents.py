"""Which document a JSON text is, whatever it is wrapped in, and the connections it tells of.

Accepted: the answers of DownloadVpnConnectionConfig, DescribeVpnConnection and DescribeVpnConnections (and
DescribeVpnConnection in the latter's wrapper, as its page of 2021 shows it), their inner objects, what an SDK
or a program has them in as the only object, list or JSON in a text (``body``), and a list of any of these.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from vpnagent.commands.import_.json_object import (
    DocumentReading,
    JsonError,
    JsonObject,
    JsonValue,
    Source,
    fold,
    kind,
    merged,
    parse,
    same,
)
from vpnagent.commands.import_.views import (
    NOT_USED,
    ConnectionView,
    DocumentTunnel,
    View,
    described,
    downloaded,
)
from vpnagent.config.wording import shown
from vpnagent.errors import Problem

_OF_DOWNLOAD: Final = frozenset({"Local", "Remote", "TunnelsConfig", "BgpConfigs"})
_OF_DESCRIBE: Final = frozenset({"VpnConnectionId", "CustomerGatewayId", "TunnelOptionsSpecification"})
_WRAPPERS: Final = ("VpnConnectionConfig", "VpnConnections")
_BESIDE: Final = "headers"  #: what SDKs put beside the body
_MAX_DEPTH: Final = 20  #: of what an answer is wrapped in


@dataclass(slots=True)
class Documents:
    """The documents as far as they were read."""

    reading: DocumentReading = field(default_factory=DocumentReading)
    views: list[ConnectionView] = field(default_factory=list)
    listings: list[tuple[Source, int, int]] = field(default_factory=list)  #: place, in all, on this page

    def read(self, document: str, content: bytes) -> None:
        """Add the connections of a document; what is wrong with it is added to the problems."""
        root, before = Source(document, ()), len(self.reading.problems)
        try:
            value = parse(content)
        except JsonError as error:
            self.reading.problems.append(Source(document, None).problem(str(error)))
            return
        found = list(self._views(value, root))
        if not found and len(self.reading.problems) == before:
            self.reading.problems.append(root.problem("holds no connection"))
        self.views += found

    def notes(self, connections: Sequence[object]) -> Iterator[str]:
        """Yield what is not in the documents, or was passed over; ``connections`` are all that there are."""
        total = max((total for _, total, _ in self.listings), default=0)
        here = sum(here for _, _, here in self.listings)
        if total > max(here, len(connections)):
            where = next(where for where, of_page, _ in self.listings if of_page == total)
            yield (
                f"{where}: {total} connections, and {here} are here. The answer has pages (PageNumber, "
                "PageSize): give all of them, or the connections on the others are not told."
            )
        for place in self.reading.passed_over(NOT_USED):
            yield f"{place} is passed over: vpnagent knows no use for it here."

    def _views(self, value: JsonValue, where: Source) -> Iterator[ConnectionView]:
        match value:
            case _ if len(where.path or ()) > _MAX_DEPTH:
                self.reading.problems.append(where.problem("is nested too deep"))
            case list():
                for index, item in enumerate(value):
                    yield from self._views(item, where.below(index))
            case dict():
                yield from self._of_object(JsonObject(where, value, self.reading))
            case str() if value.strip():
                yield from self._of_text(value, where)
            case _:
                self.reading.problems.append(where.problem(f"must be an object, not {kind(value)}"))

    def _of_text(self, text: str, where: Source) -> Iterator[ConnectionView]:
        """Read JSON that is a text in JSON, as some SDKs have it."""
        if not text.lstrip().startswith(("{", "[")):
            self.reading.problems.append(where.problem("must be an object, not a text"))
            return
        try:
            value = parse(text.encode())
        except (JsonError, UnicodeEncodeError) as error:
            reason = str(error) if isinstance(error, JsonError) else "is not UTF-8"
            self.reading.problems.append(where.problem(reason))
            return
        yield from self._views(value, where)

    def _of_object(self, holder: JsonObject) -> Iterator[ConnectionView]:
        download, describe = bool(holder.keys(_OF_DOWNLOAD)), bool(holder.keys(_OF_DESCRIBE))
        wrapper = next((name for name in _WRAPPERS if holder.keys((name,))), None)
        match wrapper:
            case "VpnConnectionConfig":
                yield downloaded(holder.object(wrapper))
            case "VpnConnections":
                yield from self._of_list(holder)
            case None if download != describe:
                yield downloaded(holder) if download else described(holder)
            case None if (body := _body(holder)) is not None:
                holder.no_use_for()
                yield from self._views(holder.value(body), holder.source(body))
            case _:
                holder.problems.append(holder.where.problem(_unknown(holder)))

    def _of_list(self, holder: JsonObject) -> Iterator[ConnectionView]:
        found = holder.objects("VpnConnections", "VpnConnection")
        if (total := holder.integer("TotalCount")) is not None:
            self.listings.append((holder.source("TotalCount"), total, len(found)))
        yield from map(described, found)


def _body(holder: JsonObject) -> str | None:
    """Return the only member in which an answer can be, of an SDK's response or a program's own wrapper."""
    if holder.keys(_OF_DOWNLOAD | _OF_DESCRIBE):
        return None
    inside = [
        key
        for key, value in holder.members.items()
        if (isinstance(value, dict | list) and value and fold(key) != _BESIDE)
        or (isinstance(value, str) and value.lstrip().startswith(("{", "[")))
    ]
    return inside[0] if len(inside) == 1 else None


def _unknown(holder: JsonObject) -> str:
    if holder.keys(("Code",)) and holder.keys(("Message",)):
        return f"is an error of the API: {shown(holder.value('Code'))}"
    return (
        "is neither the answer of DownloadVpnConnectionConfig (VpnConnectionConfig) "
        "nor of DescribeVpnConnection (VpnConnectionId) or DescribeVpnConnections (VpnConnections)"
    )


# Several views of the same connection made one: connections and tunnels are matched, facts compared.
# The download has the addresses, the description has the roles: neither is complete. Tunnels are matched
# by TunnelId, the ones of single-tunnel connections, which have none, by the cloud's address or identity.


def merge(views: Sequence[ConnectionView], problems: list[Problem]) -> list[ConnectionView]:
    """Return the connections, each once. Contradictions are added to the problems."""
    groups: list[list[ConnectionView]] = []
    for view in views:
        possible = [group for group in groups if _belongs(view, group)]
        alike = [group for group in possible if all(_same_networks(view, other) for other in group)]
        if possible:
            (alike or possible)[0].append(view)
        else:
            groups.append([view])
    return [_united(group, problems) for group in groups]


def _belongs(view: ConnectionView, group: Sequence[ConnectionView]) -> bool:
    """Whether a view may be of the connection that a group is of: several may have the same two ends."""
    for other in group:
        ids = [connection.view.facts.get("connection_id") for connection in (view, other)]
        if ids[0] and ids[1]:
            return ids[0].value == ids[1].value
        if not (ids[0] or ids[1] or _same_networks(view, other)) and _by_pair(view) and _by_pair(other):
            return False  # two downloads, one for each pair of networks
    return any(_ends(view) & _ends(other) for other in group)


def _by_pair(connection: ConnectionView) -> bool:
    """Whether it has one of several pairs of networks, as the cloud has them for IKE version 1."""
    versions = [tunnel.view.facts.get("ike.version") for tunnel in connection.tunnels]
    return "remote_networks" in connection.view.facts and all(told and told.value == 1 for told in versions)


def _same_networks(one: ConnectionView, other: ConnectionView) -> bool:
    told = [[c.view.facts.get(key) for key in ("local_networks", "remote_networks")] for c in (one, other)]
    return all(a == b or (a and b and same(a.value, b.value)) for a, b in zip(*told, strict=True))


def _ends(connection: ConnectionView) -> set[object]:
    """Return what names the cloud's ends of a connection."""
    facts = connection.tunnels[0].view.facts
    return {tunnel.tunnel_id for tunnel in connection.tunnels if tunnel.tunnel_id} or {
        facts[key].value for key in ("remote_address", "remote_id") if key in facts
    }


def _united(views: list[ConnectionView], problems: list[Problem]) -> ConnectionView:
    first, *others = views
    for other in others:
        problems += _missing_tunnels(first, other) + _missing_tunnels(other, first)
    tunnels: dict[str | None, list[DocumentTunnel]] = {}
    for view in views:
        for tunnel in view.tunnels:
            tunnels.setdefault(tunnel.tunnel_id, []).append(tunnel)
    return ConnectionView(
        _united_view([view.view for view in views], problems),
        tuple(
            DocumentTunnel(identity, _united_view([tunnel.view for tunnel in same], problems))
            for identity, same in tunnels.items()
        ),
    )


def _missing_tunnels(one: ConnectionView, other: ConnectionView) -> list[Problem]:
    there = {tunnel.tunnel_id for tunnel in other.tunnels}
    return [
        tunnel.view.where.problem(
            f"{tunnel.tunnel_id or 'the only tunnel'} is not in {other.view.where}: one of them is outdated"
        )
        for tunnel in one.tunnels
        if tunnel.tunnel_id not in there
    ]


def _united_view(views: list[View], problems: list[Problem]) -> View:
    absent = {key: where for view in reversed(views) for key, where in view.absent.items()}
    return View(views[0].where, merged([view.facts for view in views], problems), absent)
