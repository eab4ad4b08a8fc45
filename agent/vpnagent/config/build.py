"""The file's sections -> the frozen values of the core, with every default filled in. Pure.

Nothing is refused here, except what only the file can tell (``contradictions``): the values no longer know
what was written and what was a default. A value that is missing for good stays empty, for ``rules`` to see.
"""

import os.path
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface
from typing import TypeVar

from vpnagent.config import values
from vpnagent.config.file_models import (
    AgentSection,
    CertificateSection,
    ConfigFile,
    ConnectionSection,
    EspSection,
    GatewaySection,
    IkeSection,
    MetricsTlsSection,
    ProbeSection,
    TunnelSection,
)
from vpnagent.config.hooks import NO_SECRETS, Secrets, hook
from vpnagent.config.kinds import INTERFACE_LENGTH, PRIVATE
from vpnagent.config.sections import NodeSection, PairSection
from vpnagent.config.values import (
    Attachment,
    Config,
    Device,
    Forwarding,
    NetworkType,
    ProbeMethod,
    Role,
    TunnelKey,
)
from vpnagent.config.wording import Violation, listed, said
from vpnagent.secret import Secret

IF_IDS = range(0x56000000, 0x57000000)  #: derived ids; an operator's own are small numbers

Psks = Mapping[tuple[int, int], Secret]  #: by the indexes of connection and tunnel


def build(
    file: ConfigFile,
    *,
    hostname: str,
    folder: str,
    psks: Psks,
    hook_secrets: Secrets = NO_SECRETS,
    here: Device | None = None,
) -> Config:
    """Return the values. ``folder`` is the YAML's own, absolute: relative file names start there.

    ``here`` is which gateway of a pair this machine is.
    """
    return Config(
        gateway=_gateway(file.gateway, hostname, here, folder),
        agent=_agent(file.agent, folder),
        connections=tuple(
            _connection(connection, folder, [psks.get((i, j)) for j in range(len(connection.tunnels))])
            for i, connection in enumerate(file.connections)
        ),
        hooks=tuple(
            hook(section, {key: secret for (j, key), secret in hook_secrets.items() if j == i})
            for i, section in enumerate(file.hooks)
        ),
    )


def device_here(section: PairSection, hostname: str, is_here: Callable[[IPv4Address], bool]) -> Device | None:
    """Return which gateway of a pair a machine is: by its address, else by its host name; None: not told."""
    nodes = {Device.A: section.nodes.a, Device.B: section.nodes.b}
    names = {hostname.lower(), hostname.lower().partition(".")[0]}
    by_address = [device for device, node in nodes.items() if is_here(node.address)]
    by_name = [device for device, node in nodes.items() if node.host.lower() in names]
    return next((found[0] for found in (by_address, by_name) if len(found) == 1), None)


def contradictions(file: ConfigFile) -> Iterator[Violation]:
    """Return what the file says twice, or says where it has no meaning."""
    if file.gateway.pair and file.gateway.name:
        yield Violation(("gateway", "name"), said("has no meaning with pair: each of its nodes has a name"))
    for i, connection in enumerate(file.connections):
        for j, tunnel in enumerate(connection.tunnels):
            here = ("connections", i, "tunnels", j)
            given = [key for key in AUTHENTICATION if getattr(tunnel, key) is not None]
            if len(given) != 1:
                rule = f"exactly one of {listed(AUTHENTICATION, 'and')} is required"
                yield Violation(here, said(f"{rule}, not {{}}", listed(given or ["none"], "and")))
            if tunnel.role is not None and _forwarding(connection) is Forwarding.ECMP:
                yield Violation(
                    (*here, "role"),
                    said("has no meaning with forwarding ecmp, where every tunnel carries traffic"),
                )


AUTHENTICATION = ("psk_file", "psk_credential", "certificate")


def absolute(folder: str, name: str) -> str:
    """Return a file name of the YAML as an absolute path."""
    return os.path.normpath(os.path.join(folder, name))


