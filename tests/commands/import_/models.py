"""Random connections, and the two documents that the cloud would write of each."""

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

ENCRYPTION = {"aes": "aes128", "aes192": "aes192", "aes256": "aes256", "des": "des", "3des": "3des"}
HASHES = ("md5", "sha1", "sha256", "sha384", "sha512")
GROUPS = {"group1": 1, "group2": 2, "group5": 5, "group14": 14, "group24": 24}
PSK = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=12, max_size=30).filter(
    lambda key: key.strip("*")
)


@dataclass(frozen=True)
class Settings:
    version: str
    mode: str
    ike: tuple[str, str, str, int]  # encryption, integrity, group, lifetime, in the cloud's words
    esp: tuple[str, str, str, int]
    nat_traversal: bool
    dpd: bool


@dataclass(frozen=True)
class TunnelModel:
    number: int
    psk: str
    role: str  # master | slave
    settings: Settings

    @property
    def tunnel_id(self) -> str:
        return f"tun-aaa{self.number}"

    @property
    def remote_address(self) -> str:
        return f"203.0.113.{self.number}"

    @property
    def slash_30(self) -> tuple[str, str, str]:
        """The network, the cloud's address and ours."""
        base = f"169.254.{20 + self.number}."
        return f"{base}0/30", f"{base}1", f"{base}2"


@dataclass(frozen=True)
class Model:
    any_networks: bool
    bgp: bool
    attachment: str  # VPNGW | CEN
    bandwidth: str
    tunnels: tuple[TunnelModel, ...]

    @property
    def inside(self) -> bool:
        """Whether traffic between the addresses inside the tunnels passes."""
        return self.bgp and self.any_networks

    @property
    def dual(self) -> bool:
        return len(self.tunnels) > 1


CIPHERS, LIFETIMES = st.sampled_from(sorted(ENCRYPTION)), st.integers(300, 86400)
SETTINGS = st.builds(
    Settings,
    version=st.sampled_from(["ikev1", "ikev2"]),
    mode=st.sampled_from(["main", "aggressive"]),
    ike=st.tuples(CIPHERS, st.sampled_from(HASHES), st.sampled_from(sorted(GROUPS)), LIFETIMES),
    esp=st.tuples(
        CIPHERS, st.sampled_from(HASHES), st.sampled_from([*sorted(GROUPS), "disabled"]), LIFETIMES
    ),
    nat_traversal=st.booleans(),
    dpd=st.booleans(),
)


@st.composite
def models(draw: st.DrawFn) -> Model:
    roles = draw(st.permutations(["master", "slave"]))
    shared = draw(SETTINGS)
    # The cloud edits one tunnel at a time: they differ in nothing, in one thing, or in all.
    other = draw(st.just(shared) | SETTINGS | st.builds(replace, st.just(shared), dpd=st.booleans()))
    return Model(
        any_networks=draw(st.booleans()),
        bgp=draw(st.booleans()),
        attachment=draw(st.sampled_from(["VPNGW", "CEN"])),
        bandwidth=draw(st.sampled_from(["Standard", "Large"])),
        tunnels=tuple(
            TunnelModel(number, draw(PSK), role, settings)
            for number, role, settings in zip(
                range(1, draw(st.integers(1, 2)) + 1), roles, (shared, other), strict=False
            )
        ),
    )


OURS, CLOUD, OUR_ID = "10.1.0.0/16", "172.16.0.0/16", "198.51.100.10"


def _networks(model: Model) -> tuple[str, str]:
    """Ours and the cloud's."""
    return ("0.0.0.0/0", "0.0.0.0/0") if model.any_networks else (OURS, CLOUD)


