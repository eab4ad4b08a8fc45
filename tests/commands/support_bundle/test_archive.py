"""The archive: the same content is the same bytes, and what holds a secret is not in it."""

import gzip
import io
import tarfile

from tests.commands.support_bundle.test_known_secrets import known
from tests.commands.support_bundle.unpacking import unpacked

from vpnagent.commands.support_bundle import SUMMARY, SupportBundle, bundle, packed
from vpnagent.commands.support_bundle.known_secrets import Gathered, Part

AT = 1_795_000_000  # 2026-11-18
PSK = "primary-Hush-7f3a"
PARTS = (
    Part(name="versions.json", content={"vpnagent": "0.1.0"}),
    Part(name="kernel/nft.txt", content="table inet vpnagent\n"),
    Part(name="status.json", why="the daemon does not run"),
)


def made(
    *parts: Part, gateway: str = "idc-hz-1", secret: str = PSK, forbidden: bool = False
) -> SupportBundle:
    gathered = Gathered(known(secret), ("psk/backup: Permission denied",) * forbidden, forbidden)
    return bundle((*PARTS, *parts), gathered, gateway=gateway, at=AT)


def test_the_name_has_gateway_and_time() -> None:
    assert made().name == "vpnagent-support-idc-hz-1-20261118T110640Z"


def test_the_same_content_is_the_same_bytes() -> None:
    assert packed(made()) == packed(
        bundle(reversed(PARTS), Gathered(known(PSK), (), False), gateway="idc-hz-1", at=AT)
    )


def test_members_are_plain_files_of_nobody_in_one_folder_the_first_page_first() -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(made()))) as archive:
        found = archive.getmembers()
    folder = made().name
    assert [m.name for m in found] == [f"{folder}/{n}" for n in (SUMMARY, "kernel/nft.txt", "versions.json")]
    assert {(m.mode, m.uid, m.gid, m.uname, m.mtime, m.type) for m in found} == {
        (0o600, 0, 0, "", AT, tarfile.REGTYPE)
    }


def test_what_is_missing_is_told_on_the_first_page_and_to_whoever_asked() -> None:
    assert made().complaints == ("status.json: the daemon does not run",)
    assert "- status.json: the daemon does not run\n" in made().files[SUMMARY]
    assert "status.json" not in made().files


def test_what_holds_a_secret_across_lines_is_left_out_and_told() -> None:
    found = made(Part(name="journal/vpnagent.txt", content=f"{PSK[:8]}\n{PSK[8:]}\n"))
    assert found.held
    assert "journal/vpnagent.txt" not in found.files
    assert any(line.startswith("journal/vpnagent.txt: left out as a whole") for line in found.complaints)


def test_a_line_that_holds_one_is_left_out_and_told_by_the_secrets_owner() -> None:
    found = made(Part(name="journal/vpnagent.txt", content=f"one\n{PSK}\n"))
    assert found.held
    assert any("key 0" in line for line in found.complaints)
    assert "key 0" in found.files[SUMMARY]
    assert PSK.encode() not in gzip.decompress(packed(found))


def test_a_gateway_that_is_named_like_its_key_has_no_name() -> None:
    found = made(gateway=PSK)
    assert found.name.startswith("vpnagent-support-gateway-")
    assert PSK not in "".join(unpacked(packed(found)).values())


def test_a_key_that_is_a_word_of_ours_costs_files_never_the_secret() -> None:
    found = made(secret="vpnagent")
    assert "vpnagent" not in "".join(found.files.values())
    assert found.held


def test_what_could_not_be_searched_for_is_told() -> None:
    found = made(forbidden=True)
    assert found.forbidden
    assert not found.held
    assert "not searched for: psk/backup: Permission denied" in found.complaints
    assert "not searched for: psk/backup: Permission denied" in found.files[SUMMARY]
