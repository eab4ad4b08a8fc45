"""Everything is asked for, nothing waits for ever, and what cannot be had is one line."""

import hashlib
import json
import pathlib
import socket
import ssl
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.certificates import expiring
from tests.commands.support_bundle.machine import Machine
from tests.config_examples import EXAMPLE_YAML, make_config
from tests.events.test_command import event
from tests.listening import listening

from vpnagent.commands.support_bundle.collect import all_of, plain
from vpnagent.commands.support_bundle.known_secrets import MOST_KEPT
from vpnagent.commands.support_bundle.summary import ABOUT
from vpnagent.events.store import Store, page, query_of
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.status.document import status


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path)


def test_there_is_a_part_for_every_file_also_where_nothing_runs(machine: Machine) -> None:
    parts = machine.parts()
    assert set(parts) == set(ABOUT)
    assert all(part.why and "\n" not in part.why for part in parts.values() if part.content is None)
    assert parts["status.json"].why.startswith("the daemon does not run")
    assert "no such socket" in parts["charon/sas.json"].why
    assert parts["kernel/nft.txt"].is_whole


def test_the_daemon_is_asked_for_status_and_all_pages_of_events(machine: Machine) -> None:
    told = [event(sequence) for sequence in range(1, 451)]

    async def answer(request: dict[str, Any]) -> Any:
        if request["command"] == "status":
            return status(Knowledge(config=make_config(), loaded_at=0.0))
        return page(told, query_of(request))

    with listening(machine.root / "control.sock", answer):
        parts = machine.parts()
    assert json.loads(parts["status.json"].text)["gateway"] == "idc-hz-1"
    assert len(parts["events.jsonl"].text.splitlines()) == 450
    assert parts["events.jsonl"].is_whole


def test_without_the_daemon_events_are_read_from_disk_and_that_is_told(machine: Machine) -> None:
    Store(str(machine.state)).append([event(1), event(2)])
    part = machine.parts()["events.jsonl"]
    assert [json.loads(line)["sequence"] for line in part.text.splitlines()] == [1, 2]
    assert part.why.startswith("from disk: the daemon does not run")


def test_what_hangs_is_given_up(machine: Machine) -> None:
    machine.programs({"nft": "exec sleep 600"})
    with socket.socket(socket.AF_UNIX) as control, socket.socket(socket.AF_UNIX) as charon:
        for sock, name in ((control, "control.sock"), (charon, "charon.vici")):
            sock.bind(str(machine.root / name))
            sock.listen(8)
        parts = machine.parts(deadline=0.3, answer_deadline=0.3)
    assert parts["kernel/nft.txt"].why == "no answer in time"
    assert "does not answer" in parts["status.json"].why
    assert "does not answer" in parts["charon/stats.json"].why
    assert parts["versions.json"].is_whole


def test_what_is_too_much_is_cut_at_a_line_and_of_a_journal_the_end_is_kept(machine: Machine) -> None:
    flood = "seq -f 'line %.0f of a great many that nobody can read' 1 60000"
    machine.programs({"nft": flood, "journalctl": flood})
    parts = machine.parts()
    rules, journal = parts["kernel/nft.txt"], parts["journal/vpnagent.txt"]
    assert len(rules.text) <= MOST_KEPT
    assert len(journal.text) <= MOST_KEPT
    assert rules.text.startswith("line 1 of")
    assert journal.text.endswith("line 60000 of a great many that nobody can read\n")
    assert journal.text.startswith("line ")
    assert "cut" in rules.why
    assert "cut" in journal.why


def test_an_endless_program_is_ended(machine: Machine) -> None:
    machine.programs({"nft": "exec yes"})
    part = machine.parts()["kernel/nft.txt"]
    assert 0 < len(part.text) <= MOST_KEPT
    assert "cut" in part.why


@pytest.mark.parametrize(
    ("script", "why", "forbidden"),
    [
        ("echo 'Operation not permitted (you must be root)' >&2; exit 1", "Operation not permitted", True),
        ("echo 'no such table' >&2; exit 1", "nft: no such table", False),
        ("exit 3", "nft: exit status 3", False),
    ],
)
def test_a_program_that_fails_is_one_line(machine: Machine, script: str, why: str, forbidden: bool) -> None:
    machine.programs({"nft": script})
    part = machine.parts()["kernel/nft.txt"]
    assert part.content is None
    assert why in part.why
    assert part.forbidden is forbidden


def test_a_missing_program_is_one_line(machine: Machine) -> None:
    (machine.root / "bin/journalctl").unlink()
    assert machine.parts()["journal/strongswan.txt"].why == "journalctl is not installed"


def test_a_journal_that_is_not_all_ours_to_see_is_told(machine: Machine) -> None:
    hint = "Hint: You are currently not seeing messages from other users and the system."
    machine.programs({"journalctl": f"echo ours; echo '{hint}' >&2"})
    part = machine.parts()["journal/vpnagent.txt"]
    assert (part.text, part.forbidden) == ("ours\n", True)


def test_keys_of_sas_are_never_asked_for(machine: Machine) -> None:
    machine.programs({"ip": 'echo "$@"'})
    assert machine.parts()["kernel/xfrm_state.txt"].text == "-stats xfrm state list nokeys\n"


def test_a_configuration_that_cannot_be_used_is_told_by_check(machine: Machine) -> None:
    machine.config.write_text(EXAMPLE_YAML.replace("if_id: 1", "if_id: 0"))
    part = machine.parts(vpnagent=(sys.executable, "-m", "vpnagent"))["findings.json"]
    assert isinstance(part.content, dict)
    [finding] = part.content["findings"]
    assert (finding["code"], finding["key"]) == ("FileRefused", "connections[0].tunnels[0].if_id")


def test_a_configuration_that_is_no_text_is_one_line(machine: Machine) -> None:
    machine.config.write_bytes(b"\xff\xfe")
    part = machine.parts()["configuration.yaml"]
    assert part.content is None
    assert part.why


# What charon tells, as JSON: nothing is lost but a certificate's body.


def test_sections_lists_and_values_stay_what_they_are() -> None:
    message = {"hangzhou": {"remote-ts": [b"0.0.0.0/0", b"10.0.0.0/8"], "uniqueid": b"7", "odd": b"\xff"}}
    assert all_of([message]) == [
        {"hangzhou": {"remote-ts": ["0.0.0.0/0", "10.0.0.0/8"], "uniqueid": "7", "odd": "\\xff"}}
    ]


def test_of_a_certificate_fingerprint_and_end_are_told(tmp_path: pathlib.Path) -> None:
    pem = expiring(tmp_path, "idc", at=datetime(2030, 1, 1, tzinfo=UTC)).read_text()
    der = ssl.PEM_cert_to_DER_cert(pem)
    told = plain({"type": b"X509", "has_privkey": b"yes", "data": der})
    assert told == {
        "type": "X509",
        "has_privkey": "yes",
        "data": {"sha256": hashlib.sha256(der).hexdigest(), "not_after": "2030-01-01T00:00:00+00:00"},
    }


def test_of_what_is_no_certificate_the_fingerprint() -> None:
    told = plain({"data": b"\x30\x03abc"})
    assert json.loads(json.dumps(told))["data"].keys() == {"sha256"}
