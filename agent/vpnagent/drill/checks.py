"""Whether a drill may begin: judged on what `status` tells. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vpnagent.control import USAGE
from vpnagent.errors import ControlError

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standby:
    """A tunnel that is to take the traffic over, and why it may not be able to."""

    name: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The tunnel that a drill takes the traffic off, and those that are to carry it meanwhile."""

    connection: str
    tunnel: str
    active: tuple[str, ...]  #: names of the tunnels that carry the connection's traffic
    standbys: tuple[Standby, ...]

    def __str__(self) -> str:
        return f"{self.connection}/{self.tunnel}"

    def impossible(self) -> str | None:
        """Return why there is nothing to rehearse, whoever insists."""
        if not self.standbys:
            return f"{self} is the only tunnel of its connection: there is none to fail over to"
        if self.tunnel not in self.active:
            return f"{self} carries no traffic: there is nothing to move off it"
        return None

    def unwise(self) -> str | None:
        """Return why traffic would be at risk."""
        if any(not standby.problems for standby in self.standbys):
            return None
        told = "; ".join(f"{standby.name}: {', '.join(standby.problems)}" for standby in self.standbys)
        return f"no healthy standby for {self}: {told}"


def subject_of(status: Json, name: str | None) -> Subject:
    """Return what is to be drilled: ``CONNECTION/TUNNEL``, a bare name, or None: the one that carries.

    Raises ControlError when that is none or several.
    """
    pairs = [(c, t) for c in status["connections"] for t in c["tunnels"]]
    if name is None:
        found = [(c, t) for c, t in pairs if t["forwarding"] and len(c["tunnels"]) > 1]
        problem = "say which tunnel" if found else "no tunnel with a standby carries traffic"
    else:
        found = [(c, t) for c, t in pairs if name in (t["name"], f"{c['name']}/{t['name']}")]
        problem = f"{name!r} is {'not unique' if found else 'not a tunnel'}"
    if len(found) != 1:
        known = ", ".join(f"{c['name']}/{t['name']}" for c, t in found or pairs)
        raise ControlError(f"{problem}: {known}", USAGE)
    [(connection, tunnel)] = found
    others = (t for t in connection["tunnels"] if t is not tunnel)
    probed = bool(status["prober"]["connected"])
    return Subject(
        connection=connection["name"],
        tunnel=tunnel["name"],
        active=tuple(connection["active"]),
        standbys=tuple(Standby(name=t["name"], problems=tuple(_problems(t, probed))) for t in others),
    )


def _problems(tunnel: Json, probed: bool) -> Iterable[str]:
    path = tunnel["path"]
    if tunnel["child_sa"] == "none":
        yield "no CHILD_SA"
    if not probed:
        yield "its path is not known, as no prober runs"
    elif path["state"] != "up":
        reason = path.get("reason")
        yield f"path {path['state']}" + (f" ({reason})" if reason else "")
    if tunnel["state"] in ("drained", "trial"):
        yield tunnel["state"]
