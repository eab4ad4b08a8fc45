"""Walking a configuration with the path of each part, for the rules. Standard library only."""

from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from vpnagent.config.values import Config, Connection, Esp, Ike, Tunnel
from vpnagent.config.wording import Path


class Place(NamedTuple):
    """A tunnel and where it stands."""

    path: Path
    connection: Connection
    tunnel: Tunnel

    def key(self, name: str) -> Path:
        """Return the path of one of the tunnel's keys."""
        return (*self.path, name)

    def setting(self, *names: str) -> Path:
        """Return the path of ``udp_encapsulation``, or of ``ike`` or ``esp`` and a key of it.

        That is the tunnel's own where it differs from its connection's, which all others share.
        """
        own, shared = (getattr(holder, names[0]) for holder in (self.tunnel, self.connection))
        for name in names[1:]:
            own, shared = own and getattr(own, name), getattr(shared, name)
        differs = getattr(self.tunnel, names[0]) is not None and own != shared
        return (*(self.path if differs else self.path[:2]), *names)

    @property
    def ike(self) -> Ike:
        """The tunnel's phase 1."""
        return self.connection.ike_of(self.tunnel)

    @property
    def esp(self) -> Esp:
        """The tunnel's phase 2."""
        return self.connection.esp_of(self.tunnel)


def connections(config: Config) -> Iterator[tuple[Path, Connection]]:
    """Return each connection with its path."""
    for index, connection in enumerate(config.connections):
        yield ("connections", index), connection


def tunnels(config: Config) -> Iterator[Place]:
    """Return each tunnel of each connection with its path."""
    for path, connection in connections(config):
        for index, tunnel in enumerate(connection.tunnels):
            yield Place((*path, "tunnels", index), connection, tunnel)


W = TypeVar("W")
V = TypeVar("V", bound=Hashable)


def repeated(items: Iterable[tuple[W, V]]) -> Iterator[tuple[W, V, W]]:
    """Return each repetition of a value: where it is, the value, and where it was first."""
    first: dict[V, W] = {}
    for where, value in items:
        if value in first:
            yield where, value, first[value]
        else:
            first[value] = where
