import json
import pathlib
from collections.abc import Mapping

import pytest
from tests.ipsec.connections import make_connection, make_esp, make_ike
from vici.protocol import Message, Packet

from vpnagent.ipsec import messages
from vpnagent.ipsec.algorithms import CIPHERS, DH_GROUPS, GUOMI, HASHES, missing_algorithms


def recorded(name: str) -> Mapping[str, frozenset[str]]:
    segments = json.loads((pathlib.Path(__file__).parent.parent / "data/vici" / name).read_text())
    (segment,) = (bytes.fromhex(each["segment"]) for each in segments if each["of"] == "get-algorithms")
    return messages.algorithms(Message.deserialize(Packet.parse(segment).payload))


ALGORITHMS = recorded("segments.json")
OF_DEBIAN = {"12": ALGORITHMS, "13": recorded("charon_6_0_1.json")}


def without(kind: str, name: str) -> dict[str, frozenset[str]]:
    return {k: names - {name} if k == kind else names for k, names in ALGORITHMS.items()}


@pytest.mark.parametrize("debian", OF_DEBIAN)
@pytest.mark.parametrize("encryption", sorted(CIPHERS.keys() - GUOMI))
@pytest.mark.parametrize("integrity", sorted(HASHES.keys() - GUOMI))
@pytest.mark.parametrize("group", DH_GROUPS)
def test_debians_charon_lacks_nothing_but_guomi(
    debian: str, encryption: str, integrity: str, group: int
) -> None:
    connection = make_connection(
        ike=make_ike(encryption=encryption, integrity=integrity, dh_group=group),
        esp=make_esp(encryption=encryption, integrity=integrity, pfs_group=group),
    )
    assert missing_algorithms(connection, OF_DEBIAN[debian]) == ()


@pytest.mark.parametrize("debian", OF_DEBIAN)
def test_debians_charon_tells_of_every_kind(debian: str) -> None:
    assert OF_DEBIAN[debian].keys() >= {"encryption", "integrity", "aead", "prf", "dh"}


@pytest.mark.parametrize("kind", ["encryption", "integrity", "prf", "dh"])
def test_a_kind_that_charon_does_not_tell_of_is_not_judged(kind: str) -> None:
    told = {each: names for each, names in ALGORITHMS.items() if each != kind}
    assert missing_algorithms(make_connection(), told) == ()


@pytest.mark.parametrize(
    ("kind", "name", "missing"),
    [
        ("encryption", "AES_CBC", ("ike: aes128 (AES_CBC)",)),
        ("integrity", "HMAC_SHA1_96", ("ike: sha1 (HMAC_SHA1_96)",)),
        ("prf", "PRF_HMAC_SHA1", ("ike: sha1 (PRF_HMAC_SHA1)",)),
        ("dh", "MODP_1024", ("ike: modp1024 (MODP_1024)", "esp: modp1024 (MODP_1024)")),
        ("hasher", "HASH_SHA1", ()),
    ],
)
def test_what_is_not_registered_is_named(kind: str, name: str, missing: tuple[str, ...]) -> None:
    assert missing_algorithms(make_connection(), without(kind, name)) == missing


def test_an_aead_cipher_needs_no_integrity_but_a_prf() -> None:
    connection = make_connection(
        ike=make_ike(encryption="aes256gcm16", integrity="sha256"), esp=make_esp(pfs_group=None)
    )
    assert missing_algorithms(connection, without("integrity", "HMAC_SHA2_256_128")) == ()
    assert missing_algorithms(connection, without("prf", "PRF_HMAC_SHA2_256")) == (
        "ike: sha256 (PRF_HMAC_SHA2_256)",
    )


def test_esp_ciphers_are_the_kernels() -> None:
    connection = make_connection(esp=make_esp(encryption="des", integrity="md5"))
    assert missing_algorithms(connection, without("encryption", "DES_CBC")) == ()


def test_guomi_is_missed_in_both_phases() -> None:
    connection = make_connection(
        ike=make_ike(version=1, encryption="sm4", integrity="sm3"),
        esp=make_esp(encryption="sm4", integrity="sm3", pfs_group=None),
    )
    assert missing_algorithms(connection, ALGORITHMS) == (
        "ike: sm4 (SM4_CBC)",
        "ike: sm3 (HMAC_SM3_96)",
        "ike: sm3 (PRF_HMAC_SM3)",
        "esp: sm4 (SM4_CBC)",
        "esp: sm3 (HMAC_SM3_96)",
    )


def test_a_charon_that_registers_nothing_lacks_everything() -> None:
    assert len(missing_algorithms(make_connection(), dict.fromkeys(ALGORITHMS, frozenset()))) == 5
