"""The configuration as the core sees it: frozen values, already valid, every default filled in.

Standard library only: the prober and the control daemon share these. Where the values come from, and
what is wrong with a file, is the business of ``config.load``. Keys and defaults are the contract of
docs/configuration.md. Durations are seconds, rates bits per second, addresses and networks IPv4.
"""

import enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final, NamedTuple

from vpnagent.record import record
from vpnagent.secret import Secret


class TunnelKey(NamedTuple):
    """What identifies a tunnel everywhere: in maps, labels, log lines."""

    connection: str
    tunnel: str

    def __str__(self) -> str:
        return f"{self.connection}/{self.tunnel}"

    @property
    def owner(self) -> str:
        """The owner mark: VICI connection name and interface alias."""
        return f"{OWNER_PREFIX}{self.connection}.{self.tunnel}"


OWNER_PREFIX = "vpnagent."


class Attachment(enum.Enum):
    """What the cloud's end of the connection is attached to."""

    VPN_GATEWAY = "vpn-gateway"
    TRANSIT_ROUTER = "transit-router"


class Forwarding(enum.Enum):
    """How a connection's tunnels share its traffic."""

    ACTIVE_STANDBY = "active-standby"
    ECMP = "ecmp"


class Role(enum.Enum):
    """A tunnel's role in an active-standby connection."""

    ACTIVE = "active"
    STANDBY = "standby"


class NetworkType(enum.Enum):
    """By which network the two ends of a connection reach each other."""

    PUBLIC = "public"
    PRIVATE = "private"


class TrafficSelectors(enum.Enum):
    """What the CHILD_SA's traffic selectors cover (RFC 7296 §2.9)."""

    ANY = "any"
    NETWORKS = "networks"


class UdpEncapsulation(enum.Enum):
    """Whether ESP travels in UDP (RFC 3948) where no NAT asks for it."""

    ALWAYS = "always"
    AUTO = "auto"
    NEVER = "never"


class OnPathDown(enum.Enum):
    """What happens to the IKE_SA of a tunnel whose path is dead while IKE lives."""

    RESET = "reset"
    KEEP = "keep"


class ProbeMethod(enum.Enum):
    """What a probe is."""

    ICMP = "icmp"
    TCP = "tcp"
    DNS = "dns"


class LeakGuard(enum.Enum):
    """What becomes of packets of the remote networks that would leave in clear."""

    DROP = "drop"
    COUNT = "count"
    OFF = "off"


class Device(enum.Enum):
    """Which of the two gateways of a pair."""

    A = "a"
    B = "b"


@record(frozen=True, slots=True, kw_only=True)
class NodeUplink:
    """Where one of two gateways is in a network in which outer addresses move between them."""

    interface: str
    address: IPv4Address  #: its own one, which never moves

    def __str__(self) -> str:
        return f"{self.interface}={self.address}"


@record(frozen=True, slots=True, kw_only=True)
class PairNode:
    """One of two gateways."""

    host: str
    address: IPv4Address  #: its own one in the LAN, which never moves
    name: str
    source_address: IPv4Address | None
    uplinks: tuple[NodeUplink, ...] = ()


@record(frozen=True, slots=True, kw_only=True)
class GatewayPair:
    """Two gateways that share the work of one, and this file."""

    here: Device | None  #: which of them this machine is; None: neither
    a: PairNode
    b: PairNode
    virtual_addresses: tuple[IPv4Address, ...] = ()  #: of the LAN, which move from one to the other
    secret_file: str | None = None  #: absolute path; None: the two do not talk

    def node(self, device: Device) -> PairNode:
        """Return one of the two."""
        return self.a if device is Device.A else self.b

    def other(self, device: Device) -> Device:
        """Return which is the other one."""
        return Device.B if device is Device.A else Device.A


