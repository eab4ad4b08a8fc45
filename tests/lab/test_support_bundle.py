"""A support bundle of a gateway whose tunnels are up: it has the SAs, and neither their keys nor ours."""

import re
import subprocess

from lab.gateway import PROGRAM, LabGateway
from lab.topology import PRIMARY, TUNNELS
from lab.world import Lab
from tests.commands.support_bundle.unpacking import unpacked

KEY = re.compile(r"(?:enc|auth|auth-trunc|aead) \S+ (0x[0-9a-f]{16,})")


def test_a_bundle_has_the_sas_and_no_key(lab: Lab, gateway: LabGateway) -> None:
    gateway.start()
    gateway.wait_up()
    keys = KEY.findall(lab.gateway.run("ip", "xfrm", "state"))
    assert len(keys) >= 4 * len(TUNNELS)  # encryption and integrity, both ways
    archive = gateway.directory / "bundle.tar.gz"
    with lab.gateway.entered():
        done = subprocess.run(
            [PROGRAM, "support-bundle", "--config", gateway.configuration, "--output", archive, "--force"],
            check=False,
            capture_output=True,
            text=True,
        )
    assert done.returncode in (0, 1), done.stderr
    files = unpacked(archive.read_bytes())
    assert {
        "SUMMARY.md",
        "status.json",
        "events.jsonl",
        "findings.json",
        "configuration.yaml",
        "standing.yaml",
        "kernel/xfrm_state.txt",
        "kernel/nexthops.json",
        "charon/sas.json",
        "charon/certificates.json",
    } <= files.keys()
    assert "idc-lab: up" in files["SUMMARY.md"]
    assert files["kernel/xfrm_state.txt"].count("proto esp spi 0x") >= 2 * len(TUNNELS)
    assert f"vpnagent.hangzhou.{PRIMARY.name}" in files["charon/sas.json"]
    text = "".join(files.values()).lower() + done.stdout + done.stderr
    secrets = [*keys, *(key.removeprefix("0x") for key in keys), *(tunnel.psk for tunnel in TUNNELS)]
    assert not [number for number, secret in enumerate(secrets) if secret in text]
