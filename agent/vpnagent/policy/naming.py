"""How a person names a tunnel, and which one is meant, also when it was named otherwise before. Pure."""

from collections.abc import Mapping

from vpnagent.config.values import Config, TunnelKey
from vpnagent.control.protocol import USAGE
from vpnagent.errors import ControlError

FormerKeys = Mapping[TunnelKey, TunnelKey]  #: by present key


def tunnel_key(config: Config, name: str) -> TunnelKey:
    """Return the tunnel called ``CONNECTION/TUNNEL``, or by its bare name where that is unique."""
    keys = [t.key for t in config.tunnels() if name in (str(t.key), t.name)]
    if len(keys) == 1:
        return keys[0]
    known = ", ".join(str(key) for key in keys or [t.key for t in config.tunnels()])
    problem = "is not unique" if keys else "is not a tunnel"
    raise ControlError(f"{name!r} {problem}: {known}", USAGE)


def former_keys(old: Config, new: Config) -> dict[TunnelKey, TunnelKey]:
    """Return, by present key, the former keys of tunnels that have another name.

    They are the same to the kernel and to the peer. A name that goes from one tunnel to another is left out.
    """
    before = {(t.if_id, t.interface, t.remote_address): t.key for t in old.tunnels()}
    after = {(t.if_id, t.interface, t.remote_address): t.key for t in new.tunnels()}
    stayed = set(before.values()) & set(after.values())
    return {
        key: before[same]
        for same, key in after.items()
        if same in before and before[same] != key and not {key, before[same]} & stayed
    }
