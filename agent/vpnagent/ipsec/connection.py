"""What charon is to have: one VICI connection per tunnel, and its secret.

Values only. ``ipsec.messages`` turns them into VICI messages and is the only place that knows
VICI's key names. A changed digest is how a change is noticed: list-conns tells neither proposals nor if_id.
"""

from dataclasses import dataclass

from vpnagent.config.values import CertificateFiles, Esp, Ike, TunnelKey, UdpEncapsulation
from vpnagent.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
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
