"""The border of the file: which keys there are, of which kind, with which defaults, and what they mean.

Descriptions here are the documentation: they become docs/configuration.md and the JSON Schema. Every
value is read by a ``Kind`` of ``field_types``. What depends on more than one key is the business of ``build``
(defaults) and ``rules``.
"""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from vpnagent.config import field_types as kinds
from vpnagent.config.field_types import choice, duration, integer, member, rate
from vpnagent.config.values import (
    Attachment,
    Forwarding,
    OnPathDown,
    ProbeMethod,
    Role,
    TrafficSelectors,
    UdpEncapsulation,
)

ENCRYPTION: Final = ("aes128", "aes192", "aes256", "3des", "des", "aes128gcm16", "aes256gcm16")
INTEGRITY: Final = ("md5", "sha1", "sha256", "sha384", "sha512")
DH_GROUPS: Final = (1, 2, 5, 14, 15, 16, 17, 18, 19, 20, 21, 31)
MAX_TUNNELS: Final = 2  #: a connection of the cloud has one or two

_GUOMI: Final = (
    "is a Guomi algorithm, which strongSwan does not register: "
    "use a connection of an ordinary VPN gateway (not NationalStandard) with aes128 and sha1 or better"
)
_ENCRYPTION: Final = choice(*ENCRYPTION, refused={"sm4": _GUOMI})
_INTEGRITY: Final = choice(*INTEGRITY, refused={"sm3": _GUOMI})
_LIFETIME: Final = duration("300s", "24h")


