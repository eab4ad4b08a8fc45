"""``vpnagent init`` as a user meets it: by options, on a terminal, from a document."""

import contextlib
import json
import os
import pty
import select
import signal
import stat
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from tests.commands.import_.importing import document

from vpnagent.commands.init import InitAnswers, first_configuration
from vpnagent.config.load import load
from vpnagent.config.values import Role

KEYS = ["first-Hush-71", "second-Hush-72"]
OPTIONS = [
    *("--local-network", "10.1.0.0/16", "--remote-network", "100.64.0.0/10"),
    *("--remote-network", "172.16.0.0/16", "--source-address", "10.1.0.1"),
    *("--public-address", "198.51.100.10", "--tunnel", "203.0.113.1", "--tunnel", "203.0.113.2"),
    *("--probe-target", "172.16.0.10"),
]
TYPED = [
    "10.1.0.0/16",
    "100.64.0.0/10 172.16.0.0/16",
    "10.1.0.1",
    "198.51.100.10",
    "203.0.113.1, 203.0.113.2",
]


def init(folder: Path, *arguments: str, keys: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vpnagent", "init", "--output", "site/vpnagent.yaml", *arguments]
    (folder / "site").mkdir(exist_ok=True)
    typed = "".join(f"{key}\n" for key in keys or ())
    done = subprocess.run(
        command, check=False, cwd=folder, input=typed, capture_output=True, text=True, timeout=60
    )
    assert "Hush" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_what_options_tell_becomes_a_configuration_that_loads(tmp_path: Path) -> None:
    done = init(tmp_path, *OPTIONS, "--psk-stdin", keys=KEYS)
    assert (done.returncode, done.stdout) == (0, "")
    config = load(tmp_path / "site/vpnagent.yaml")
    assert config.gateway.local_networks == (IPv4Network("10.1.0.0/16"),)
    assert [(str(t.remote_address), t.role, t.local_id) for t in config.tunnels()] == [
        ("203.0.113.1", Role.ACTIVE, "198.51.100.10"),
        ("203.0.113.2", Role.STANDBY, "198.51.100.10"),
    ]
    assert [tunnel.psk.reveal().decode() for tunnel in config.tunnels() if tunnel.psk] == KEYS


def test_keys_are_their_owners_alone(tmp_path: Path) -> None:
    init(tmp_path, *OPTIONS, "--psk-stdin", keys=KEYS)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) & 0o007 for path in (tmp_path / "site/psk").iterdir()
    }
    assert modes == {"primary": 0, "backup": 0}


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    init(tmp_path, *OPTIONS, "--psk-stdin", keys=KEYS)
    before = contents(tmp_path)
    done = init(tmp_path, *OPTIONS, "--psk-stdin", keys=KEYS[::-1])
    assert done.returncode == 2
    assert "psk/primary" in done.stderr
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "keys", "said"),
    [
        ([], [], "vpnagent: missing: --local-network --remote-network --source-address --public-address"),
        (OPTIONS, [], "vpnagent: missing: --psk-stdin"),
        ([*OPTIONS, "--psk-stdin"], KEYS[:1], "must be 2 lines, one for each tunnel, not 1"),
        (
            [*OPTIONS, "--psk-stdin"],
            [KEYS[0], "with a space"],
            "must hold one line of visible ASCII characters",
        ),
        ([*OPTIONS, "--tunnel", "203.0.113.3"], [], "must be given once or twice"),
        (
            [*OPTIONS, "--local-network", "100.64.0.0/16", "--psk-stdin"],
            KEYS,
            "must not overlap the local network",
        ),
        (["--tunnel", "vpn.example.com"], [], "is no IPv4 address"),
        (["download-dual-bgp.json", "--tunnel", "203.0.113.1"], [], "with a DOCUMENT only"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_written(
    tmp_path: Path, arguments: list[str], keys: list[str], said: str
) -> None:
    done = init(tmp_path, *arguments, keys=keys)
    assert done.returncode == 2
    assert said in done.stderr
    assert contents(tmp_path) == {}


class Dialogue:
    """``vpnagent init`` on a terminal, and who answers it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        (folder / "site").mkdir(exist_ok=True)
        self._ours, theirs = pty.openpty()
        self.shown = ""
        self._asked = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vpnagent", "init", *arguments, "--output", "site/vpnagent.yaml"],
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)

    def question(self) -> str:
        """Return what is written until the next prompt, that included."""
        while not self.shown[self._asked :].endswith(": "):
            assert select.select([self._ours], [], [], 30)[0], self.shown
            self.shown += os.read(self._ours, 4096).decode()
        return self.shown[self._asked :]

    def answer(self, *typed: str) -> None:
        for one in typed:
            self.question()
            self._asked = len(self.shown)
            os.write(self._ours, f"{one}\n".encode())

    def interrupt(self) -> None:
        self.question()
        self.process.send_signal(signal.SIGINT)

    def ended(self) -> int:
        with contextlib.suppress(OSError):  # EIO: nobody has the other end open any more
            while part := os.read(self._ours, 4096).decode():
                self.shown += part
        os.close(self._ours)
        assert "Traceback" not in self.shown
        assert "Hush" not in self.shown
        return self.process.wait(60)


def keys_of(folder: Path) -> list[str]:
    tunnels = load(folder / "site/vpnagent.yaml").tunnels()
    return [tunnel.psk.reveal().decode() for tunnel in tunnels if tunnel.psk]


def test_on_a_terminal_each_answer_is_checked_at_once_and_no_key_is_shown(tmp_path: Path) -> None:
    dialogue = Dialogue(tmp_path)
    dialogue.answer("10.1.0.0/16", "no-network", "172.16.0.0/16", "", *TYPED[2:])
    dialogue.answer("192.0.2.1", "172.16.0.10", "with a space", *KEYS)
    assert dialogue.ended() == 0
    assert "'no-network' is no IPv4 network" in dialogue.shown
    assert "192.0.2.1 is in none of the networks behind the cloud's end" in dialogue.shown
    assert "one line of visible ASCII" in dialogue.shown
    assert keys_of(tmp_path) == KEYS
    [connection] = load(tmp_path / "site/vpnagent.yaml").connections
    assert list(map(str, connection.remote_networks)) == ["100.64.0.0/10", "172.16.0.0/16"]


def test_an_interrupted_dialogue_goes_on_with_its_answers(tmp_path: Path) -> None:
    first = Dialogue(tmp_path)
    first.answer("10.1.0.0/16", "172.16.0.0/16", "yes", "10.1.0.1")
    first.interrupt()
    assert first.ended() == 130
    assert list(contents(tmp_path)) == ["site/vpnagent.yaml.answers"]
    second = Dialogue(tmp_path)
    second.answer("", "", "", "", *TYPED[3:], "172.16.0.10", *KEYS)
    assert second.ended() == 0
    assert keys_of(tmp_path) == KEYS
    assert str(load(tmp_path / "site/vpnagent.yaml").gateway.source_address) == "10.1.0.1"
    assert "site/vpnagent.yaml.answers" not in contents(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "download-single.json",
        "download-dual-bgp.json",
        "describe-single.json",
        "describe-dual-bgp.json",
        "describe-dual-defaults.json",
    ],
)
def test_a_document_and_enter_on_every_default_give_a_file_that_loads(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(json.dumps(document(name)))
    dialogue = Dialogue(tmp_path, name)
    with contextlib.suppress(OSError):  # the end, instead of another question
        while True:
            dialogue.answer("")
    assert dialogue.ended() == 0
    config = load(tmp_path / "site/vpnagent.yaml")
    assert all(tunnel.psk for tunnel in config.tunnels())
    assert "site/vpnagent.yaml.answers" not in contents(tmp_path)


def test_a_wrong_answer_beside_a_document_is_asked_again(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(json.dumps(document("download-single.json")))
    dialogue = Dialogue(tmp_path, "d.json")
    dialogue.answer("gateway", "transit-router", "200Mbps", "8.8.8.8", "192.168.0.7")
    assert dialogue.ended() == 0
    assert "8.8.8.8 is in none of the networks behind the cloud's end" in dialogue.shown
    [connection] = load(tmp_path / "site/vpnagent.yaml").connections
    assert (connection.attachment.value, connection.bandwidth) == ("transit-router", 200e6)
    assert list(map(str, connection.tunnels[0].probe.targets)) == ["192.168.0.7"]
    assert "TO FILL IN" not in (tmp_path / "site/vpnagent.yaml").read_text()


def test_a_document_is_imported(tmp_path: Path) -> None:
    (tmp_path / "describe.json").write_text(json.dumps(document("describe-dual-bgp.json")))
    done = init(
        tmp_path, "describe.json", "--local-network", "10.1.0.0/16", "--remote-network", "172.16.0.0/16"
    )
    assert done.returncode == 0
    config = load(tmp_path / "site/vpnagent.yaml")
    assert len(config.tunnels()) == 2
    assert all(tunnel.psk for tunnel in config.tunnels())


@pytest.mark.parametrize("tunnels", [1, 2])
def test_every_set_of_answers_loads(tunnels: int) -> None:
    answers = InitAnswers(
        connection="cloud",
        attachment="transit-router",
        local_networks=(IPv4Network("10.1.0.0/16"),),
        remote_networks=(IPv4Network("172.16.0.0/16"),),
        source_address=IPv4Address("10.1.0.1"),
        local_id=IPv4Address("198.51.100.10"),
        remote_addresses=tuple(IPv4Address(f"203.0.113.{n + 1}") for n in range(tunnels)),
        probe_targets=(IPv4Address("172.16.0.10"),),
    )
    text = first_configuration(answers, "psk").encode()
    config = load("/etc/vpnagent/vpnagent.yaml", content=text, read_secrets=False)
    assert len(config.tunnels()) == tunnels


def test_a_key_in_anothers_notation_is_told_of_and_not_shown(tmp_path: Path) -> None:
    done = init(tmp_path, *OPTIONS, "--psk-stdin", keys=['"first-Hush-71"', "second-Hush-72"])
    assert done.returncode == 0
    [note] = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert "psk/primary: KeyNotation: the pre-shared key is in quotes" in note


def test_the_two_ends_are_not_swapped(tmp_path: Path) -> None:
    options = [*OPTIONS, "--tunnel", "198.51.100.10"]
    done = init(tmp_path, *options[:-6], *options[-4:], "--psk-stdin", keys=KEYS)
    assert done.returncode == 2
    assert "local_id: must be this gateway's: 198.51.100.10 is the cloud's" in done.stderr
    assert contents(tmp_path) == {}
