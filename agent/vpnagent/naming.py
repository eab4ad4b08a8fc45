"""How a person names a tunnel, and which one is meant. Pure."""

from vpnagent.config.values import Config, TunnelKey
from vpnagent.control import USAGE
from vpnagent.errors import ControlError


def tunnel_key(config: Config, name: str) -> TunnelKey:
    """Return the tunnel called ``CONNECTION/TUNNEL``, or by its bare name where that is unique."""
    keys = [t.key for t in config.tunnels() if name in (str(t.key), t.name)]
    if len(keys) == 1:
        return keys[0]
    known = ", ".join(str(key) for key in keys or [t.key for t in config.tunnels()])
    problem = "is not unique" if keys else "is not a tunnel"
    raise ControlError(f"{name!r} {problem}: {known}", USAGE)
