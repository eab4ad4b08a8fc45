"""Which tunnels carry a connection's traffic, and why, in words. Pure.

``selection`` decides; nothing is decided here. For ``vpnagent plan``: what is, and what would be if.
"""

import enum
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from vpnagent.config.values import Config, Connection, Forwarding, Tunnel, TunnelKey
from vpnagent.policy.desired import sharers
from vpnagent.policy.selection import DOWN, UNKNOWN, PathState, Verdict, Verdicts, rank, select, select_shared
from vpnagent.record import record

WORDS: Final = {
    "up": Verdict(child_sa_installed=True, path=PathState.UP),
    "degraded": Verdict(child_sa_installed=True, path=PathState.DEGRADED),
    "silent": Verdict(child_sa_installed=True, path=PathState.DOWN),
    "down": Verdict(child_sa_installed=False),
    "drained": Verdict(child_sa_installed=True, path=PathState.UP, drained=True),
}

_PATHS: Final = {
    PathState.UP: "path up",
    PathState.DEGRADED: "path degraded",
    PathState.HOLD_DOWN: "path heard again, but not for its hold-down yet",
    PathState.INIT: "path not heard yet",
    PathState.DOWN: "path silent",
    PathState.ELSEWHERE: "path answered by another interface",
    PathState.UNPROBED: "path not probed: probes cannot be sent",
}


class Mode(enum.Enum):
    """How a connection's traffic fares."""

    NORMAL = "normal"
    FAIL_STATIC = "fail-static"
    FAIL_CLOSED = "fail-closed"


_MODES: Final = {
    Mode.FAIL_STATIC: "every path is silent: what carries already stays (fail static)",
    Mode.FAIL_CLOSED: "no tunnel has a CHILD_SA: the guard answers with unreachable, nothing leaves in clear"
    " (fail closed)",
}


@record(frozen=True, slots=True, kw_only=True)
class TunnelChoice:
    """Whether a tunnel carries, and why."""

    name: str
    carries: bool
    reason: str


@record(frozen=True, slots=True, kw_only=True)
class ConnectionChoice:
    """The tunnels of a connection, in the order of the file."""

    name: str
    forwarding: Forwarding
    mode: Mode
    tunnels: tuple[TunnelChoice, ...]

    @property
    def carries(self) -> list[str]:
        """The names of the tunnels that carry."""
        return [t.name for t in self.tunnels if t.carries]

    def lines(self) -> Iterable[str]:
        """Yield it for a person."""
        yield f"connection {self.name}: traffic on {', '.join(self.carries) or 'no tunnel'}"
        if self.mode in _MODES:
            yield f"  {_MODES[self.mode]}"
        for tunnel in self.tunnels:
            yield f"  {'*' if tunnel.carries else ' '} {tunnel.name}: {tunnel.reason}"

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "connection": self.name,
            "forwarding": self.forwarding.value,
            "mode": self.mode.value,
            "reason": _MODES.get(self.mode, ""),
            "carries": self.carries,
            "tunnels": [{"name": t.name, "carries": t.carries, "reason": t.reason} for t in self.tunnels],
        }


def choices(config: Config, verdicts: Verdicts, carrying: Collection[TunnelKey]) -> list[ConnectionChoice]:
    """Return what carries each connection's traffic; ``carrying`` are the tunnels that do at present."""
    connections = {c.name: c for c in config.connections}
    chosen = {
        tunnel.key
        for names in set(sharers(config).values())
        for tunnel in select_shared([connections[name] for name in names], verdicts, carrying)
    }
    return [_choice(connection, verdicts, carrying, chosen) for connection in config.connections]


def carriers(config: Config, verdicts: Verdicts) -> frozenset[TunnelKey]:
    """Return the tunnels that would carry traffic if nothing did yet."""
    return frozenset(TunnelKey(c.name, name) for c in choices(config, verdicts, ()) for name in c.carries)