def interface_name(key: TunnelKey) -> str:
    """Return the default name of a tunnel's interface; the same for ever, and not dependent on others."""
    name = f"vpn-{key.connection}-{key.tunnel}"
    if len(name) <= INTERFACE_LENGTH:
        return name
    digest = f"{_hash(key) & 0xFFFF:04x}"
    return f"{name[: INTERFACE_LENGTH - 5].rstrip('-')}-{digest}"


def if_id(key: TunnelKey) -> int:
    """Return the default id of a tunnel's interface; the same for ever, and not dependent on others."""
    return IF_IDS[_hash(key) % len(IF_IDS)]


def _hash(key: TunnelKey) -> int:
    return zlib.crc32(str(key).encode())


def inside_peer(address: IPv4Interface) -> IPv4Address:
    """Return the cloud's end of the /30 inside a tunnel."""
    first, second = address.network.hosts()
    return second if address.ip == first else first


def gateway_name(hostname: str) -> str:
    """Return a host name as a name of ours: its first label, 1 to 32 permitted characters."""
    label = re.sub(r"[^A-Za-z0-9_-]+", "-", hostname.partition(".")[0], flags=re.ASCII)
    return label[:32] or "gateway"


def _gateway(section: GatewaySection, hostname: str, here: Device | None, folder: str) -> values.Gateway:
    pair = _pair(section, section.pair, here, folder) if section.pair else None
    this = pair.node(here) if pair and here else None
    return values.Gateway(
        name=this.name if this else section.name or gateway_name(hostname),
        local_networks=section.local_networks,
        source_address=this.source_address if this else section.source_address,
        local_interfaces=section.local_interfaces,
        pair=pair,
    )


def _pair(
    gateway: GatewaySection, section: PairSection, here: Device | None, folder: str
) -> values.GatewayPair:
    def node(section: NodeSection) -> values.PairNode:
        return values.PairNode(
            host=section.host,
            address=section.address,
            name=section.name or gateway_name(section.host),
            source_address=section.source_address or gateway.source_address,
            uplinks=tuple(values.NodeUplink(**dict(uplink)) for uplink in section.uplinks),
        )

    return values.GatewayPair(
        here=here,
        a=node(section.nodes.a),
        b=node(section.nodes.b),
        virtual_addresses=section.virtual_addresses,
        secret_file=section.secret_file and absolute(folder, section.secret_file),
    )


def _agent(section: AgentSection, folder: str) -> values.Agent:
    tls, auth = section.metrics_tls, section.metrics_auth
    return values.Agent(
        **dict(section)
        | {
            "metrics_tls": tls and metrics_tls(tls, folder),
            "metrics_auth": auth
            and values.MetricsAuth(
                username=auth.username, password_file=absolute(folder, auth.password_file)
            ),
        }
    )


def metrics_tls(section: MetricsTlsSection, folder: str) -> values.MetricsTls:
    """Return the TLS of the metrics' listener."""
    return values.MetricsTls(
        certificate=absolute(folder, section.certificate),
        private_key=absolute(folder, section.private_key),
        client_ca=section.client_ca and absolute(folder, section.client_ca),
    )


def _forwarding(section: ConnectionSection) -> Forwarding:
    if section.forwarding is not None:
        return section.forwarding
    vpn_gateway = section.attachment is Attachment.VPN_GATEWAY
    return Forwarding.ACTIVE_STANDBY if vpn_gateway else Forwarding.ECMP


def _connection(section: ConnectionSection, folder: str, psks: Sequence[Secret | None]) -> values.Connection:
    return values.Connection(
        name=section.name,
        attachment=section.attachment,
        bandwidth=section.bandwidth,
        packet_rate=section.packet_rate,
        forwarding=_forwarding(section),
        network_type=section.network_type or _network_type(section.tunnels),
        remote_networks=section.remote_networks,
        local_networks=section.local_networks or (),
        source_address=section.source_address,
        exits=section.exits,
        priority=section.priority,
        route_metric=section.route_metric,
        traffic_selectors=section.traffic_selectors,
        ike=values.Ike(**dict(section.ike)),
        esp=_esp(section.esp),
        mtu=section.mtu,
        udp_encapsulation=section.udp_encapsulation,
        on_path_down=section.on_path_down,
        gateway_id=section.gateway_id,
        shared_targets=section.probe.targets,
        tunnels=tuple(
            _tunnel(section, tunnel, role=role, folder=folder, psk=psk)
            for tunnel, role, psk in zip(section.tunnels, _roles(section), psks, strict=True)
        ),
    )