def _proposals(settings: Settings, prefix: str = "") -> dict[str, dict[str, Any]]:
    ike, esp = settings.ike, settings.esp
    return {
        f"{prefix}IkeConfig": {
            "IkeVersion": settings.version, "IkeMode": settings.mode, "IkeEncAlg": ike[0],
            "IkeAuthAlg": ike[1], "IkePfs": ike[2], "IkeLifetime": ike[3],
        },
        f"{prefix}IpsecConfig": {
            "IpsecEncAlg": esp[0], "IpsecAuthAlg": esp[1], "IpsecPfs": esp[2], "IpsecLifetime": esp[3],
        },
    }  # fmt: skip


def download(model: Model) -> dict[str, Any]:
    """The answer of DownloadVpnConnectionConfig: Local is ours."""
    ours, cloud = _networks(model)
    tunnels = []
    for tunnel in model.tunnels:
        item: dict[str, Any] = {
            "Local": OUR_ID,
            "Remote": tunnel.remote_address,
            **_proposals(tunnel.settings),
        }
        item["IkeConfig"] |= {"LocalId": OUR_ID, "RemoteId": tunnel.remote_address, "Psk": tunnel.psk}
        tunnels.append({"TunnelId": tunnel.tunnel_id, **item} if model.dual else item)
    config: dict[str, Any] = {"LocalSubnet": ours, "RemoteSubnet": cloud}
    config |= {"TunnelsConfig": {"TunnelConfig": tunnels}} if model.dual else tunnels[0]
    if model.bgp and model.dual:
        config["BgpConfigs"] = {"BgpConfig": [_download_bgp(tunnel) for tunnel in model.tunnels]}
    return {"RequestId": "r", "VpnConnectionConfig": config}


def _download_bgp(tunnel: TunnelModel) -> dict[str, str]:
    network, cloud, ours = tunnel.slash_30
    asns = {"LocalAsn": "65010", "PeerAsn": "45104"}
    return {
        "TunnelId": tunnel.tunnel_id,
        "TunnelCidr": network,
        "LocalBgpIp": ours,
        "PeerBgpIp": cloud,
        **asns,
    }


def describe(model: Model) -> dict[str, Any]:
    """The answer of DescribeVpnConnection: Remote is ours."""
    ours, cloud = _networks(model)
    answer: dict[str, Any] = {
        "VpnConnectionId": "vco-1", "Name": "hangzhou", "AttachType": model.attachment, "LocalSubnet": cloud,
        "RemoteSubnet": ours, "TunnelBandwidth": model.bandwidth, "EnableTunnelsBgp": model.bgp,
        "VpnGatewayId": "vpn-1" if model.attachment == "VPNGW" else "",
    }  # fmt: skip
    tunnels = [_described_tunnel(model, tunnel) for tunnel in model.tunnels]
    if model.dual:
        return answer | {"TunnelOptionsSpecification": {"TunnelOptions": tunnels}}
    return answer | tunnels[0]


def _described_tunnel(model: Model, tunnel: TunnelModel) -> dict[str, Any]:
    prefix = "Tunnel" if model.dual else ""
    item: dict[str, Any] = {"InternetIp": tunnel.remote_address, **_proposals(tunnel.settings, prefix)}
    for key, value in (
        ("EnableNatTraversal", tunnel.settings.nat_traversal),
        ("EnableDpd", tunnel.settings.dpd),
    ):
        item[key] = str(value).lower() if model.dual else value
    item[f"{prefix}IkeConfig"] |= {"LocalId": tunnel.remote_address, "RemoteId": OUR_ID, "Psk": tunnel.psk}
    network, cloud, ours = tunnel.slash_30
    bgp: dict[str, Any] = {"LocalAsn": "45104", "PeerAsn": "65010", "LocalBgpIp": cloud, "PeerBgpIp": ours}
    bgp["TunnelCidr"] = network
    if not model.dual:
        return item | {"VpnBgpConfig": bgp | {"EnableBgp": str(model.bgp).lower(), "AuthKey": "bgp-Hush-00"}}
    return item | {
        "TunnelId": tunnel.tunnel_id,
        "Role": tunnel.role,
        "TunnelBgpConfig": bgp if model.bgp else {},
    }
