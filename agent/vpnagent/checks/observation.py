"""What a machine looks like, as far as the tunnels depend on it. Values only.

``None`` is what was not looked at; why stands in ``unseen``.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from vpnagent.checks.firewall import Ruleset
from vpnagent.config.values import TunnelKey
from vpnagent.record import record
from vpnagent.routing.fib import FibRule
from vpnagent.routing.objects import LocalWays
from vpnagent.routing.uplinks import Pin, Steering


@record(frozen=True, slots=True, kw_only=True)
class Unseen:
    """Something that could not be looked at."""

    what: str  #: the reading's name: a field of the observation
    why: str
    forbidden: bool = False  #: more privilege would do


@record(frozen=True, slots=True, kw_only=True)
class Modules:
    """What the kernel can and cannot do, as far as it tells without being asked to do it."""

    lacking: frozenset[str]  #: modules that are neither loaded, built in, nor installed
    unloaded: frozenset[str]  #: modules that are installed and not loaded
    loading_forbidden: bool  #: kernel.modules_disabled


@record(frozen=True, slots=True, kw_only=True)
class Interface:
    """A network interface."""

    name: str
    kind: str  #: of rtnl_link_ops: bridge, xfrm, tun, …; empty for hardware
    mtu: int  #: bytes


@record(frozen=True, slots=True, kw_only=True)
class Address:
    """An address of this machine, with its prefix."""

    interface: str
    address: IPv4Interface


@record(frozen=True, slots=True, kw_only=True)
class ObservedRoute:
    """A route of others that meets a remote network; in the main table only those within one."""

    table: int
    prefix: IPv4Network
    kind: int  #: rtm_type: RTN_UNICAST, RTN_THROW, …
    interface: str  #: empty: several, a nexthop object, or none
    metric: int
    protocol: int


@record(frozen=True, slots=True, kw_only=True)
class Listener:
    """A UDP socket that is bound to a port of IKE."""

    port: int
    address: IPv4Address
    process: str  #: empty: not told


@record(frozen=True, slots=True, kw_only=True)
class ObservedCharon:
    """The running charon."""

    version: str
    plugins: frozenset[str]
    algorithms: Mapping[str, frozenset[str]]


@record(frozen=True, slots=True, kw_only=True)
class Underlay:
    """The way of a tunnel's IKE and ESP packets."""

    tunnel: TunnelKey
    source: IPv4Address | None  #: that the kernel picks; None without a route
    mtu: int  #: bytes of IP packet that fit, as far as the kernel knows; 0 without a route
    error: str  #: why there is no way; else empty


@record(frozen=True, slots=True, kw_only=True)
class LargePackets:
    """What became of a tunnel's echo requests that must not be fragmented; sizes in bytes of IP packet."""

    tunnel: TunnelKey
    target: IPv4Address
    mtu: int  #: what fits in the tunnel, as far as the kernel knew
    answered: frozenset[int]  #: sizes
    lost: frozenset[int]  #: sizes to which no answer came, however often they were sent
    refused: bool  #: the kernel or a router said meanwhile that a size does not fit


@record(frozen=True, slots=True, kw_only=True)
class OpenFile:
    """A file, folder or socket that others may write to."""

    path: str
    mode: int


@record(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A file that is to hold a certificate."""

    owner: str  #: ``hangzhou/primary``, or the key of what else uses it
    role: str  #: certificate or CA
    file: str
    expiry: float | None  #: Unix time; None: not known
    error: str = ""  #: why it is not known
    replaced: bool = False  #: since the configuration was read: charon has the former one


@record(frozen=True, slots=True, kw_only=True)
class Pool:
    """A range from which a container engine takes networks."""

    network: IPv4Network
    where: str  #: the file that says so


@record(frozen=True, slots=True, kw_only=True)
class Observation:
    """Everything that was looked at."""

    at: float = 0.0  #: wall clock, seconds
    unseen: tuple[Unseen, ...] = ()
    release: str | None = None  #: of the kernel: uname -r
    build: str | None = None  #: of the kernel: uname -v
    lacking_capabilities: frozenset[str] | None = None  #: of this process, among those that the daemon needs
    root: bool = False  #: this process is root's
    modules: Modules | None = None
    nexthop_objects: bool | None = None
    sysctls: Mapping[str, str] | None = None
    interfaces: tuple[Interface, ...] | None = None
    addresses: tuple[Address, ...] | None = None
    routes: tuple[ObservedRoute, ...] | None = None
    default_interfaces: frozenset[str] | None = None  #: that have a default route in the main table
    lan_routes: tuple[ObservedRoute, ...] | None = (
        None  #: of the main table, within or around a local network
    )
    rules: tuple[FibRule, ...] | None = None
    local_ways: LocalWays | None = None  #: to the local networks
    listeners: tuple[Listener, ...] | None = None
    firewall: Ruleset | None = None
    charon: ObservedCharon | None = None
    ikev1: bool | None = None  #: this machine's charon speaks it; also None where nobody asked or answered
    underlays: tuple[Underlay, ...] | None = None
    large_packets: tuple[LargePackets, ...] | None = None
    steering: Mapping[Pin, Steering] | None = None  #: of the tunnels with an uplink
    clock_synchronised: bool | None = None
    hardware_aes: bool | None = None
    open_files: tuple[OpenFile, ...] | None = None
    certificates: tuple[Certificate, ...] | None = None
    pools: tuple[Pool, ...] | None = None
    resolvers: tuple[IPv4Address, ...] | None = None
