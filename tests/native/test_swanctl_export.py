"""`vpnagent export swanctl` as the real swanctl reads it and a real charon (charon_pair.py) has it."""

import asyncio
import os
import pathlib
import re
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from tests.config_examples import BACKUP_PSK, PRIMARY_PSK, make_config
from tests.ipsec.connections import make_esp, make_ike
from tests.native.charon_pair import Host, charon_pair
from vici.protocol import FiniteStream, Message, Packet

from vpnagent.commands.export.swanctl import section_name, swanctl
from vpnagent.config.values import (
    CertificateFiles,
    Config,
    TrafficSelectors,
    UdpEncapsulation,
)
from vpnagent.ipsec import messages
from vpnagent.ipsec.actions import CharonConnection, Credentials, LoadConnection
from vpnagent.ipsec.charon import Charon
from vpnagent.policy.desired import ipsec_connections
from vpnagent.secret import Secret

if os.geteuid() != 0:
    pytest.skip("a real charon needs root: ./dev test runs these", allow_module_level=True)

ODD_IDENTITY = 'C=CN, O=a "b" #c {d} \\e, CN=f'

GCM = make_ike(encryption="aes256gcm16", integrity="sha256", dh_group=19, lifetime=7200.0, dpd_delay=3.0)
AGGRESSIVE = make_ike(version=1, mode="aggressive", encryption="3des", integrity="md5", lifetime=3600.0)
NO_PFS = make_esp(encryption="aes192", integrity="sha512", pfs_group=None, lifetime=3600.0)

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "protected data flows": {"connection": {"traffic_selectors": TrafficSelectors.NETWORKS}},
    "AES-GCM without PFS": {"connection": {"ike": GCM, "esp": NO_PFS}},
    "IKEv1, aggressive": {
        "connection": {"ike": AGGRESSIVE, "udp_encapsulation": UdpEncapsulation.AUTO},
        "primary": {"local_id": "idc.example.com", "local_address": None},
    },
    "an odd identity": {"primary": {"local_id": ODD_IDENTITY}},
}


@pytest.fixture(params=CONFIGURATIONS)
def config(request: pytest.FixtureRequest) -> Config:
    return make_config(**CONFIGURATIONS[request.param])


class Recorder:
    """What passes for a charon: it says yes to everything, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Mapping[str, Any]]] = []

    def converse(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while length := stream.read(4):
                packet = stream.read(*struct.unpack("!I", length))
                name = packet[2 : 2 + packet[1]].decode()
                self.told.append((name, decoded(packet[2 + packet[1] :])))
                answer = bytes([Packet.CMD_RESPONSE]) + Message.serialize({"success": "yes"})
                connection.sendall(struct.pack("!I", len(answer)) + answer)

    def messages(self, command: str) -> list[Mapping[str, Any]]:
        return [message for name, message in self.told if name == command]


def decoded(payload: bytes) -> Mapping[str, Any]:
    """Return a message as its receiver reads it."""
    message: Mapping[str, Any] = Message.deserialize(FiniteStream(payload))
    return message


@contextmanager
def recorder(path: pathlib.Path) -> Iterator[Recorder]:
    recording = Recorder()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(10)

        def serve() -> None:
            with listener.accept()[0] as connection:
                recording.converse(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield recording
        thread.join()


def run_swanctl(vici: pathlib.Path | str, *arguments: str) -> str:
    """Run the real swanctl, which must succeed; return all that it says."""
    done = subprocess.run(
        ["swanctl", *arguments, "--uri", f"unix://{vici}"],
        env={**os.environ, "SWANCTL_DIR": str(pathlib.Path(vici).parent)},
        check=False,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout + done.stderr


def load_file(vici: pathlib.Path | str, what: str, text: str) -> str:
    """Load connections (``conns``) or credentials (``creds``) from the text of a swanctl.conf."""
    file = pathlib.Path(vici).parent / "swanctl.conf"
    file.write_text(text)
    return run_swanctl(vici, f"--load-{what}", "--file", str(file))


def as_loaded(connection: CharonConnection, credentials: Credentials | None = None) -> Mapping[str, Any]:
    """Return what the agent sends, with the connection's name as swanctl.conf has it."""
    message = messages.load_conn(connection, credentials)
    return decoded(Message.serialize({section_name(name): fields for name, fields in message.items()}))


