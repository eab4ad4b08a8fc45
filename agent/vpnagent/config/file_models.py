"""The border of the file: which keys there are, of which kind, with which defaults, and what they mean.

The descriptions are the documentation: they become docs/configuration.md and the JSON Schema. Every
value is read by a ``Kind``. What depends on more than one key is the business of ``build`` (defaults) and of
``rules``.
"""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Annotated, Final

from pydantic import Field

from vpnagent.config import kinds
from vpnagent.config.hooks import HookSection
from vpnagent.config.kinds import choice, duration, integer, member, rate
from vpnagent.config.sections import Addresses, InterfaceNames, Networks, PairSection, Section, key, required
from vpnagent.config.values import (
    Attachment,
    Device,
    Forwarding,
    LeakGuard,
    NetworkType,
    OnPathDown,
    ProbeMethod,
    Role,
    TrafficSelectors,
    UdpEncapsulation,
)

ENCRYPTION: Final = ("aes128", "aes192", "aes256", "3des", "des", "aes128gcm16", "aes256gcm16", "sm4")
INTEGRITY: Final = ("md5", "sha1", "sha256", "sha384", "sha512", "sm3")
DH_GROUPS: Final = (1, 2, 5, 14, 15, 16, 17, 18, 19, 20, 21, 24, 31)  #: IANA numbers
MAX_HOOKS: Final = 8
MAX_ROUTE_METRIC: Final = 4278198271  #: just above the guards
MAX_TUNNELS: Final = 2  #: the cloud gives a connection one or two

_ENCRYPTION: Final = choice(*ENCRYPTION)
_INTEGRITY: Final = choice(*INTEGRITY)

# Why not 0, which the cloud allows: nowhere is it said what it means. Below 300 s a rekey would never rest.
_LIFETIME: Final = duration("300s", "24h")


class GatewaySection(Section):
    """The machine that the agent runs on."""

    name: Annotated[str | None, kinds.NAME] = key(
        "Name of this gateway in status, logs and metrics; with `pair` it stands under `nodes`. Default: the "
        "host name."
    )
    local_networks: Networks = required("Prefixes of the data centre behind this gateway.")
    source_address: Annotated[IPv4Address | None, kinds.ADDRESS] = key(
        "Source of the gateway's own packets into the tunnels, probes of shared targets among them: a LAN "
        "address of its own, so that the cloud routes the answers back. Default: the kernel picks."
    )

    local_interfaces: InterfaceNames = key(
        "Interfaces of the LAN side: by them, and by no others but tunnels, what comes out of a tunnel may "
        "leave (`agent.leak_guard`). Default: those by which the kernel reaches the local networks.",
        [],
        title="list of names of interfaces",
    )
    pair: PairSection | None = key("Two gateways that share the tunnels. Default: it is alone.")


class MetricsTlsSection(Section):
    """TLS of the metrics' listener: PEM files, named relative to the folder of the YAML."""

    certificate: Annotated[str, kinds.FILE] = required(
        "The listener's certificate, with the chain up to the CA that clients know."
    )
    private_key: Annotated[str, kinds.FILE] = required(
        "Its private key, not encrypted; owner and mode as for `psk_file`."
    )
    client_ca: Annotated[str | None, kinds.FILE] = key(
        "The CA of which every client must show a certificate. Default: clients need none."
    )


class MetricsAuthSection(Section):
    """Basic authentication at the metrics' listener."""

    username: Annotated[str, kinds.USERNAME] = required("The name that clients give.")
    password_file: Annotated[str, kinds.FILE] = required(
        "File of the password, named relative to the folder of the YAML; owner, mode and content as for "
        "`psk_file`."
    )