def _choice(
    connection: Connection,
    verdicts: Verdicts,
    carrying: Collection[TunnelKey],
    chosen: Collection[TunnelKey],
) -> ConnectionChoice:
    candidates = _Candidates(connection, verdicts, carrying)
    return ConnectionChoice(
        name=connection.name,
        forwarding=connection.forwarding,
        mode=candidates.mode,
        tunnels=tuple(
            TunnelChoice(
                name=t.name, carries=t.key in chosen, reason=candidates.reason(t, carries=t.key in chosen)
            )
            for t in connection.tunnels
        ),
    )


class _Candidates:
    """The tunnels that one connection chooses among."""

    def __init__(self, connection: Connection, verdicts: Verdicts, carrying: Collection[TunnelKey]) -> None:
        self._verdicts = verdicts
        self._carrying = carrying
        self._priority = connection.priority
        self._ecmp = connection.forwarding is Forwarding.ECMP
        self._installed = [t for t in connection.tunnels if self._verdict(t).child_sa_installed]
        self._selected = select(connection, verdicts, carrying)

    @property
    def mode(self) -> Mode:
        if not self._installed:
            return Mode.FAIL_CLOSED
        silent = all(self._rank(tunnel) == DOWN for tunnel in self._selected)
        return Mode.FAIL_STATIC if silent else Mode.NORMAL

    def reason(self, tunnel: Tunnel, *, carries: bool) -> str:
        """Return why a tunnel carries, or does not."""
        verdict = self._verdict(tunnel)
        if not verdict.child_sa_installed:
            return "no CHILD_SA: it can carry nothing"
        if verdict.drained:
            only = all(self._verdict(t).drained for t in self._installed)
            return "drained, but no other has a CHILD_SA" if only else "drained: others carry"
        words = self._words(tunnel)
        if carries:
            return f"{words}, role {tunnel.role.value}"
        if tunnel in self._selected:
            other = "have better paths" if not self._priority else "have better paths, or go first"
            return f"{words}, but the other connections to these networks {other}"
        return f"{words}; {self._why_not(tunnel)}"

    def _why_not(self, tunnel: Tunnel) -> str:
        preferred = self._selected[0]
        if self._rank(tunnel) > self._rank(preferred):
            if self._ecmp:
                return "left out: enough others have better paths"
            return f"{preferred.name} is better: {self._words(preferred)}"
        if self._rank(preferred) and preferred.key in self._carrying:
            return f"{preferred.name} is as good and carries already: two bad paths do not take turns"
        return f"{preferred.name} is as good and comes first: role {preferred.role.value}"

    def _words(self, tunnel: Tunnel) -> str:
        verdict = self._verdict(tunnel)
        words = _PATHS[verdict.path]
        if verdict.blameless:
            return f"{words} by its own traffic or by a dead target, which no other would mend"
        if verdict.path is PathState.INIT and tunnel.key in self._carrying:
            return f"{words}, but it carries already"
        return words

    def _verdict(self, tunnel: Tunnel) -> Verdict:
        return self._verdicts.get(tunnel.key, UNKNOWN)

    def _rank(self, tunnel: Tunnel) -> int:
        return rank(self._verdict(tunnel), carrying=tunnel.key in self._carrying)


def to_plain(verdicts: Verdicts, carrying: Iterable[TunnelKey]) -> dict[str, Any]:
    """Return what the daemon knows, for the control socket."""
    return {
        "tunnels": {
            str(key): {
                "child_sa_installed": verdict.child_sa_installed,
                "drained": verdict.drained,
                "path": verdict.path.value,
                "blameless": verdict.blameless,
            }
            for key, verdict in verdicts.items()
        },
        "carrying": sorted(map(str, carrying)),
    }


def verdict_of(plain: Mapping[str, Any]) -> Verdict:
    """Return a verdict of ``to_plain``."""
    return Verdict(
        child_sa_installed=bool(plain["child_sa_installed"]),
        drained=bool(plain["drained"]),
        path=PathState(plain["path"]),
        blameless=bool(plain["blameless"]),
    )
