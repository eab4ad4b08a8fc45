"""The drains that drills hold, for as long as they renew them. Pure: ``now`` is an argument.

Kept in the daemon's memory only and apart from the operator's drains: a drill that is killed is over when its
lease runs out, and none outlives the daemon. Each connection has one drill at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vpnagent.config.values import Config, TunnelKey
from vpnagent.control.protocol import NOT_FINE, USAGE
from vpnagent.errors import ControlError
from vpnagent.policy.naming import tunnel_key

LONGEST: Final = 30.0  #: seconds that may be asked for at once


@dataclass(frozen=True, slots=True)
class Lease:
    """One drill's drain."""

    holder: str  #: made up by the drill
    until: float  #: monotonic seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a drill asks of the daemon."""

    tunnel: TunnelKey
    holder: str
    seconds: float  #: from now; 0 ends the lease
    renewal: bool  #: of a lease that is there: one that ran out is not begun anew


class Leases:
    """The leases in force."""

    def __init__(self) -> None:
        self._leases: dict[TunnelKey, Lease] = {}

    @property
    def tunnels(self) -> frozenset[TunnelKey]:
        """The tunnels that drills have drained."""
        return frozenset(self._leases)

    def take(self, request: Request, now: float) -> bool:
        """Begin, renew or end a lease; return whether that drains a tunnel, or undrains it.

        ``expire(now)`` comes first, so that who must act on what ran out is told. Raises ControlError when
        the lease is another's, or is no more.
        """
        before = self.tunnels
        tunnel, holder = request.tunnel, request.holder
        for key, lease in self._leases.items():
            if key.connection == tunnel.connection and (key, lease.holder) != (tunnel, holder):
                raise ControlError(f"another drill is under way: it has drained {key}", NOT_FINE)
        if request.seconds == 0:
            self._leases.pop(tunnel, None)
        elif request.renewal and tunnel not in self._leases:
            raise ControlError(
                f"the drill's drain of {tunnel} has ended: it was not renewed in time", NOT_FINE
            )
        else:
            self._leases[tunnel] = Lease(holder, now + request.seconds)
        return self.tunnels != before

    def expire(self, now: float) -> list[TunnelKey]:
        """End what has run out; return the tunnels."""
        ended = [tunnel for tunnel, lease in self._leases.items() if lease.until <= now]
        for tunnel in ended:
            del self._leases[tunnel]
        return ended


def request_of(config: Config, plain: Mapping[str, Any]) -> Request:
    """Return the request that came over the control socket. Raises ControlError for anything else."""
    seconds, holder = plain.get("seconds"), plain.get("holder")
    if not isinstance(holder, str) or not 0 < len(holder) <= 64:  # noqa: PLR2004 - the rule itself
        raise ControlError("drill: holder must be 1 to 64 characters", USAGE)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST:
        raise ControlError(f"drill: seconds must be 0 to {LONGEST:g}", USAGE)
    return Request(
        tunnel=tunnel_key(config, str(plain.get("tunnel", ""))),
        holder=holder,
        seconds=float(seconds),
        renewal=plain.get("renewal") is True,
    )


def stream_of(config: Config, tunnel: TunnelKey) -> dict[str, Any]:
    """Return what a drill of this tunnel can measure with: addresses that are routed into its connection."""
    [connection] = (c for c in config.connections if c.name == tunnel.connection)
    asked = (target for t in connection.tunnels for target in t.probe.targets)
    probed = dict.fromkeys((*connection.shared_targets, *asked))
    routed = [t for t in probed if any(t in network for network in connection.remote_networks)]
    source = config.source_of(connection)
    return {
        "tunnel": str(tunnel),
        "source": None if source is None else str(source),
        "targets": [str(target) for target in routed],
        "remote_addresses": [str(t.remote_address) for t in connection.tunnels],
    }
