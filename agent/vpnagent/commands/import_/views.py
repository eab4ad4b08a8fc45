"""What one document tells of a connection, in the words of the YAML. Pure.

The words are those of the API (product Vpc, 2016-04-28).

Only documented spellings stand here (CreateVpnConnection, CreateVpnAttachment, DescribeVpnConnection). A
word that is not among them is refused: a wrong guess would be a tunnel that never comes up, or a weaker one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Final, NamedTuple

from vpnagent.commands.import_.json_object import DocumentFacts, DocumentValue, JsonObject, Source, Told
from vpnagent.config.notation import is_masked

Words = Mapping[str, DocumentValue]

VERSION: Final[Words] = {"ikev1": 1, "ikev2": 2}
MODE: Final[Words] = {"main": "main", "aggressive": "aggressive"}
#: ``aes`` is AES-128 (user guide of local gateways). sm4 and sm3 are Guomi, for the configuration to judge.
ENCRYPTION: Final[Words] = {
    "aes": "aes128",
    "aes192": "aes192",
    "aes256": "aes256",
    "des": "des",
    "3des": "3des",
    "sm4": "sm4",
}
INTEGRITY: Final[Words] = {word: word for word in ("md5", "sha1", "sha256", "sha384", "sha512", "sm3")}
#: group24 was documented once (Terraform provider 1.161), and connections may still have it.
DH_GROUP: Final[Words] = {"group1": 1, "group2": 2, "group5": 5, "group14": 14, "group24": 24}
PFS_GROUP: Final[Words] = {**DH_GROUP, "disabled": "disabled"}

#: The tunnel's role with a VPN gateway.
ROLE: Final[Words] = {"master": "active", "slave": "standby"}
#: None: not attached to anything yet.
ATTACHMENT: Final[Mapping[str, str | None]] = {
    "VPNGW": "vpn-gateway",
    "CEN": "transit-router",
    "NO_ASSOCIATED": None,
}
#: Of each tunnel (CreateVpnAttachment).
TUNNEL_BANDWIDTH: Final[Words] = {"Standard": "1Gbps", "Large": "3Gbps"}

#: key of the API, key of the YAML, words. One name serves both phases: Ike… and Ipsec….
IKE_WORDS: Final = (
    ("IkeVersion", "ike.version", VERSION),
    ("IkeEncAlg", "ike.encryption", ENCRYPTION),
    ("IkeAuthAlg", "ike.integrity", INTEGRITY),
    ("IkePfs", "ike.dh_group", DH_GROUP),
)
ESP_WORDS: Final = (
    ("IpsecEncAlg", "esp.encryption", ENCRYPTION),
    ("IpsecAuthAlg", "esp.integrity", INTEGRITY),
    ("IpsecPfs", "esp.pfs_group", PFS_GROUP),
)

#: The addresses by which the two ends know each other (CreateVpnAttachment).
NETWORK_TYPE: Final[Words] = {"public": "public", "private": "private"}

#: Members that are told and of no use: docs/import.md says why.
NOT_USED: Final = frozenset(
    {
        *("RequestId", "PageNumber", "PageSize", "ResourceGroupId", "Tags", "Spec", "CreateTime"),
        *("AttachInstanceId", "TransitRouterId", "TransitRouterName", "CrossAccountAuthorized"),
        *("CustomerGatewayId", "ZoneNo", "TunnelIndex", "EffectImmediately", "EnableDpd"),
        *("State", "Status", "BgpStatus", "LocalAsn", "PeerAsn", "AuthKey"),
        *("Dip", "Interval", "Retry", "Policy", "IkeMode"),
    }
)

#: What a single-tunnel attachment of a transit router has for an identity until somebody sets one (Terraform
#: provider, vpn_gateway_vpn_attachment).
NO_IDENTITY: Final = "leftId-not-exist"

#: Alibaba's registered AS number, and the default of LocalAsn.
ALIBABA_ASN: Final = 45104


# One document's view of a connection: the cloud's or this gateway's, turned into this gateway's.
# DownloadVpnConnectionConfig is written for the gateway on premises: ``Local…`` is ours.
# DescribeVpnConnection is written from the cloud: ``Remote…`` is ours. This one difference is `_Side`;
# everything else of the two is read by the same functions. What a view lacks is remembered with the place
# where it would have stood.

EVERYTHING: Final = ("0.0.0.0/0",)


class _Side(NamedTuple):
    """How the keys of the two ends begin in a document."""

    ours: str
    cloud: str
    ours_in_bgp: str


_DOWNLOAD: Final = _Side(ours="Local", cloud="Remote", ours_in_bgp="Local")
_DESCRIBE: Final = _Side(ours="Remote", cloud="Local", ours_in_bgp="Peer")


@dataclass(frozen=True, slots=True)
class View:
    """A tunnel, or what the tunnels of a connection share."""

    where: Source
    facts: DocumentFacts
    absent: dict[str, Source]  #: what is not told, and where it would be


@dataclass(frozen=True, slots=True)
class DocumentTunnel:
    """One tunnel; the only one of a single-tunnel connection has no id."""

    tunnel_id: str | None
    view: View


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """One connection, and its tunnels."""

    view: View
    tunnels: tuple[DocumentTunnel, ...]


@dataclass(slots=True)
class _Facts:
    """Facts while they are gathered."""

    told: dict[str, Told] = field(default_factory=dict)
    absent: dict[str, Source] = field(default_factory=dict)

    def add(self, name: str, value: DocumentValue | None, source: Source) -> None:
        """Note a value, or that there is none."""
        if value is None:
            self.absent.setdefault(name, source)
        else:
            self.told[name] = Told(value, (source,))

    def view(self, where: Source) -> View:
        """Return what was gathered."""
        return View(where, self.told, self.absent)


def downloaded(config: JsonObject) -> ConnectionView:
    """Return the view of a VpnConnectionConfig."""
    facts = _Facts()
    _add_networks(facts, config, _DOWNLOAD)
    sessions = config.objects("BgpConfigs", "BgpConfig")
    if any(not session.absent("TunnelCidr") for session in sessions):
        facts.add("bgp", "on", config.source("BgpConfigs"))
    tunnels = _tunnels(config, "TunnelsConfig", "TunnelConfig")
    return ConnectionView(
        facts.view(config.where),
        tuple(_downloaded_tunnel(tunnel, sessions) for tunnel in tunnels)
        or (_downloaded_tunnel(config, sessions),),
    )


def _tunnels(holder: JsonObject, key: str, nested: str) -> tuple[JsonObject, ...]:
    """Return the tunnels of a dual-tunnel connection; without ids they could not be told apart."""
    tunnels = holder.objects(key, nested)
    for tunnel in tunnels:
        if tunnel.absent("TunnelId"):
            holder.problems.append(tunnel.source("TunnelId").problem("is missing"))
    return tunnels


def _downloaded_tunnel(tunnel: JsonObject, sessions: tuple[JsonObject, ...]) -> DocumentTunnel:
    facts = _Facts()
    ike, identity = tunnel.object("IkeConfig"), tunnel.text("TunnelId")
    facts.add("tunnel_id", identity, tunnel.source("TunnelId"))
    _add_proposals(facts, ike, tunnel.object("IpsecConfig"))
    facts.add("remote_address", tunnel.text("Remote"), tunnel.source("Remote"))
    _add_identities(facts, ike, _DOWNLOAD)
    if _is_address(local := tunnel.text("Local")):
        facts.add("customer_gateway", local, tunnel.source("Local"))
        if "local_id" not in facts.told:  # what the cloud expects at the customer gateway
            facts.add("local_id", local, tunnel.source("Local"))
    for session in sessions:
        if session.text("TunnelId") == identity:
            _add_inside_address(facts, session, _side_of_download(session))
    return DocumentTunnel(identity, facts.view(tunnel.where))


def _is_address(text: str | None) -> bool:
    try:
        return text is not None and bool(IPv4Address(text))
    except ValueError:  # the id of a customer gateway
        return False


def _side_of_download(session: JsonObject) -> _Side | None:
    """Return whose address LocalBgpIp is; None where nothing tells.

    The download's BgpConfig is documented without a word on its perspective. Where one of the two ASNs is
    Alibaba's own, that end is the cloud.
    """
    local, peer = _asn(session, "LocalAsn"), _asn(session, "PeerAsn")
    if (local == ALIBABA_ASN) == (peer == ALIBABA_ASN):
        return None
    return _DESCRIBE if local == ALIBABA_ASN else _DOWNLOAD


def _asn(session: JsonObject, key: str) -> int | None:
    """Return an AS number, which may be written in two halves: 1.2 is 65538 (RFC 5396, asdot)."""
    value = session.value(key)
    high, _, low = value.partition(".") if isinstance(value, str) else ("", "", "")
    if high.isdecimal() and low.isdecimal() and len(high + low) <= len("6553565535"):
        return int(high) * 65536 + int(low)
    return session.integer(key)


def described(connection: JsonObject) -> ConnectionView:
    """Return the view of a connection as DescribeVpnConnection and DescribeVpnConnections tell it."""
    facts = _Facts()
    for name, key in (("name", "Name"), ("connection_id", "VpnConnectionId")):
        facts.add(name, connection.text(key), connection.source(key))
    _add_attachment(facts, connection)
    _add_networks(facts, connection, _DESCRIBE)
    for name, key, words in (
        ("bandwidth", "TunnelBandwidth", TUNNEL_BANDWIDTH),
        ("network_type", "NetworkType", NETWORK_TYPE),
    ):
        facts.add(name, connection.word(key, words), connection.source(key))
    health = connection.object("VcoHealthCheck")
    enabled, source = health.boolean("Enable"), health.text("Sip")
    if enabled and _is_address(source):  # it becomes an example, no setting
        facts.add("health_check", source, health.source("Sip"))
    options = _tunnels(connection, "TunnelOptionsSpecification", "TunnelOptions")
    with_bgp = _add_bgp(facts, connection, options)
    if options:  # what the connection says for itself is for the time before it had tunnels
        connection.no_use_for("EnableNatTraversal", "InternetIp", "RemoteCaCertificate")
    tunnels = [
        _described_tunnel(tunnel, "Tunnel", "TunnelBgpConfig", with_bgp=with_bgp) for tunnel in options
    ]
    return ConnectionView(
        facts.view(connection.where),
        tuple(tunnels) or (_described_tunnel(connection, "", "VpnBgpConfig", with_bgp=with_bgp),),
    )


def _add_bgp(facts: _Facts, connection: JsonObject, options: tuple[JsonObject, ...]) -> bool:
    """Note whether BGP is on. DescribeVpnConnections answers without a switch: there the addresses tell."""
    if options:
        switch, source = connection.boolean("EnableTunnelsBgp"), connection.source("EnableTunnelsBgp")
        sessions = [option.object("TunnelBgpConfig") for option in options]
    else:
        connection.no_use_for("EnableTunnelsBgp")
        session = connection.object("VpnBgpConfig")
        switch, source, sessions = session.boolean("EnableBgp"), session.source("EnableBgp"), [session]
    told = [session for session in sessions if not session.absent("TunnelCidr")]
    if switch is None and told:
        switch, source = True, told[0].source("TunnelCidr")
    if switch is not None:
        facts.add("bgp", "on" if switch else "off", source)
    if not switch:
        for session in sessions:
            session.no_use_for("LocalBgpIp", "PeerBgpIp")
    return bool(switch)


def _described_tunnel(tunnel: JsonObject, prefix: str, bgp: str, *, with_bgp: bool) -> DocumentTunnel:
    facts = _Facts()
    identity, ike = tunnel.text("TunnelId"), tunnel.object(f"{prefix}IkeConfig")
    facts.add("tunnel_id", identity, tunnel.source("TunnelId"))
    _add_proposals(facts, ike, tunnel.object(f"{prefix}IpsecConfig"))
    facts.add("remote_address", tunnel.text("InternetIp"), tunnel.source("InternetIp"))
    _add_identities(facts, ike, _DESCRIBE)
    facts.add("role", tunnel.word("Role", ROLE), tunnel.source("Role"))
    facts.add("ike.dpd", tunnel.boolean("EnableDpd"), tunnel.source("EnableDpd"))
    if (traversal := tunnel.boolean("EnableNatTraversal")) is not None:
        word = "always" if traversal else "never"
        facts.add("udp_encapsulation", word, tunnel.source("EnableNatTraversal"))
    if not tunnel.absent("RemoteCaCertificate"):
        facts.add("remote_ca", "told", tunnel.source("RemoteCaCertificate"))
    if with_bgp:
        _add_inside_address(facts, tunnel.object(bgp), _DESCRIBE)
    return DocumentTunnel(identity, facts.view(tunnel.where))


def _add_attachment(facts: _Facts, connection: JsonObject) -> None:
    attachment = connection.word("AttachType", ATTACHMENT)
    facts.add("attachment", attachment, connection.source("AttachType"))
    gateway = connection.text("VpnGatewayId")
    facts.add("gateway_id", gateway, connection.source("VpnGatewayId"))
    if connection.absent("AttachType"):  # an older answer, when there were VPN gateways only
        facts.add("attachment", "vpn-gateway" if gateway else None, connection.source("VpnGatewayId"))


def _add_networks(facts: _Facts, connection: JsonObject, side: _Side) -> None:
    """Read both lists: 0.0.0.0/0 in both is the destination routing mode, where they tell nothing."""
    ours, cloud = f"{side.ours}Subnet", f"{side.cloud}Subnet"
    lists = {key: connection.texts(key) for key in (ours, cloud)}
    if lists[ours] == lists[cloud] == EVERYTHING:
        facts.add("traffic_selectors", "any", connection.source(ours))
        return
    if EVERYTHING in lists.values():
        text = "is 0.0.0.0/0 at one end only: no destination routing mode, and not to be had with vpnagent"
        key = ours if lists[ours] == EVERYTHING else cloud
        connection.problems.append(connection.source(key).problem(text))
    facts.add("traffic_selectors", "networks" if all(lists.values()) else None, connection.source(ours))
    facts.add("local_networks", lists[ours], connection.source(ours))
    facts.add("remote_networks", lists[cloud], connection.source(cloud))


def _add_proposals(facts: _Facts, ike: JsonObject, esp: JsonObject) -> None:
    for section, words, lifetime in ((ike, IKE_WORDS, "IkeLifetime"), (esp, ESP_WORDS, "IpsecLifetime")):
        for key, name, meanings in words:
            facts.add(name, section.word(key, meanings), section.source(key))
        phase = "ike" if section is ike else "esp"
        facts.add(f"{phase}.lifetime", section.integer(lifetime), section.source(lifetime))
    if "ike.version" in facts.told and facts.told["ike.version"].value == 1:  # version 2 has no modes
        facts.add("ike.mode", ike.word("IkeMode", MODE), ike.source("IkeMode"))
    facts.add("psk", ike.secret("Psk"), ike.source("Psk"))


def _add_identities(facts: _Facts, ike: JsonObject, side: _Side) -> None:
    for name, key in (("local_id", f"{side.ours}Id"), ("remote_id", f"{side.cloud}Id")):
        identity = ike.text(key)
        if identity and is_masked(identity):
            text = "is masked, and must be as the API gives it, with all its numbers"
            ike.problems.append(ike.source(key).problem(text))
        facts.add(name, None if identity == NO_IDENTITY else identity, ike.source(key))


def _add_inside_address(facts: _Facts, session: JsonObject, side: _Side | None) -> None:
    """Read both ends of the tunnel's /30, and which of them is ours, if ``side`` tells."""
    network = _tunnel_network(session)
    ends = {key: session.address(key) for key in ("LocalBgpIp", "PeerBgpIp")}
    if network is None or None in ends.values():
        return
    for key, address in ends.items():
        if address not in network:
            session.problems.append(session.source(key).problem(f"{address} is not in TunnelCidr, {network}"))
    candidates = {key: f"{address}/{network.prefixlen}" for key, address in ends.items()}
    facts.add("inside_candidates", tuple(sorted(candidates.values())), session.where)
    if side:
        key = f"{side.ours_in_bgp}BgpIp"
        facts.add("inside_address", candidates[key], session.source(key))


def _tunnel_network(session: JsonObject) -> IPv4Network | None:
    text = session.text("TunnelCidr")
    try:
        return None if text is None else IPv4Network(text)
    except ValueError:
        problem = session.source("TunnelCidr").problem(f"must be an IPv4 network, not {text!r}")
        session.problems.append(problem)
        return None
