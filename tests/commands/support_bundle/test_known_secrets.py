"""Every secret that files of this machine name or hold is known; what cannot be read is told."""

import os
import pathlib

import pytest
from tests.certificates import authority
from tests.commands.support_bundle.machine import Machine


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path)


def test_keys_and_passwords_in_files(machine: Machine) -> None:
    machine.write("etc/vpnagent/psk/primary", "Hush-of-psk\n")
    machine.write("etc/vpnagent/password", "Hush of two words\r\n")
    machine.config.write_text("a: {psk_file: psk/primary, password_file: password}\n")
    known = machine.secrets().gathered().known
    assert known.found_in("x Hush-of-psk y") == (f"{machine.folder}/psk/primary",)
    assert known.found_in("x Hush of two words y") == (f"{machine.folder}/password",)


@pytest.mark.parametrize(
    "shown",
    [
        "https://user:Hush-pw-1@a.example/services/T0001/AbCdEfGhIjKlMnOpQr?key=Hush-query",
        "a.example/services/T0001/AbCdEfGhIjKlMnOpQr",
        "Hush-pw-1",
        "AbCdEfGhIjKlMnOpQr",
        "Hush-query",
    ],
)
@pytest.mark.parametrize("in_file", [True, False])
def test_a_webhooks_address_and_what_in_it_is_a_key(machine: Machine, shown: str, in_file: bool) -> None:
    url = "https://user:Hush-pw-1@a.example/services/T0001/AbCdEfGhIjKlMnOpQr?key=Hush-query"
    machine.write("etc/vpnagent/pager.url", url + "\n")
    key = "url_file: pager.url" if in_file else f"url: '{url}'"
    machine.config.write_text(f"hooks: [{{{key}}}]\n")
    known = machine.secrets().gathered().known
    assert known.found_in(f"posted {shown} .")
    assert not known.found_in("https://a.example/ services T0001 user vpn")


def test_a_private_key_by_any_of_its_lines(machine: Machine) -> None:
    key = authority(machine.folder, "gw").key
    machine.config.write_text("certificate: {private_key: gw.key}\n")
    known = machine.secrets().gathered().known
    body = [line for line in key.read_text().splitlines() if not line.startswith("-") and len(line) >= 16]
    assert body
    assert all(known.found_in(f"x {line} y") for line in body)
    assert not known.found_in((machine.folder / "gw.pem").read_text())


def test_credentials_of_running_services_also_those_that_nobody_names(machine: Machine) -> None:
    machine.write("run/credentials/vpnagent.service/primary", "Hush-credential\n")
    assert machine.secrets().gathered().known.found_in("Hush-credential")


def test_the_operators_own_secrets_for_charon_as_written_and_decoded(machine: Machine) -> None:
    machine.write(
        "etc/swanctl/conf.d/other.conf",
        'secrets { ike-a { secret = "Hush \\"quoted\\"" } ike-b { secret = 0sSHVzaC1iYXNlNjQ= }\n'
        " ike-c { secret = 0x487573682d686578 } eap-d { secret = Hush-bare } token-e { pin = 123456789 } }\n",
    )
    machine.write("etc/strongswan.d/charon/eap-radius.conf", "eap-radius {\n secret = Hush-radius\n}\n")
    machine.write("etc/ipsec.secrets", '192.0.2.1 : PSK "Hush-ipsec"\n')
    known = machine.secrets().gathered().known
    for secret in (
        'Hush "quoted"',
        "Hush-base64",
        "Hush-hex",
        "Hush-bare",
        "123456789",
        "Hush-radius",
        "Hush-ipsec",
    ):
        assert known.found_in(f"<{secret}>"), secret


def test_what_cannot_be_read_is_told(machine: Machine) -> None:
    os.mkfifo(machine.folder / "fifo")
    machine.config.write_text("a: {psk_file: psk/none, token_file: fifo}\nb: {psk_credential: primary}\n")
    assert set(machine.secrets().gathered().unsearched) == {
        f"{machine.folder}/psk/none: No such file or directory",
        f"{machine.folder}/fifo: it is no regular file",
        "credential primary: no running service has it",
    }


def test_a_missing_configuration_is_told(machine: Machine) -> None:
    machine.config.unlink()
    assert machine.secrets().gathered().unsearched == (f"{machine.config}: No such file or directory",)