class AgentSection(Section):
    """The daemon itself: paths, so that several can run side by side in network namespaces."""

    vici_socket: Annotated[str, kinds.SOCKET_PATH] = key("charon's VICI socket.", "/var/run/charon.vici")
    control_socket: Annotated[str, kinds.SOCKET_PATH] = key(
        "Socket on which the daemon answers `status` and other commands.", "/run/vpnagent/control.sock"
    )
    state_directory: Annotated[str, kinds.PATH] = key(
        "Directory of what has to survive a reboot, such as drains.", "/var/lib/vpnagent"
    )
    metrics_listen: Annotated[str, kinds.LISTEN] = key(
        "Where Prometheus scrapes. Empty (`''`): no listener. Elsewhere than on the loopback interface with "
        "`metrics_tls` and its `client_ca`, or `metrics_auth`: without them there is a warning.",
        "127.0.0.1:9786",
    )
    metrics_tls: MetricsTlsSection | None = key(
        "TLS for that listener. Its files are read again when they change. Default: plain HTTP."
    )
    metrics_auth: MetricsAuthSection | None = key(
        "Name and password that are asked for there. The password is read again when it changes. "
        "Default: none."
    )
    leak_guard: Annotated[LeakGuard, member(LeakGuard)] = key(
        "What becomes of packets for a remote network that would leave by an interface that is neither "
        "a tunnel nor one of `exits`, and of those that came out of a tunnel and would leave by neither the "
        "LAN side nor a tunnel: `drop` stops and counts them, `count` counts them, `off` does nothing.",
        "drop",
    )
    manage_sysctls: Annotated[bool, kinds.BOOLEAN] = key(
        "Whether the daemon sets the host-wide sysctls it needs; `false`: it checks them and warns.", True
    )
    realtime: Annotated[bool, kinds.BOOLEAN] = key(
        "Whether the prober runs under SCHED_FIFO, on time on a busy machine; needs CAP_SYS_NICE.", False
    )


class IkeSection(Section):
    """Phase 1: exactly one proposal, as the cloud accepts only one."""

    version: Annotated[int, choice(1, 2)] = key("IKE version.", 2)
    mode: Annotated[str, choice("main", "aggressive")] = key(
        "Mode of IKE version 1. Version 2 has none: `aggressive` is refused there.", "main"
    )
    encryption: Annotated[str, _ENCRYPTION] = key("Encryption of IKE. AES-GCM needs version 2.", "aes128")
    integrity: Annotated[str, _INTEGRITY] = key(
        "Integrity of IKE, and its pseudo-random function; with AES-GCM only the latter.", "sha1"
    )
    dh_group: Annotated[int, choice(*DH_GROUPS)] = key("Diffie-Hellman group, by its IANA number.", 2)
    lifetime: Annotated[float, _LIFETIME] = key(
        "Lifetime of the IKE SA at the cloud; ours is renewed well before.", "24h"
    )
    dpd_delay: Annotated[float, duration("1s", "1h")] = key(
        "Silence after which charon asks whether the peer is alive.", "10s"
    )
    dpd: Annotated[bool, kinds.BOOLEAN] = key(
        "Whether it asks at all, as the cloud's EnableDpd: the probes tell sooner whether a tunnel works.",
        True,
    )


class EspSection(Section):
    """Phase 2: exactly one proposal, as the cloud accepts only one."""

    encryption: Annotated[str, _ENCRYPTION] = key("Encryption of ESP.", "aes128")
    integrity: Annotated[str, _INTEGRITY] = key(
        "Integrity of ESP. Without effect with AES-GCM, which brings its own.", "sha1"
    )
    pfs_group: Annotated[int | str, choice(*DH_GROUPS, "disabled")] = key(
        "Diffie-Hellman group of perfect forward secrecy, by its IANA number.", 2
    )
    lifetime: Annotated[float, _LIFETIME] = key(
        "Lifetime of the IPsec SA at the cloud; ours is renewed well before.", "24h"
    )


class ConfirmSection(Section):
    """How a missed probe is confirmed."""

    count: Annotated[int, integer(0, 10)] = key(
        "Probes, the first at once. If none is answered and another tunnel is heard, traffic moves. 0: off.",
        3,
    )
    interval: Annotated[float | None, duration("1ms", "10s")] = key(
        "Time between them. Default: a fifth of the interval of the probes."
    )


class ProbeSection(Section):
    """How the path through each tunnel is measured."""

    method: Annotated[ProbeMethod, member(ProbeMethod)] = key(
        "What a probe is: an echo request, a TCP SYN or a DNS query.", "icmp"
    )
    targets: Addresses = key(
        "Shared targets: addresses behind all tunnels. They are probed through the tunnels that have neither "
        "`targets` of their own nor an `inside_address`, and required if there is such a tunnel.",
        [],
        title="list of IPv4 addresses",
    )
    port: Annotated[int | None, integer(1, kinds.MAX_PORT)] = key(
        "Port of `tcp` and `dns` probes. Default: 443; with `dns` 53."
    )
    interval: Annotated[float, duration("10ms", "60s")] = key("Time between two probes of a tunnel.", "100ms")
    detect_multiplier: Annotated[int, integer(1, 100)] = key(
        "Silent intervals after which a path is down. Their product is the detection time.", 3
    )
    hold_down: Annotated[float, duration("0s", "1h")] = key(
        "How long a recovered path must be heard before it is used again; not less than the detection time.",
        "5s",
    )
    dscp: Annotated[int, integer(0, 63)] = key(
        "DSCP of the probes. 48 is CS6, network control; 0 where a provider drops marked packets.", 48
    )
    confirm: ConfirmSection = key("How a missed probe is confirmed.", {})


