"""An intent as the core is to see it, made from the one that the control daemon sent. Pure."""

from collections.abc import Callable

from vpnagent.probe.intent import Intent, TunnelIntent
from vpnagent.probe.protocol import IntentUpdate, TunnelFlags
from vpnagent.record import replace


def outer_name(tunnel: TunnelIntent) -> str:
    """Return what the core knows a tunnel's outer interface by.

    Losing the address that ESP is sent from is losing the interface, for the tunnels of that address.
    """
    return f"{tunnel.outer_interface} {tunnel.local_address or ''}".rstrip()


def with_addresses(intent: Intent) -> Intent:
    """Return the intent with the outer interfaces named as ``outer_name`` does."""
    return _map_tunnels(
        intent, lambda t: replace(t, outer_interface=outer_name(t)) if t.outer_interface else t
    )


def with_flags(intent: Intent, change: IntentUpdate) -> Intent:
    """Return the intent of the change's generation."""
    flags = {flags.tunnel: flags for flags in change.tunnels}

    def changed(tunnel: TunnelIntent) -> TunnelIntent:
        new = flags.get(tunnel.key)
        if new is None:
            return tunnel
        return replace(
            tunnel,
            child_sa_installed=new.child_sa_installed,
            encapsulated=new.encapsulated,
            drained=new.drained,
        )

    return replace(_map_tunnels(intent, changed), generation=change.generation)


def _map_tunnels(intent: Intent, amend: Callable[[TunnelIntent], TunnelIntent]) -> Intent:
    connections = []
    for connection in intent.connections:
        tunnels = tuple(amend(tunnel) for tunnel in connection.tunnels)
        same = all(new is old for new, old in zip(tunnels, connection.tunnels, strict=True))
        connections.append(connection if same else replace(connection, tunnels=tunnels))
    return replace(intent, connections=tuple(connections))


def change_between(old: Intent, new: Intent) -> tuple[TunnelFlags, ...] | None:
    """Return the flags that turn one intent into another; None when more than flags differ.

    What a living prober ignores anyway does not count as a difference.
    """
    before = {tunnel.key: flags_of(tunnel) for tunnel in old.tunnels()}
    changed = tuple(
        flags_of(tunnel) for tunnel in new.tunnels() if before.get(tunnel.key) != flags_of(tunnel)
    )
    change = IntentUpdate(generation=new.generation, base=old.generation, tunnels=changed)
    return changed if _bare(with_flags(old, change)) == _bare(new) else None


def flags_of(tunnel: TunnelIntent) -> TunnelFlags:
    """Return a tunnel's flags."""
    return TunnelFlags(
        tunnel=tunnel.key,
        child_sa_installed=tunnel.child_sa_installed,
        encapsulated=tunnel.encapsulated,
        drained=tunnel.drained,
    )


def _bare(intent: Intent) -> Intent:
    """Return the intent without what only a new prober reads."""
    bare = _map_tunnels(intent, lambda t: t if t.failed_trials is None else replace(t, failed_trials=None))
    return replace(bare, groups=tuple(replace(group, members=()) for group in bare.groups))
