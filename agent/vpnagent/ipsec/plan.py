"""What to tell charon, so that it has the connections that it should: a list of actions, in order.

Pure. Only names with our prefix are ever touched. Nothing is unloaded unless the caller allows pruning,
which it does when the configuration is loaded and one full observation has succeeded.

What charon has loaded is judged by the digests of what this process loaded into this charon: list-conns
tells neither proposals nor if_id. At first everything of ours is loaded once, which harms nothing:
load-conn with ``start_action = none`` leaves the SAs of an earlier load alone, changed or not.
"""

from dataclasses import dataclass

from vpnagent.ipsec.connection import Connection


@dataclass(frozen=True, slots=True)
class LoadSecret:
    """Load or replace the pre-shared key of a connection."""

    connection: Connection

    def __str__(self) -> str:
        return f"load-shared {self.connection.name}"


@dataclass(frozen=True, slots=True)
class LoadConnection:
    """Load or replace a connection; its SAs stay."""

    connection: Connection

    def __str__(self) -> str:
        return f"load-conn {self.connection.name}"


@dataclass(frozen=True, slots=True)
class UnloadConnection:
    """Unload a connection; its SAs stay."""

    name: str

    def __str__(self) -> str:
        return f"unload-conn {self.name}"


@dataclass(frozen=True, slots=True)
class UnloadSecret:
    """Unload a shared secret."""

    id: str

    def __str__(self) -> str:
        return f"unload-shared {self.id}"


@dataclass(frozen=True, slots=True)
class Terminate:
    """Delete an IKE_SA with all its CHILD_SAs. One that is not established has nobody to tell."""

    connection: str
    ike_sa: str  #: unique id
    reason: str
    force: bool = False

    def __str__(self) -> str:
        return f"terminate {self.connection}[{self.ike_sa}] ({self.reason})"


Action = LoadSecret | LoadConnection | UnloadConnection | UnloadSecret | Terminate