class CertificateSection(Section):
    """Authentication by certificate: PEM files, named relative to the folder of the YAML."""

    certificate: Annotated[str, kinds.FILE] = required("This gateway's certificate.")
    private_key: Annotated[str, kinds.FILE] = required("Its private key; owner and mode as for `psk_file`.")
    ca: Annotated[str, kinds.FILE] = required("The CA that signed the cloud's certificate.")


class TunnelSection(Section):
    """One tunnel of a connection."""

    name: Annotated[str, kinds.NAME] = required("Name of the tunnel, unique in its connection.")
    role: Annotated[Role | None, member(Role)] = key(
        "Role in active-standby; with ecmp there is none. Default: active for the first tunnel without a "
        "role unless another one says active, standby for the rest."
    )
    remote_address: Annotated[IPv4Address, kinds.ADDRESS] = required("The cloud's address of the tunnel.")
    local_address: Annotated[IPv4Address | None, kinds.ADDRESS_OR_ANY] = key(
        "This gateway's outer address. With `%any` the kernel picks, and `local_id` is required.", "%any"
    )
    uplink: Annotated[str | None, kinds.INTERFACE] = key(
        "Interface by whose gateway the tunnel's IKE and ESP leave, and by no other, where there are two "
        "providers. Default: the routing table decides."
    )
    uplink_gateway: Annotated[IPv4Address | None, kinds.ADDRESS] = key(
        "The provider's router on `uplink`. Default: what the interface's own routes say, first of all its "
        "default route, whatever its metric or table."
    )
    remote_id: Annotated[str | None, kinds.IDENTITY] = key(
        "The cloud's IKE identity. Default: `remote_address`."
    )
    local_id: Annotated[str | None, kinds.IDENTITY] = key(
        "This gateway's IKE identity; behind NAT the public address. Default: `local_address`."
    )
    psk_file: Annotated[str | None, kinds.FILE] = key(
        "File of the pre-shared key, named relative to the folder of the YAML. Owned by root or by the user "
        "that reads it; mode 0600, or 0640 with group root or vpnagent. One newline at the end is not part "
        "of the key."
    )
    psk_credential: Annotated[str | None, kinds.CREDENTIAL] = key(
        "Name of the systemd credential (`LoadCredential=`) that holds the pre-shared key."
    )
    certificate: CertificateSection | None = key(
        "Authentication by certificate. One of `psk_file`, `psk_credential` and `certificate` is required, "
        "and only one."
    )
    inside_address: Annotated[IPv4Interface | None, kinds.INSIDE_ADDRESS] = key(
        "This gateway's address of the /30 inside the tunnel; the other one is the cloud's, and is probed."
    )
    ike: IkeSection = key("What is different in this tunnel's phase 1: keys as in `connections[].ike`.", {})
    esp: EspSection = key("What is different in this tunnel's phase 2: keys as in `connections[].esp`.", {})
    udp_encapsulation: Annotated[UdpEncapsulation | None, member(UdpEncapsulation)] = key(
        "This tunnel's. Default: the connection's."
    )
    targets: Addresses = key(
        "Targets of this tunnel's probes, before any others.", [], title="list of IPv4 addresses"
    )
    interface: Annotated[str | None, kinds.INTERFACE] = key(
        "Name of the XFRM interface, unique. Default: `vpn-CONNECTION-TUNNEL` where that has at most 15 "
        "characters, else its first 10 and a hash."
    )
    if_id: Annotated[int | None, integer(1, 2**32 - 1)] = key(
        "Id of the XFRM interface, unique. Default: a hash of the names, from 0x56000000 on."
    )
    weight: Annotated[int, integer(1, 255)] = key("Share of the flows, with ecmp.", 1)
    device: Annotated[Device | None, member(Device)] = key(
        "Which gateway of the pair has this tunnel. Default: the one that has `local_address` at the time."
    )


