"""Several views of the same connection made one: connections and tunnels are matched, facts compared.

The download has the addresses, the description has the roles: neither is complete. Tunnels are matched by
TunnelId, the ones of single-tunnel connections, which have none, by the cloud's address or identity.
"""

from collections.abc import Sequence

from vpnagent.cloud_document.told import merged
from vpnagent.cloud_document.views import ConnectionView, TunnelView, View
from vpnagent.errors import Problem


def merge(views: Sequence[ConnectionView], problems: list[Problem]) -> list[ConnectionView]:
    """Return the connections, each once. Contradictions are added to the problems."""
    groups: list[list[ConnectionView]] = []
    for view in views:
        alike = next(
            (group for group in groups if any(_same_connection(view, other) for other in group)), None
        )
        if alike is None:
            groups.append([view])
        else:
            alike.append(view)
    return [_united(group, problems) for group in groups]


def _same_connection(one: ConnectionView, other: ConnectionView) -> bool:
    ids = [connection.view.facts.get("connection_id") for connection in (one, other)]
    if ids[0] and ids[1]:  # several single-tunnel connections may have one gateway
        return ids[0].value == ids[1].value
    return bool(_ends(one) & _ends(other))


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
    tunnels: dict[str | None, list[TunnelView]] = {}
    for view in views:
        for tunnel in view.tunnels:
            tunnels.setdefault(tunnel.tunnel_id, []).append(tunnel)
    return ConnectionView(
        _united_view([view.view for view in views], problems),
        tuple(
            TunnelView(identity, _united_view([tunnel.view for tunnel in same], problems))
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
