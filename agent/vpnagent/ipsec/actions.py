"""What charon shall hold, a connection each, and what can be done to it, one value each. Pure.

``plan`` orders the actions, ``charon`` carries them out.
"""

from dataclasses import dataclass

from vpnagent.config.values import CertificateFiles, Esp, Ike, TunnelKey, UdpEncapsulation
from vpnagent.secret import Secret

# What charon is to have: one VICI connection per tunnel, and its secret.
# Values only. ``ipsec.messages`` turns them into VICI messages and is the only place that knows VICI's
# key names. A changed digest is how a change is noticed: list-conns tells neither proposals nor if_id.


@dataclass(frozen=True, slots=True, kw_only=True)
class CharonConnection:
    """A connection as charon should have it loaded; its name is ``key.owner``."""

    key: TunnelKey
    local_address: str  #: ``%any`` where the kernel picks
    remote_address: str
    local_id: str
    remote_id: str
    ike: Ike
    esp: Esp
    udp_encapsulation: UdpEncapsulation
    local_ts: tuple[str, ...]
    remote_ts: tuple[str, ...]
    if_id: int
    psk: Secret | None
    certificates: CertificateFiles | None
    psk_by_pair: bool = False  #: the cloud's identity has another key for another identity of ours
    initial_contact: bool = False  #: the peer is to drop what it has of us: another machine may have left it

    @property
    def name(self) -> str:
        """The VICI connection name, which marks it as ours."""
        return self.key.owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What the certificate files hold, PEM or DER; read when the connection is loaded."""

    certificate: bytes
    private_key: Secret
    ca: bytes


UNCONFIGURED = "no longer configured"
DUPLICATE = "a newer one carries the same"
OUTDATED = "negotiated with other settings"
REPLACED = "replaced by one with the present settings"
STANDBY = "the other gateway has the tunnel"


@dataclass(frozen=True, slots=True)
class LoadSecret:
    """Load or replace the pre-shared key of a connection."""

    connection: CharonConnection

    def __str__(self) -> str:
        return f"load-shared {self.connection.name}"


@dataclass(frozen=True, slots=True)
class LoadConnection:
    """Load or replace a connection; its SAs stay."""

    connection: CharonConnection

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
    """Delete an IKE_SA with all its CHILD_SAs.

    ``force`` tells the peer once, if at all, and forgets; otherwise charon repeats its DELETE until the
    peer has answered or is given up, which takes minutes.
    """

    connection: str
    ike_sa: str  #: unique id
    reason: str
    force: bool = False

    def __str__(self) -> str:
        return f"terminate {self.connection}[{self.ike_sa}] ({self.reason})"


@dataclass(frozen=True, slots=True)
class TerminateChild:
    """Delete one CHILD_SA; its IKE_SA stays."""

    connection: str
    child_sa: str  #: unique id
    reason: str

    def __str__(self) -> str:
        return f"terminate {self.connection}{{{self.child_sa}}} ({self.reason})"


@dataclass(frozen=True, slots=True)
class Renew:
    """Negotiate new CHILD_SAs beside these; they go when the new ones stand. Charon is not told of it."""

    connection: str
    child_sas: frozenset[str]  #: unique ids

    def __str__(self) -> str:
        return f"renew {self.connection} ({OUTDATED})"


@dataclass(frozen=True, slots=True)
class Vacate:
    """Move the traffic off a tunnel before its SAs are terminated. Charon is not told of it."""

    key: TunnelKey

    @property
    def connection(self) -> str:
        """The VICI connection name."""
        return self.key.owner

    def __str__(self) -> str:
        return f"vacate {self.connection} ({OUTDATED})"


CharonChange = Renew | Vacate  #: begins here, and is no message to charon
CharonAction = (
    LoadSecret | LoadConnection | UnloadConnection | UnloadSecret | Terminate | TerminateChild | CharonChange
)