@record(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The machine that this agent runs on."""

    name: str
    local_networks: tuple[IPv4Network, ...]
    source_address: IPv4Address | None  #: None: the kernel picks
    local_interfaces: tuple[str, ...] = ()  #: empty: those by which the kernel reaches the local networks
    pair: GatewayPair | None = None  #: None: it is alone


@record(frozen=True, slots=True, kw_only=True)
class MetricsTls:
    """TLS of the metrics' listener: absolute paths of PEM files."""

    certificate: str
    private_key: str
    client_ca: str | None  #: None: clients need no certificate


@record(frozen=True, slots=True, kw_only=True)
class MetricsAuth:
    """Basic authentication (RFC 7617) at the metrics' listener."""

    username: str
    password_file: str  #: absolute path


@record(frozen=True, slots=True, kw_only=True)
class Agent:
    """Paths and habits of the daemon itself."""

    vici_socket: str
    control_socket: str
    state_directory: str
    metrics_listen: str  #: address:port; empty: no listener
    manage_sysctls: bool
    realtime: bool  #: the prober under SCHED_FIFO
    leak_guard: LeakGuard = LeakGuard.DROP
    metrics_tls: MetricsTls | None = None
    metrics_auth: MetricsAuth | None = None


@record(frozen=True, slots=True, kw_only=True)
class Ike:
    """Phase 1: exactly one proposal, as the cloud accepts only one."""

    version: int  #: 1 or 2
    mode: str  #: main | aggressive; IKEv1 only
    encryption: str
    integrity: str
    dh_group: int  #: IANA number
    lifetime: float  #: seconds; the cloud's hard limit
    dpd_delay: float  #: seconds
    dpd: bool = True  #: whether charon asks at all


@record(frozen=True, slots=True, kw_only=True)
class Esp:
    """Phase 2: exactly one proposal."""

    encryption: str
    integrity: str
    pfs_group: int | None  #: IANA number; None: PFS disabled
    lifetime: float  #: seconds; the cloud's hard limit


@record(frozen=True, slots=True, kw_only=True)
class Probe:
    """How a tunnel's path is measured. Terms as in RFC 5880."""

    method: ProbeMethod
    targets: tuple[IPv4Address, ...]  #: what this tunnel is asked through; never empty
    port: int  #: tcp and dns only
    interval: float  #: seconds between probes
    detect_multiplier: int  #: silent intervals before the path is down
    hold_down: float  #: seconds for which a recovered path must be heard
    dscp: int = 48  #: 0 to 63: the mark of probes
    confirm_count: int = 3  #: probes by which a missed one is confirmed; 0: it is not
    confirm_interval: float = 0.02  #: seconds between those

    @property
    def detection_time(self) -> float:
        """Seconds of silence that mean down."""
        return self.interval * self.detect_multiplier


@record(frozen=True, slots=True, kw_only=True)
class CertificateFiles:
    """X.509 authentication: absolute paths of PEM files."""

    certificate: str
    private_key: str
    ca: str
    revision: str = ""  #: of what certificate and CA held when the configuration was read; empty: not read


@record(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """One tunnel of a connection. ``psk`` is None where certificates are used."""

    key: TunnelKey
    role: Role
    remote_address: IPv4Address
    local_address: IPv4Address | None  #: None: %any
    uplink: str | None  #: interface by which IKE and ESP leave; None: the routing table decides
    uplink_gateway: IPv4Address | None  #: None: as the uplink's own routes have it
    remote_id: str
    local_id: str
    psk: Secret | None
    certificates: CertificateFiles | None
    inside_address: IPv4Interface | None
    interface: str  #: XFRM interface name, at most 15 characters
    if_id: int  #: 1 to 2**32 - 1
    weight: int  #: 1 to 255; ecmp only
    probe: Probe
    ike: Ike | None = None  #: None: the connection's, as with the next two; ``Connection.ike_of`` and so on
    esp: Esp | None = None
    udp_encapsulation: UdpEncapsulation | None = None
    device: Device | None = None  #: which gateway of a pair has it; None: the one that has the local address

    @property
    def name(self) -> str:
        """The name within the connection."""
        return self.key.tunnel


@record(frozen=True, slots=True, kw_only=True)
class Connection:
    """One IPsec connection of the cloud: one or two tunnels to the same networks."""

    name: str
    attachment: Attachment
    bandwidth: float  #: bits per second, purchased
    packet_rate: int  #: packets per second, in + out
    forwarding: Forwarding
    remote_networks: tuple[IPv4Network, ...]
    traffic_selectors: TrafficSelectors
    ike: Ike
    esp: Esp
    mtu: int  #: bytes, of the XFRM interface
    udp_encapsulation: UdpEncapsulation
    on_path_down: OnPathDown
    gateway_id: str | None
    tunnels: tuple[Tunnel, ...]
    network_type: NetworkType = NetworkType.PUBLIC
    exits: tuple[str, ...] = ()  #: interfaces by which the remote networks may be reached too
    priority: int = 0  #: among connections that share networks: the lowest goes first
    route_metric: int = 0  #: of the routes into the tunnels: others' with a lower one go before them
    shared_targets: tuple[IPv4Address, ...] = ()  #: behind all tunnels, whether or not a tunnel is asked them
    local_networks: tuple[IPv4Network, ...] = ()  #: empty: the gateway's; ``Config.local_networks_of``
    source_address: IPv4Address | None = None  #: None: the gateway's; ``Config.source_of``

    def ike_of(self, tunnel: Tunnel) -> Ike:
        """Return phase 1 of one of the tunnels."""
        return tunnel.ike or self.ike

    def esp_of(self, tunnel: Tunnel) -> Esp:
        """Return phase 2 of one of the tunnels."""
        return tunnel.esp or self.esp

    def udp_encapsulation_of(self, tunnel: Tunnel) -> UdpEncapsulation:
        """Return whether one of the tunnels has its ESP in UDP."""
        return tunnel.udp_encapsulation or self.udp_encapsulation


class HookType(enum.Enum):
    """How a hook is told; the last five get a message that people read, the others the event as JSON."""

    COMMAND = "command"
    WEBHOOK = "webhook"
    DINGTALK = "dingtalk"
    WECOM = "wecom"
    FEISHU = "feishu"
    SLACK = "slack"
    EMAIL = "email"


class HookLanguage(enum.Enum):
    """The language of a hook's messages."""

    ENGLISH = "en"
    CHINESE = "zh"


class MailSecurity(enum.Enum):
    """How the way to a mail server is secured."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


@record(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """Where mail is handed over, and to whom it goes."""

    server: str
    port: int
    security: MailSecurity
    username: str | None  #: None: no login
    password: Secret | None
    sender: str
    recipients: tuple[str, ...]


@record(frozen=True, slots=True, kw_only=True)
class Hook:
    """Who else is told of events: a command, a webhook, a chat group, or a mailbox."""

    name: str
    type: HookType
    command: tuple[str, ...]  #: of type ``command``
    url: Secret | None  #: many a webhook's address is all it takes to use it
    secret: Secret | None = None  #: key that signs messages (DingTalk, Feishu)
    email: Mailbox | None = None
    language: HookLanguage = HookLanguage.ENGLISH
    token: Secret | None  #: bearer token (RFC 6750)
    events: tuple[str, ...]  #: types of events, or the least severities
    timeout: float  #: seconds for one attempt
    retries: int  #: attempts after the first


@record(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole file."""

    gateway: Gateway
    agent: Agent
    connections: tuple[Connection, ...]
    hooks: tuple[Hook, ...] = ()

    def tunnels(self) -> tuple[Tunnel, ...]:
        """All tunnels of all connections, in the order of the file."""
        return tuple(tunnel for connection in self.connections for tunnel in connection.tunnels)

    def local_networks_of(self, connection: Connection) -> tuple[IPv4Network, ...]:
        """What of the data centre a connection is for."""
        return connection.local_networks or self.gateway.local_networks

    def local_networks(self) -> tuple[IPv4Network, ...]:
        """All of the data centre that any connection is for, and the gateway's; each once."""
        of_connections = (n for connection in self.connections for n in connection.local_networks)
        return tuple(dict.fromkeys((*self.gateway.local_networks, *of_connections)))

    def source_of(self, connection: Connection) -> IPv4Address | None:
        """The source of the gateway's own packets to a connection's networks; None: the kernel picks."""
        return connection.source_address or self.gateway.source_address


# What is so about Alibaba Cloud everywhere. Pure.

#: Services outside of VPCs have their addresses here (access-cloud-services-over-vpn).
CLOUD_SERVICES: Final = IPv4Network("100.64.0.0/10")
