"""The field lists of the API's models (Vpc, 2016-04-28), as the SDKs have them, and documents that are full.

Sources: facts/alibaba-ipsec-vpn.md 1.2, 1.3 and 10, from the models of the SDKs for Python and TypeScript.
"""

from typing import Any

IKE = "IkeVersion IkeMode IkeEncAlg IkeAuthAlg IkePfs IkeLifetime LocalId RemoteId Psk"
ESP = "IpsecEncAlg IpsecAuthAlg IpsecPfs IpsecLifetime"
#: name of an object -> names of its fields
FIELDS: dict[str, str] = {
    "Download": "Local Remote LocalSubnet RemoteSubnet IkeConfig IpsecConfig TunnelsConfig BgpConfigs",
    "TunnelConfig": "TunnelId Local Remote IkeConfig IpsecConfig",
    "BgpConfig": "TunnelId LocalAsn LocalBgpIp PeerAsn PeerBgpIp TunnelCidr",
    "Connection": """AttachInstanceId AttachType CreateTime CrossAccountAuthorized CustomerGatewayId
        EffectImmediately EnableDpd EnableNatTraversal EnableTunnelsBgp IkeConfig InternetIp IpsecConfig
        LocalSubnet Name NetworkType RemoteCaCertificate RemoteSubnet RequestId ResourceGroupId Spec State
        Status Tags
        TransitRouterId TransitRouterName TunnelBandwidth TunnelOptionsSpecification VcoHealthCheck
        VpnBgpConfig VpnConnectionId VpnGatewayId ZoneNo""",
    "TunnelOptions": """TunnelId TunnelIndex Role CustomerGatewayId InternetIp ZoneNo State Status EnableDpd
        EnableNatTraversal RemoteCaCertificate TunnelIkeConfig TunnelIpsecConfig TunnelBgpConfig""",
    "TunnelBgpConfig": "BgpStatus LocalAsn LocalBgpIp PeerAsn PeerBgpIp TunnelCidr",
    "VcoHealthCheck": "Enable Sip Dip Interval Retry Policy Status",
    "VpnBgpConfig": "EnableBgp LocalAsn LocalBgpIp PeerAsn PeerBgpIp TunnelCidr Status AuthKey",
    "IkeConfig": IKE,
    "IpsecConfig": ESP,
    "List": "PageNumber PageSize TotalCount VpnConnections RequestId",
}

VALUES: dict[str, Any] = {
    "IkeVersion": "ikev2", "IkeMode": "main", "IkeEncAlg": "aes", "IkeAuthAlg": "sha1",
    "IkePfs": "group2", "IkeLifetime": 86400, "Psk": "key-Hush-1", "IpsecEncAlg": "aes",
    "IpsecAuthAlg": "sha1", "IpsecPfs": "group2", "IpsecLifetime": 86400, "LocalSubnet": "0.0.0.0/0",
    "RemoteSubnet": "0.0.0.0/0", "AttachType": "VPNGW", "EnableDpd": True, "EnableNatTraversal": True,
    "EnableTunnelsBgp": True, "EnableBgp": "true", "Enable": "true", "NetworkType": "public",
    "TunnelBandwidth": "Standard", "Role": "master", "TunnelIndex": 1, "Sip": "172.16.0.9",
    "LocalAsn": "45104", "PeerAsn": "65010", "LocalBgpIp": "169.254.10.1", "PeerBgpIp": "169.254.10.2",
    "TunnelCidr": "169.254.10.0/30", "RemoteCaCertificate": "-----BEGIN CERTIFICATE-----",
    "AuthKey": "bgp-Hush-00", "TotalCount": 1, "PageNumber": 1, "PageSize": 10,
    "Local": "198.51.100.10", "Remote": "203.0.113.1", "InternetIp": "203.0.113.1", "TunnelId": "tun-1",
    "CreateTime": 1590495160000, "EffectImmediately": True, "CrossAccountAuthorized": False,
    "Interval": 3, "Retry": 3,
}  # fmt: skip


def full(kind: str, **special: Any) -> dict[str, Any]:
    """Return an object that has every field of its model."""
    return {name: special.get(name, VALUES.get(name, f"some-{name}")) for name in FIELDS[kind].split()}


def ike(*, ours: str) -> dict[str, Any]:
    """Return a full IkeConfig; ``ours`` is the key of this gateway's identity."""
    return full("IkeConfig", LocalId="203.0.113.1", RemoteId="203.0.113.1") | {ours: "198.51.100.10"}


def download(*, dual: bool) -> dict[str, Any]:
    """Return a full answer of DownloadVpnConnectionConfig."""
    proposals = {"IkeConfig": ike(ours="LocalId"), "IpsecConfig": full("IpsecConfig")}
    if not dual:
        nothing: dict[str, Any] = {"TunnelsConfig": {"TunnelConfig": []}, "BgpConfigs": {"BgpConfig": []}}
        return {"RequestId": "r", "VpnConnectionConfig": full("Download", **proposals, **nothing)}
    of_tunnels = {
        "TunnelsConfig": {"TunnelConfig": [full("TunnelConfig", **proposals)]},
        "BgpConfigs": {"BgpConfig": [full("BgpConfig", LocalAsn="65010", PeerAsn="45104")]},
    }
    empty = {"IkeConfig": {}, "IpsecConfig": {}, "Local": "", "Remote": ""}
    return {"RequestId": "r", "VpnConnectionConfig": full("Download", **empty, **of_tunnels)}


def connection(*, dual: bool) -> dict[str, Any]:
    """Return a full answer of DescribeVpnConnection."""
    shared = {"Tags": {"Tag": [{"Key": "a", "Value": "b"}]}, "VcoHealthCheck": full("VcoHealthCheck")}
    if not dual:
        return full(
            "Connection",
            **shared,
            IkeConfig=ike(ours="RemoteId"),
            IpsecConfig=full("IpsecConfig"),
            VpnBgpConfig=full("VpnBgpConfig"),
            TunnelOptionsSpecification={"TunnelOptions": []},
        )
    tunnel = full(
        "TunnelOptions",
        TunnelIkeConfig=ike(ours="RemoteId"),
        TunnelIpsecConfig=full("IpsecConfig"),
        TunnelBgpConfig=full("TunnelBgpConfig"),
    )
    empty: dict[str, Any] = {"IkeConfig": {}, "IpsecConfig": {}, "VpnBgpConfig": {}, "InternetIp": ""}
    empty |= {"EnableDpd": None, "EnableNatTraversal": None, "RemoteCaCertificate": ""}
    options = {"TunnelOptionsSpecification": {"TunnelOptions": [tunnel]}}
    return full("Connection", **shared, **empty, **options)


def listing(*, dual: bool) -> dict[str, Any]:
    """Return a full answer of DescribeVpnConnections, which has no EnableBgp."""
    inner = connection(dual=dual)
    if not dual:
        del inner["VpnBgpConfig"]["EnableBgp"]
    return full("List", VpnConnections={"VpnConnection": [inner]})


DOCUMENTS = {
    f"{kind.__name__}-{'dual' if dual else 'single'}": kind(dual=dual)
    for kind in (download, connection, listing)
    for dual in (False, True)
}
