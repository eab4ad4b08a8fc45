"""Which tunnels of a connection carry its traffic.

Total and pure: the whole policy of choosing among tunnels is here, shared by the control daemon, the
prober and ``vpnagent plan``. An empty answer means fail closed: the guard answers with unreachable.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from vpnagent.config.values import Connection, Forwarding, Role, Tunnel, TunnelKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is known of one tunnel now."""

    child_sa_installed: bool
    drained: bool = False


Verdicts = Mapping[TunnelKey, Verdict]

UNKNOWN = Verdict(child_sa_installed=False)


def usable(verdict: Verdict) -> bool:
    """Whether packets may be sent into the tunnel at all."""
    return verdict.child_sa_installed and not verdict.drained


def select(connection: Connection, verdicts: Verdicts) -> tuple[Tunnel, ...]:
    """Return the tunnels that carry the connection's traffic now, in the order of the file.

    A drained tunnel is used only while no other is left: a drain moves traffic, it never stops it.
    """
    installed = [t for t in connection.tunnels if verdicts.get(t.key, UNKNOWN).child_sa_installed]
    candidates = [t for t in installed if not verdicts[t.key].drained] or installed
    if not candidates or connection.forwarding is Forwarding.ECMP:
        return tuple(candidates)
    return (min(candidates, key=lambda tunnel: tunnel.role is not Role.ACTIVE),)
