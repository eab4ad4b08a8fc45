"""Every version and algorithm of the cloud's menu negotiates with a real peer, and carries traffic.

Each row changes both ends of the primary; the rows together name every value of the configuration at least
once. What a peer with another idea of the proposal answers is in test_troubles.
"""

from functools import partial
from typing import Any, NamedTuple

import pytest
from lab.deadline import PATIENCE, eventually
from lab.gateway import LabGateway, is_up, tunnel
from lab.topology import ECS_HOST, PRIMARY
from lab.world import Lab

from vpnagent.ipsec.algorithms import CIPHERS, DH_GROUPS, GUOMI, HASHES

OWNER = "vpnagent.hangzhou.primary"


class Row(NamedTuple):
    """One negotiation; None: no PFS."""

    version: int
    encryption: str
    integrity: str
    dh_group: int
    pfs_group: int | None
    mode: str = "main"

    @property
    def ike(self) -> str:
        integrity = f"prf{self.integrity}" if "gcm" in self.encryption else self.integrity
        return f"{self.encryption}-{integrity}-{DH_GROUPS[self.dh_group].keyword}"

    @property
    def esp(self) -> str:
        parts = [self.encryption, *[self.integrity] * ("gcm" not in self.encryption)]
        if self.pfs_group is not None:
            parts.append(DH_GROUPS[self.pfs_group].keyword)
        return "-".join(parts)

    def document(self) -> dict[str, Any]:
        """The keys of a connection."""
        common = {"encryption": self.encryption, "integrity": self.integrity}
        ike = {"version": self.version, "mode": self.mode, "dh_group": self.dh_group, **common}
        pfs = "disabled" if self.pfs_group is None else self.pfs_group
        return {"ike": ike, "esp": {"pfs_group": pfs, **common}}


ROWS = (
    Row(2, "aes128", "sha1", 2, 2),
    Row(2, "aes192", "sha256", 14, 14),
    Row(2, "aes256", "sha384", 16, 15),
    Row(2, "aes256", "sha512", 21, 20),
    Row(2, "aes128", "sha256", 31, 21),
    Row(2, "3des", "md5", 1, None),
    Row(2, "aes128", "sha1", 24, 24),
    Row(2, "aes128gcm16", "sha256", 19, 19),
    Row(2, "aes256gcm16", "sha384", 20, 31),
    Row(1, "aes128", "sha1", 5, 2),
    Row(1, "aes192", "sha384", 15, None),
    Row(1, "aes256", "sha256", 17, 14, "aggressive"),
    Row(1, "3des", "md5", 18, 1),
    Row(1, "des", "sha512", 2, 5, "aggressive"),
)


def test_the_rows_name_every_value() -> None:
    assert {row.encryption for row in ROWS} == CIPHERS.keys() - GUOMI
    assert {row.integrity for row in ROWS} == HASHES.keys() - GUOMI
    assert {row.dh_group for row in ROWS} == DH_GROUPS.keys()
    assert {row.pfs_group for row in ROWS} >= {None, 1, 2, 5, 14}
    assert {(row.version, row.mode) for row in ROWS} == {(1, "main"), (1, "aggressive"), (2, "main")}


def negotiated(lab: Lab) -> dict[str, str]:
    """What charon says of the primary's SAs."""
    with lab.charon.session() as session:
        [sa] = [sa for sas in session.list_sas({"ike": OWNER}) for sa in sas.values()]
    [child] = [child for child in sa["child-sas"].values() if child["state"] == b"INSTALLED"]
    found = {"version": sa["version"], "dh": sa["dh-group"], "ike": sa["encr-alg"], "esp": child["encr-alg"]}
    return {key: value.decode() for key, value in found.items()}


@pytest.mark.deadline(900)
@pytest.mark.slow("thirteen negotiations, one after the other")
def test_every_algorithm_carries_traffic(lab: Lab, gateway: LabGateway) -> None:
    document = gateway.document()
    [connection] = document["connections"]
    del connection["tunnels"][1]
    connection["probe"] |= {"hold_down": "400ms"}  # each row of IKEv1 is a flap of the only tunnel
    gateway.write(document)
    for number, row in enumerate(ROWS):
        connection |= row.document()
        changes = {
            "version": str(row.version),
            "proposals": [row.ike],
            "aggressive": "yes" if row.mode == "aggressive" else "no",
        }
        lab.cloud.load(PRIMARY, changes=changes, child={"esp_proposals": [row.esp]})
        gateway.write(document)
        if number:
            renegotiated = partial(is_renegotiated, lab, lab.charon.ike_sas(OWNER))
            gateway.ask("reload")
            eventually(renegotiated, f"{row} is negotiated", within=20 * PATIENCE)
        else:
            gateway.start()
        gateway.wait(
            is_up, f"{row} is up", within=20 * PATIENCE
        )  # the status of before tells of the SA of before
        lab.cloud.wait_returning(PRIMARY)
        lab.ping(ECS_HOST)
        said = negotiated(lab)
        print(f"\n{row.version} {row.mode} {row.ike} {row.esp}: {said}")
        assert said["version"] == str(row.version)
        assert said["dh"] == DH_GROUPS[row.dh_group].name
    assert tunnel(gateway.status(), PRIMARY)["child_sa"] == "installed"


def is_renegotiated(lab: Lab, before: frozenset[bytes]) -> bool:
    now = lab.charon.ike_sas(OWNER)
    return bool(now) and before.isdisjoint(now)
