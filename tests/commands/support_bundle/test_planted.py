"""Secrets are planted wherever one can be; none is in the bundle, in no spelling, and all the rest is."""

import gzip
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
from tests.certificates import authority
from tests.commands.support_bundle.machine import Machine
from tests.commands.support_bundle.test_known_secrets import SPELLINGS, known
from tests.commands.support_bundle.test_veil import KEYS, XFRM_STATE
from tests.config_examples import EXAMPLE_YAML, make_config
from tests.listening import listening

from vpnagent.commands.support_bundle import SUMMARY, SupportBundle, bundle, packed
from vpnagent.commands.support_bundle.known_secrets import LEFT_OUT
from vpnagent.events.event import Happening, event_of
from vpnagent.events.store import Store
from vpnagent.finding import EventType, Severity
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.status.document import status

#: By the file that holds it. All but the last are named by the configuration.
FILES = {
    "etc/vpnagent/psk/primary": "primary-Hush-7f3a",
    "etc/vpnagent/psk/backup": 'b/ck\'up+"Hush"=\\9c1d',
    "etc/vpnagent/password": "Hush-of-prometheus",
    "etc/vpnagent/pager.token": "Hush-token-0815",
    "etc/vpnagent/pager.url": "https://hooks.example.com/services/T024BE7LD/Hush-XXXXXXXXXXXXXXXX?k=Hush-query",
    "run/credentials/vpnagent.service/zone": "Hush-credential",
}
URL = "https://ops:Hush-in-url@alerts.example.com/vpn?key=Hush-asked"
OPERATORS = "Hush-of-operator"
ENVIRONMENT = "Hush-of-environment"
#: Known to nobody: they are hidden by their shape or never asked for.
UNNAMED = {
    "comment": "Hush-in-comment",
    "unknown key": "Hush-unknown-key",
    "argument": "Hush-argument",
    **KEYS,
}
SECRETS = [
    *FILES.values(),
    "Hush-query",
    "Hush-in-url",
    "Hush-asked",
    OPERATORS,
    ENVIRONMENT,
    *UNNAMED.values(),
]

EXTRA = f"""\
agent:
  metrics_auth: {{username: prometheus, password_file: password}}
  metrics_tls: {{certificate: ca.pem, private_key: ca.key}}
  psk: {UNNAMED["unknown key"]}   # {UNNAMED["comment"]}
hooks:
  - {{name: a, url: '{URL}', token_file: pager.token}}
  - {{name: b, url_file: pager.url}}
  - {{name: c, command: [/usr/bin/curl, -H, 'X-Key: {UNNAMED["argument"]}']}}
tunnel: {{psk_credential: zone}}
"""


def leak() -> str:
    """Lines of a log that has every known secret in every spelling, and one harmless line between any two."""
    lines = [
        f"leaked {SPELLINGS[s](secret)}" for secret in [*FILES.values(), OPERATORS, URL] for s in SPELLINGS
    ]
    return "".join(f"{line}\nharmless {number}\n" for number, line in enumerate(lines))


@pytest.fixture
def machine(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("VPNAGENT_SECRET", ENVIRONMENT)
    machine = Machine(tmp_path)
    machine.config.write_text(EXAMPLE_YAML + EXTRA)
    for path, secret in FILES.items():
        machine.write(path, secret + "\n")
    authority(machine.folder, "ca")
    machine.write("etc/swanctl/conf.d/op.conf", f'secrets {{ ike-1 {{ secret = "{OPERATORS}" }} }}\n')
    machine.write("state/standing.yaml", EXAMPLE_YAML + EXTRA)
    machine.write("leak", leak() + (machine.folder / "ca.key").read_text())
    machine.write("xfrm", XFRM_STATE.format(**KEYS))
    for name in ("journalctl", "nft", "systemctl", "dpkg-query"):
        machine.programs({name: f"cat {machine.root}/leak"})
    machine.programs({"ip": f"cat {machine.root}/xfrm"})  # one that knows no nokeys
    machine.programs({"vpnagent": f"cat {machine.root}/leak >&2"})
    return machine


@pytest.fixture
def daemon(machine: Machine) -> Iterator[None]:
    """A daemon that tells all it should not."""
    happenings = [
        Happening(
            type=EventType.FAILOVER,
            at=0.0,
            severity=Severity.INFO,
            text=f"leaked {secret}",
            fields={"x": secret},
        )
        for secret in (*FILES.values(), URL)
    ]
    events = [event_of(happening, number + 1) for number, happening in enumerate(happenings)]
    Store(str(machine.state)).append(events)

    async def answer(request: dict[str, Any]) -> Any:
        if request["command"] == "events":
            return {"events": [event.plain() for event in events], "more": False, "last": len(events)}
        told = status(Knowledge(config=make_config(), loaded_at=0.0))
        return {**told, **{f"leaked {secret}": [secret, {secret: secret}] for secret in FILES.values()}}

    with listening(machine.root / "control.sock", answer):
        yield


def bundled(machine: Machine) -> SupportBundle:
    parts = machine.parts()
    return bundle(parts.values(), machine.secrets().gathered(), gateway="idc-hz-1", at=0)


def held(found: SupportBundle) -> set[str]:
    """Return the planted secrets that a bundle holds, in any spelling."""
    text = gzip.decompress(packed(found)).decode()
    return {secret for secret in SECRETS if known(secret).found_in(text)}


def test_no_planted_secret_is_in_the_bundle(machine: Machine, daemon: None) -> None:
    found = bundled(machine)
    assert not held(found)
    assert "PRIVATE KEY" not in "".join(found.files.values())


def test_nor_without_the_daemon(machine: Machine) -> None:
    assert not held(bundled(machine))


def test_nor_of_a_configuration_that_is_no_yaml(machine: Machine, daemon: None) -> None:
    machine.config.write_text(EXAMPLE_YAML + EXTRA + "broken: [\n")
    assert not held(bundled(machine))


def test_that_one_was_there_is_told_with_its_owner(machine: Machine, daemon: None) -> None:
    found = bundled(machine)
    assert found.held
    told = "\n".join(found.complaints)
    assert f"{machine.folder}/psk/primary" in told
    assert "a webhook's url" in told
    assert not any(known(secret).found_in(told) for secret in SECRETS)


def test_all_the_rest_is_in_it(machine: Machine, daemon: None) -> None:
    files = bundled(machine).files
    assert set(files) >= {
        SUMMARY,
        "status.json",
        "events.jsonl",
        "configuration.yaml",
        "kernel/xfrm_state.txt",
    }
    assert json.loads(files["status.json"])["gateway"] == "idc-hz-1"
    assert "spi 0xc1a2b3c4" in files["kernel/xfrm_state.txt"]
    assert "psk_file: psk/primary" in files["configuration.yaml"]


def test_a_line_that_holds_a_secret_costs_its_neighbours_nothing(machine: Machine) -> None:
    machine.write("leak", "before\n" + "".join(f"leaked {secret}\nafter\n" for secret in FILES.values()))
    journal = bundled(machine).files["journal/vpnagent.txt"].splitlines()
    assert journal == ["before", *[LEFT_OUT, "after"] * len(FILES)]


def test_the_planting_would_be_seen(machine: Machine, daemon: None) -> None:
    """What the tests above look for is there before it is taken out."""
    text = "".join(part.text for part in machine.parts().values())
    seen = {secret for secret in SECRETS if known(secret).found_in(text)}
    never_asked_for = {ENVIRONMENT, UNNAMED["comment"], UNNAMED["unknown key"], UNNAMED["argument"]}
    assert seen == set(SECRETS) - never_asked_for
