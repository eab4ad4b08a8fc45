"""The words of the API (product Vpc, 2016-04-28), and what each is called in the YAML.

Only documented spellings stand here (CreateVpnConnection, CreateVpnAttachment, DescribeVpnConnection). A
word that is not among them is refused: a wrong guess would be a tunnel that never comes up, or a weaker one.
"""

from collections.abc import Mapping
from typing import Final

from vpnagent.cloud_document.told import Value

Words = Mapping[str, Value]

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