class ConnectionSection(Section):
    """One IPsec connection of the cloud: one or two tunnels to the same networks."""

    name: Annotated[str, kinds.NAME] = required("Name of the connection, unique.")
    attachment: Annotated[Attachment, member(Attachment)] = required("What the cloud's end is attached to.")
    bandwidth: Annotated[float, rate("64kbps", "100Gbps")] = key(
        "Bandwidth that was bought; utilisation and alerts are measured against it.", "1000Mbps"
    )
    packet_rate: Annotated[int, integer(1, 1_000_000_000)] = key(
        "Limit in packets per second, in and out together.", 120_000
    )
    forwarding: Annotated[Forwarding | None, member(Forwarding)] = key(
        "How the tunnels share the traffic. Default: active-standby for vpn-gateway, ecmp for transit-router."
    )
    network_type: Annotated[NetworkType | None, member(NetworkType)] = key(
        "Network by which the two ends reach each other, as the cloud has it: `export` and `import --diff` "
        "need it. Default: private where every `remote_address` is a private one, else public."
    )
    remote_networks: Networks = required("Networks that are routed into the tunnels.")
    local_networks: Annotated[
        tuple[Annotated[IPv4Network, kinds.NETWORK], ...] | None,
        Field(min_length=1, title="list of IPv4 networks"),
    ] = key("What of the data centre this connection is for. Default: the gateway's.")
    source_address: Annotated[IPv4Address | None, kinds.ADDRESS] = key(
        "Source of the gateway's own packets to this connection's networks. Default: the gateway's."
    )
    exits: InterfaceNames = key(
        "Interfaces by which the remote networks may be reached beside the tunnels, such as a leased line: "
        "`agent.leak_guard` lets it pass.",
        [],
        title="list of names of interfaces",
    )
    priority: Annotated[int, integer(0, 255)] = key(
        "Rank among connections that share networks: those of the lowest number carry, the others are their "
        "standby, as the cloud's destination routes with weights have it.",
        0,
    )
    route_metric: Annotated[int, integer(0, MAX_ROUTE_METRIC)] = key(
        "Metric of the routes into the tunnels. Routes of others to the same networks, such as a leased "
        "line's, go before them with a lower one, and behind them with a higher one; the line is in `exits`.",
        0,
    )
    traffic_selectors: Annotated[TrafficSelectors, member(TrafficSelectors)] = key(
        "`any`: 0.0.0.0/0 both ways, the cloud's destination routing mode. `networks`: the local and remote "
        "networks, its protected data flows.",
        "any",
    )
    ike: IkeSection = key("Phase 1.", {})
    esp: EspSection = key("Phase 2.", {})
    mtu: Annotated[int, integer(576, 9000)] = key("MTU of the XFRM interfaces, in bytes.", 1399)
    udp_encapsulation: Annotated[UdpEncapsulation, member(UdpEncapsulation)] = key(
        "ESP in UDP: `always`, so that IKE and ESP share one fate; `auto`, only behind NAT; `never`.",
        "always",
    )
    on_path_down: Annotated[OnPathDown, member(OnPathDown)] = key(
        "What becomes of an IKE SA whose path is dead while IKE lives: `reset` ends it, which tells the "
        "cloud; `keep` leaves it.",
        "reset",
    )
    gateway_id: Annotated[str | None, kinds.WORD] = key(
        "Id of the VPN gateway instance, whose connections share its bandwidth and its alerts. Default: none."
    )
    probe: ProbeSection = key("How the path through each tunnel is measured.", {})
    tunnels: Annotated[tuple[TunnelSection, ...], Field(min_length=1, max_length=MAX_TUNNELS)] = required(
        "The tunnels, one or two."
    )


class ConfigFile(Section):
    """Configuration of vpnagent."""

    version: Annotated[int, choice(1)] = key("Version of this format.", 1)
    gateway: GatewaySection = required("The machine that the agent runs on.")
    agent: AgentSection = key("The daemon itself.", {})
    connections: Annotated[tuple[ConnectionSection, ...], Field(min_length=1)] = required(
        "The connections to the cloud."
    )
    hooks: Annotated[tuple[HookSection, ...], Field(max_length=MAX_HOOKS)] = key(
        "Who else is told of events, besides the log.", []
    )