def test_swanctl_tells_charon_what_the_agent_tells_it(config: Config, tmp_path: pathlib.Path) -> None:
    with recorder(tmp_path / "vici") as recording:
        load_file(tmp_path / "vici", "conns", swanctl(config))
    assert recording.messages("load-conn") == [as_loaded(c) for c in ipsec_connections(config).values()]


def test_swanctl_reads_the_files_of_certificates(tmp_path: pathlib.Path) -> None:
    files = CertificateFiles(
        certificate=f"{tmp_path}/own.pem", private_key=f"{tmp_path}/own.key", ca=f"{tmp_path}/ca.pem"
    )
    for name, content in ((files.certificate, "the certificate"), (files.ca, "the authority")):
        pathlib.Path(name).write_text(content)
    config = make_config(primary={"psk": None, "certificates": files})
    text = swanctl(config)
    with recorder(tmp_path / "vici") as recording:
        load_file(tmp_path / "vici", "conns", text)
    held = Credentials(certificate=b"the certificate", private_key=Secret(b""), ca=b"the authority")
    primary = ipsec_connections(config)["vpnagent.hangzhou.primary"]
    assert recording.messages("load-conn")[0] == as_loaded(primary, held)
    assert f"# Copy {files.private_key} into /etc/swanctl/private/." in text


def test_a_key_that_is_not_put_in_is_not_loaded(tmp_path: pathlib.Path) -> None:
    with recorder(tmp_path / "vici") as recording:
        said = load_file(tmp_path / "vici", "creds", swanctl(make_config()))
    assert recording.messages("load-shared") == []
    assert "missing 'secret'" in said or "ignored" in said


def test_a_key_that_is_put_in_is_the_cloud_s_alone(tmp_path: pathlib.Path) -> None:
    text = swanctl(make_config())
    for psk in (PRIMARY_PSK, BACKUP_PSK):
        text = re.sub("# secret = .*", f'secret = "{psk.decode()}"', text, count=1)
    with recorder(tmp_path / "vici") as recording:
        load_file(tmp_path / "vici", "creds", text)
    told = [(message["data"], message["owners"]) for message in recording.messages("load-shared")]
    assert told == [(PRIMARY_PSK, [b"203.0.113.1"]), (BACKUP_PSK, [b"203.0.113.2"])]


@pytest.fixture
def hosts(tmp_path: pathlib.Path) -> Iterator[tuple[Host, Host]]:
    with charon_pair(tmp_path) as pair:
        yield pair


def listed(host: Host) -> set[str]:
    """Return what swanctl --list-conns says of each connection, names as swanctl.conf has them."""
    raw = run_swanctl(host.vici, "--list-conns", "--raw")
    return {section_name(line) for line in raw.splitlines() if line.startswith("list-conn event")}


def test_charon_lists_the_same_from_swanctl_as_from_the_agent(hosts: tuple[Host, Host]) -> None:
    by_swanctl, by_agent = hosts

    async def load_all(config: Config) -> None:
        charon = Charon(by_agent.vici, on_event=lambda _event: None)
        await charon.connect()
        for connection in ipsec_connections(config).values():
            await charon.apply(LoadConnection(connection))
        charon.close()

    for changes in CONFIGURATIONS.values():
        config = make_config(**changes)
        asyncio.run(load_all(config))
        load_file(by_swanctl.vici, "conns", swanctl(config))
        connections = listed(by_swanctl)
        assert len(connections) == len(config.tunnels())
        assert connections == listed(by_agent)
