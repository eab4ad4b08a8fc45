"""What Libreswan says of each algorithm, and docs/interoperability.md of Libreswan."""

import pathlib
import re
import subprocess
from collections.abc import Iterator

import pytest

from vpnagent.config.file_models import ENCRYPTION, INTEGRITY
from vpnagent.ipsec.algorithms import DH_GROUPS, GUOMI, aead

CHECKOUT = pathlib.Path(__file__).parents[2]
ALGPARSE = CHECKOUT / "build" / "libreswan" / "usr" / "libexec" / "ipsec" / "algparse"


def documented() -> dict[str, str]:
    """What the table says, by setting."""
    text = (CHECKOUT / "docs" / "interoperability.md").read_text().partition("What Libreswan 4.10")[2]
    return dict(re.findall(r"^\| `(.+?)` \| `(.+?)` \|$", text, re.MULTILINE))


def settings() -> Iterator[tuple[str, str]]:
    """Every setting of the configuration, and a proposal of Libreswan's that has it."""
    for encryption in sorted({*ENCRYPTION} - GUOMI):
        ike = re.sub(r"aes(\d+)gcm16", r"aes_gcm\1", encryption)
        yield f"ike.encryption: {encryption}", f"ike={ike}-sha2_256;dh14"
        esp = f"esp={ike}-null" if aead(encryption) else f"esp={ike}-sha2_256"
        yield f"esp.encryption: {encryption}", esp
    for integrity in sorted({*INTEGRITY} - GUOMI):
        name = re.sub(r"sha(\d{3})", r"sha2_\1", integrity)
        yield f"ike.integrity: {integrity}", f"ike=aes128-{name};dh14"
        yield f"esp.integrity: {integrity}", f"esp=aes128-{name}"
    for number, (keyword, _) in DH_GROUPS.items():
        group = keyword if re.fullmatch("modp[0-9]+", keyword) else f"dh{number}"
        yield f"dh_group: {number}", f"ike=aes128-sha2_256;{group}"


@pytest.fixture(scope="module", autouse=True)
def unpacked() -> None:
    subprocess.run([CHECKOUT / "lab" / "libreswan"], check=True, timeout=120)


def refused(proposal: str) -> str | None:
    """Libreswan's error for a proposal of IKE version 2."""
    done = subprocess.run(
        [ALGPARSE, "-v2", proposal], check=False, capture_output=True, text=True, timeout=20
    )
    found = re.search(r"ERROR: (.*)", done.stdout + done.stderr)
    assert found or done.returncode == 0, done
    return found[1] if found else None


def test_libreswan_refuses_what_is_documented_and_nothing_else() -> None:
    answers = {setting: refused(proposal) for setting, proposal in settings()}
    assert {setting: answer for setting, answer in answers.items() if answer} == documented()
