"""The configuration's algorithms in charon's words: keywords of proposals, names in get-algorithms.

Pure. strongSwan src/libstrongswan/crypto/proposal/proposal_keywords_static.txt; names as get-algorithms of
5.9.8 tells them, recorded in tests/data/vici.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from vpnagent.ipsec.actions import CharonConnection


class DhGroup(NamedTuple):
    """A Diffie-Hellman group."""

    keyword: str  #: in a proposal
    name: str  #: in get-algorithms


DH_GROUPS = {
    1: DhGroup("modp768", "MODP_768"),
    2: DhGroup("modp1024", "MODP_1024"),
    5: DhGroup("modp1536", "MODP_1536"),
    14: DhGroup("modp2048", "MODP_2048"),
    15: DhGroup("modp3072", "MODP_3072"),
    16: DhGroup("modp4096", "MODP_4096"),
    17: DhGroup("modp6144", "MODP_6144"),
    18: DhGroup("modp8192", "MODP_8192"),
    19: DhGroup("ecp256", "ECP_256"),
    20: DhGroup("ecp384", "ECP_384"),
    21: DhGroup("ecp521", "ECP_521"),
    24: DhGroup("modp2048s256", "MODP_2048_256"),
    31: DhGroup("curve25519", "CURVE_25519"),
}  #: by IANA number

CIPHERS = {
    "aes128": ("encryption", "AES_CBC"),
    "aes192": ("encryption", "AES_CBC"),
    "aes256": ("encryption", "AES_CBC"),
    "3des": ("encryption", "3DES_CBC"),
    "des": ("encryption", "DES_CBC"),
    "sm4": ("encryption", "SM4_CBC"),
    "aes128gcm16": ("aead", "AES_GCM_16"),
    "aes256gcm16": ("aead", "AES_GCM_16"),
}  #: kind and name in get-algorithms; key sizes are not told

HASHES = {
    "md5": ("HMAC_MD5_96", "PRF_HMAC_MD5"),
    "sha1": ("HMAC_SHA1_96", "PRF_HMAC_SHA1"),
    "sha256": ("HMAC_SHA2_256_128", "PRF_HMAC_SHA2_256"),
    "sha384": ("HMAC_SHA2_384_192", "PRF_HMAC_SHA2_384"),
    "sha512": ("HMAC_SHA2_512_256", "PRF_HMAC_SHA2_512"),
    "sm3": ("HMAC_SM3_96", "PRF_HMAC_SM3"),
}  #: names of the integrity algorithm and of the PRF in get-algorithms

#: No strongSwan release has them. Their keywords and names are those of the forks that do: ``sm4cbc-sm3-…``.
GUOMI = frozenset({"sm4", "sm3"})


def keyword(encryption: str) -> str:
    """Return charon's keyword for a cipher of the configuration."""
    return "sm4cbc" if encryption == "sm4" else encryption


def aead(encryption: str) -> bool:
    """Whether the cipher authenticates by itself, so that ``integrity`` is at most the PRF."""
    return CIPHERS[encryption][0] == "aead"


def missing_algorithms(
    connection: CharonConnection, registered: Mapping[str, frozenset[str]]
) -> tuple[str, ...]:
    """Return what of the connection's proposals the running charon lacks: ``ike: des (DES_CBC)``.

    Of ESP only the PFS group is charon's own: the ciphers are the kernel's, whatever charon registers. A kind
    of which charon tells nothing is not judged: it knows best itself, and says so when it negotiates.
    """
    return tuple(
        f"{phase}: {keyword} ({name})"
        for phase, keyword, kind, name in _needed(connection)
        if kind in registered and name not in registered[kind]
    )


def _needed(connection: CharonConnection) -> Iterator[tuple[str, str, str, str]]:
    """Yield phase, keyword, kind and name of each algorithm that charon itself must have."""
    ike, esp = connection.ike, connection.esp
    yield ("ike", ike.encryption, *CIPHERS[ike.encryption])
    integrity, prf = HASHES[ike.integrity]
    if not aead(ike.encryption):
        yield "ike", ike.integrity, "integrity", integrity
    yield "ike", ike.integrity, "prf", prf
    yield "ike", DH_GROUPS[ike.dh_group].keyword, "dh", DH_GROUPS[ike.dh_group].name
    if esp.pfs_group is not None:
        yield "esp", DH_GROUPS[esp.pfs_group].keyword, "dh", DH_GROUPS[esp.pfs_group].name
    if esp.encryption in GUOMI:
        yield ("esp", esp.encryption, *CIPHERS[esp.encryption])
    if esp.integrity in GUOMI:
        yield "esp", esp.integrity, "integrity", HASHES[esp.integrity][0]