def _network_type(tunnels: Sequence[TunnelSection]) -> NetworkType:
    private = all(any(tunnel.remote_address in block for block in PRIVATE) for tunnel in tunnels)
    return NetworkType.PRIVATE if private else NetworkType.PUBLIC


def _esp(section: EspSection) -> values.Esp:
    return values.Esp(
        encryption=section.encryption,
        integrity=section.integrity,
        pfs_group=section.pfs_group if isinstance(section.pfs_group, int) else None,
        lifetime=section.lifetime,
    )


def _roles(section: ConnectionSection) -> list[Role]:
    if _forwarding(section) is Forwarding.ECMP:
        return [Role.ACTIVE] * len(section.tunnels)
    written = [tunnel.role for tunnel in section.tunnels]
    if Role.ACTIVE not in written and None in written:
        written[written.index(None)] = Role.ACTIVE
    return [role or Role.STANDBY for role in written]


def _tunnel(
    connection: ConnectionSection, section: TunnelSection, *, role: Role, folder: str, psk: Secret | None
) -> values.Tunnel:
    key = TunnelKey(connection.name, section.name)
    ike, esp = merged(connection.ike, section.ike), merged(connection.esp, section.esp)
    encapsulation = section.udp_encapsulation
    return values.Tunnel(
        key=key,
        role=role,
        remote_address=section.remote_address,
        local_address=section.local_address,
        uplink=section.uplink,
        uplink_gateway=section.uplink_gateway,
        remote_id=section.remote_id or str(section.remote_address),
        local_id=section.local_id or str(section.local_address or ""),
        psk=psk,
        certificates=_certificates(section.certificate, folder) if section.certificate else None,
        inside_address=section.inside_address,
        interface=section.interface or interface_name(key),
        if_id=section.if_id or if_id(key),
        weight=section.weight,
        probe=_probe(connection.probe, section),
        ike=None if ike == connection.ike else values.Ike(**dict(ike)),
        esp=None if esp == connection.esp else _esp(esp),
        udp_encapsulation=None if encapsulation == connection.udp_encapsulation else encapsulation,
        device=section.device,
    )


S = TypeVar("S", IkeSection, EspSection)


def merged(base: S, override: S) -> S:
    """Return a connection's section with what a tunnel's says instead, key by key."""
    return base.model_copy(update={key: getattr(override, key) for key in override.model_fields_set})


def _certificates(section: CertificateSection, folder: str) -> values.CertificateFiles:
    return values.CertificateFiles(
        certificate=absolute(folder, section.certificate),
        private_key=absolute(folder, section.private_key),
        ca=absolute(folder, section.ca),
    )


def _probe(section: ProbeSection, tunnel: TunnelSection) -> values.Probe:
    return values.Probe(
        method=section.method,
        targets=_targets(section, tunnel),
        port=section.port or (53 if section.method is ProbeMethod.DNS else 443),
        interval=section.interval,
        detect_multiplier=section.detect_multiplier,
        hold_down=section.hold_down,
        dscp=section.dscp,
        confirm_count=section.confirm.count,
        confirm_interval=section.interval / 5
        if section.confirm.interval is None
        else section.confirm.interval,
    )


def _targets(section: ProbeSection, tunnel: TunnelSection) -> tuple[IPv4Address, ...]:
    """Return what the tunnel is asked through. A target inside it proves it both ways, so it goes first."""
    if tunnel.targets:
        return tunnel.targets
    if tunnel.inside_address:
        return (inside_peer(tunnel.inside_address),)
    return section.targets