class Section(BaseModel):
    """A mapping of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def key(default: Any, description: str, **more: Any) -> Any:
    """Return a field with a default; ``...`` makes it required, None leaves the default to ``build``."""
    return Field(default, description=description, validate_default=default is not None, **more)


class GatewaySection(Section):
    """This machine."""

    name: Annotated[str | None, kinds.NAME] = key(
        None, "Name of this gateway in status, logs and metrics. Default: the host name."
    )
    local_networks: Annotated[tuple[Annotated[IPv4Network, kinds.NETWORK], ...], Field(min_length=1)] = key(
        ..., "Prefixes of the data centre behind this gateway."
    )
    source_address: Annotated[IPv4Address | None, kinds.ADDRESS] = key(
        None,
        "Source of the gateway's own packets into the tunnels: `src` of the routes and of the probes of shared "
        "targets. Give one of the LAN addresses that the cloud routes back. Default: the kernel picks.",
    )


class AgentSection(Section):
    """The daemon itself: paths, so that several can run side by side in network namespaces."""

    vici_socket: Annotated[str, kinds.SOCKET_PATH] = key("/var/run/charon.vici", "charon's VICI socket.")
    control_socket: Annotated[str, kinds.SOCKET_PATH] = key(
        "/run/vpnagent/control.sock", "Where `vpnagent status` and others reach the daemon."
    )
    state_directory: Annotated[str, kinds.PATH] = key(
        "/var/lib/vpnagent", "What has to survive a reboot: drains, the last good configuration."
    )
    metrics_listen: Annotated[str, kinds.LISTEN] = key(
        "127.0.0.1:9786", "Where Prometheus scrapes. Empty: no listener."
    )
    manage_sysctls: Annotated[bool, kinds.BOOLEAN] = key(
        True,
        "Whether the daemon sets the host-wide sysctls that it needs; `false`: it only checks and warns.",
    )


class IkeSection(Section):
    """Phase 1: exactly one proposal, as the cloud accepts only one."""

    version: Annotated[int, choice(1, 2)] = key(2, "IKE version.")
    mode: Annotated[str, choice("main", "aggressive")] = key(
        "main", "IKEv1 only; `aggressive` is refused with version 2, which has no modes."
    )
    encryption: Annotated[str, _ENCRYPTION] = key("aes128", "Encryption of IKE. AES-GCM with IKEv2 only.")
    integrity: Annotated[str, _INTEGRITY] = key(
        "sha1", "Integrity of IKE and its PRF; with AES-GCM the PRF only."
    )
    dh_group: Annotated[int, choice(*DH_GROUPS)] = key(2, "Diffie-Hellman group, as its IANA number.")
    lifetime: Annotated[float, _LIFETIME] = key(
        "24h", "The cloud's lifetime of the IKE SA; ours is renewed before it ends."
    )
    dpd_delay: Annotated[float, duration("1s", "1h")] = key(
        "10s", "Silence after which charon asks whether the peer is alive."
    )


class EspSection(Section):
    """Phase 2: exactly one proposal, as the cloud accepts only one."""

    encryption: Annotated[str, _ENCRYPTION] = key("aes128", "Encryption of ESP.")
    integrity: Annotated[str, _INTEGRITY] = key(
        "sha1", "Integrity of ESP. Without effect with AES-GCM, which has its own."
    )
    pfs_group: Annotated[int | str, choice(*DH_GROUPS, "disabled")] = key(
        2, "Diffie-Hellman group of perfect forward secrecy, as its IANA number."
    )
    lifetime: Annotated[float, _LIFETIME] = key(
        "24h", "The cloud's lifetime of the IPsec SA; ours is renewed before it ends."
    )


class ProbeSection(Section):
    """How the path through each tunnel is measured."""

    method: Annotated[ProbeMethod, member(ProbeMethod)] = key(
        "icmp", "What a probe is: an echo request, a TCP SYN or a DNS query."
    )
    targets: tuple[Annotated[IPv4Address, kinds.ADDRESS], ...] = key(
        (),
        "Shared targets: addresses behind all tunnels of the connection. Probed through every tunnel that has neither "
        "`targets` of its own nor an `inside_address`; required if there is such a tunnel.",
    )
    port: Annotated[int | None, integer(1, 65535)] = key(
        None, "Port of `tcp` and `dns` probes. Default: 443, for `dns` 53."
    )
    interval: Annotated[float, duration("10ms", "60s")] = key("100ms", "Time between two probes of a tunnel.")
    detect_multiplier: Annotated[int, integer(1, 100)] = key(
        3, "Silent intervals after which a path is down: detection time = interval x detect_multiplier."
    )
    hold_down: Annotated[float, duration("0s", "1h")] = key(
        "5s",
        "How long a recovered path must be heard before it carries traffic again. Not shorter than the detection time.",
    )


class CertificateSection(Section):
    """Authentication by certificate: PEM files, relative to the folder of the YAML."""

    certificate: Annotated[str, kinds.FILE] = key(..., "This gateway's certificate.")
    private_key: Annotated[str, kinds.FILE] = key(..., "Its private key. Access as for `psk_file`.")
    ca: Annotated[str, kinds.FILE] = key(..., "The CA that signed the cloud's certificate.")


class TunnelSection(Section):
    """One tunnel of a connection."""

    name: Annotated[str, kinds.NAME] = key(..., "Name, unique within the connection.")
    role: Annotated[Role | None, member(Role)] = key(
        None,
        "Only in active-standby. Default: the first tunnel without a role is active if no other is; the rest are standby.",
    )
    remote_address: Annotated[IPv4Address, kinds.ADDRESS] = key(..., "The cloud's address of this tunnel.")
    local_address: Annotated[IPv4Address | None, kinds.ADDRESS_OR_ANY] = key(
        "%any", "Our outer address. With `%any` the kernel picks, and `local_id` is required."
    )
    uplink: Annotated[str | None, kinds.INTERFACE] = key(
        None,
        "This tunnel's IKE and ESP leave by this interface's gateway (two providers). Default: the routing table decides.",
    )
    remote_id: Annotated[str | None, kinds.IDENTITY] = key(
        None, "The cloud's IKE identity. Default: `remote_address`."
    )
    local_id: Annotated[str | None, kinds.IDENTITY] = key(
        None, "Our IKE identity; behind NAT the public address. Default: `local_address`."
    )
    psk_file: Annotated[str | None, kinds.FILE] = key(
        None,
        "File of the pre-shared key, relative to the folder of the YAML. Mode 0600, or 0640 with group root or vpnagent; owned by "
        "root or the user that reads it. One newline at its end is not part of the key.",
    )
    psk_credential: Annotated[str | None, kinds.CREDENTIAL] = key(
        None, "Name of the systemd credential (`LoadCredential=`) that holds the pre-shared key."
    )
    certificate: CertificateSection | None = key(
        None,
        "Authentication by certificate. Exactly one of `psk_file`, `psk_credential` and `certificate` is required.",
    )
    inside_address: Annotated[IPv4Interface | None, kinds.INSIDE_ADDRESS] = key(
        None, "Our address of the /30 inside the tunnel; the other one is then probed."
    )
    targets: tuple[Annotated[IPv4Address, kinds.ADDRESS], ...] = key(
        (), "Targets of this tunnel's probes, instead of any others."
    )
    interface: Annotated[str | None, kinds.INTERFACE] = key(
        None,
        "Name of the XFRM interface, unique. Default: `vpn-CONNECTION-TUNNEL`, or a shortened name with a hash.",
    )
    if_id: Annotated[int | None, integer(1, 2**32 - 1)] = key(
        None, "Id of the XFRM interface, unique. Default: a hash of the names, from 0x56000000."
    )
    weight: Annotated[int, integer(1, 255)] = key(1, "Share of the flows; in ecmp only.")


class ConnectionSection(Section):
    """One IPsec connection of the cloud: one or two tunnels to the same networks."""

    name: Annotated[str, kinds.NAME] = key(..., "Name, unique.")
    attachment: Annotated[Attachment, member(Attachment)] = key(..., "What the cloud's end is attached to.")
    bandwidth: Annotated[float, rate("64kbps", "100Gbps")] = key(
        "1000Mbps", "Purchased bandwidth; utilisation is measured against it."
    )
    packet_rate: Annotated[int, integer(1, 1_000_000_000)] = key(
        120_000, "Limit of packets per second, in and out together."
    )
    forwarding: Annotated[Forwarding | None, member(Forwarding)] = key(
        None,
        "How the tunnels share the traffic. Default: active-standby for vpn-gateway, ecmp for transit-router.",
    )
    remote_networks: Annotated[tuple[Annotated[IPv4Network, kinds.NETWORK], ...], Field(min_length=1)] = key(
        ..., "What is routed into the tunnels."
    )
    traffic_selectors: Annotated[TrafficSelectors, member(TrafficSelectors)] = key(
        "any",
        "`any`: 0.0.0.0/0 both ways (the cloud's destination routing mode); `networks`: local and remote networks (protected data flows).",
    )
    ike: IkeSection = key({}, "Phase 1.")
    esp: EspSection = key({}, "Phase 2.")
    mtu: Annotated[int, integer(576, 9000)] = key(1399, "MTU of the XFRM interfaces, in bytes.")
    udp_encapsulation: Annotated[UdpEncapsulation, member(UdpEncapsulation)] = key(
        "always", "ESP in UDP: `always` (IKE and ESP share one fate), `auto` (only behind NAT), `never`."
    )
    on_path_down: Annotated[OnPathDown, member(OnPathDown)] = key(
        "reset",
        "What happens to an IKE SA whose path is dead while IKE lives: `reset` tells the cloud, `keep` leaves it.",
    )
    gateway_id: Annotated[str | None, kinds.WORD] = key(
        None,
        "Id of the VPN gateway instance: connections of one instance share its bandwidth and alerts. Default: none.",
    )
    probe: ProbeSection = key({}, "How the path through each tunnel is measured.")
    tunnels: Annotated[tuple[TunnelSection, ...], Field(min_length=1, max_length=MAX_TUNNELS)] = key(
        ..., "The tunnels, one or two."
    )


class ConfigFile(Section):
    """The whole file."""

    version: Annotated[int, choice(1)] = key(1, "Version of this format.")
    gateway: GatewaySection = key(..., "This machine.")
    agent: AgentSection = key({}, "The daemon itself.")
    connections: Annotated[tuple[ConnectionSection, ...], Field(min_length=1)] = key(
        ..., "The connections to the cloud."
    )
