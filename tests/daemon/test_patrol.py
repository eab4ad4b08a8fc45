"""The daemon's look at the machine: real child processes, good, bad and hanging."""

import asyncio
import pathlib
import pickle
import sys
import time
from dataclasses import replace

import pytest
from tests.config_examples import BACKUP_PSK, PRIMARY_PSK, make_config

from vpnagent.daemon import patrol
from vpnagent.daemon.patrol import Patrol, confirmed, without_secrets
from vpnagent.finding import Finding, Severity
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.status.document import status
from vpnagent.status.report import refresh

NOTHING = 'print(\'{"findings": [], "certificate_expiry": [], "machine": {"filtering": [], "hosts": []}}\')'


def known() -> Knowledge:
    return Knowledge(config=make_config(), loaded_at=0.0)


def child(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(patrol, "COMMAND", (sys.executable, "-c", program))


def look(knowledge: Knowledge) -> tuple[Finding, ...]:
    return asyncio.run(Patrol(knowledge, "/nonexistent/vpnagent.yaml").look()).findings


def test_the_machine_is_looked_at_and_only_what_the_daemon_does_not_tell_itself_is_told() -> None:
    config = make_config(agent={"vici_socket": "/nonexistent/charon.vici", "manage_sysctls": False})

    found = look(Knowledge(config=config, loaded_at=0.0))

    assert all(finding.hint and "\n" not in finding.text for finding in found)
    assert not {"SysctlDiffers", "AlgorithmMissing", "ClockNotSynchronised"} & {f.code for f in found}
    assert ("NotLookedAt", "charon") not in {(f.code, f.subject) for f in found}
    assert ("NotLookedAt", "machine") not in {(f.code, f.subject) for f in found}


@pytest.mark.parametrize(
    "program",
    [
        "raise SystemExit(1)",
        "print('[[1]]')",
        "print('{}nonsense')",
        "print('[]')",
        "print('{}')",
        "import os; os.kill(os.getpid(), 9)",
    ],
)
def test_a_look_that_fails_is_told_as_such(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    child(monkeypatch, program)

    assert [(f.code, f.subject) for f in look(known())] == [("NotLookedAt", "machine")]


def test_a_look_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    child(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(patrol, "DEADLINE", 0.3)
    began = time.monotonic()

    [finding] = look(known())

    assert finding.text == "the machine could not be looked at: no answer within 0.3 s"
    assert time.monotonic() - began < 10


def test_the_loop_goes_on_while_the_machine_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    go = tmp_path / "go"
    child(monkeypatch, f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n{NOTHING}")

    async def look_and_go_on() -> tuple[Finding, ...]:
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(Patrol(known(), "/nonexistent").look())
            await asyncio.sleep(0.05)
            go.touch()  # the child ends only if this loop gets here
        return looking.result().findings

    assert asyncio.run(look_and_go_on()) == ()


def test_no_secret_leaves_the_process() -> None:
    sent = pickle.dumps(without_secrets(make_config()))

    assert PRIMARY_PSK not in sent
    assert BACKUP_PSK not in sent


def routes() -> tuple[Finding, ...]:
    """Return what a look finds, each time anew."""
    text, hint = "a route of others", "remove it"
    return (Finding(code="RouteInRemote", subject="lan", severity=Severity.CRITICAL, text=text, hint=hint),)


def test_a_finding_is_a_warning_of_status_with_a_time_that_stays_and_changes_no_state() -> None:
    knowledge = known()
    refresh(knowledge, 10.0)
    before = status(knowledge)

    knowledge.machine_findings = routes()
    refresh(knowledge, 20.0)
    first = status(knowledge)
    knowledge.machine_findings = routes()
    refresh(knowledge, 30.0)
    later = status(knowledge)

    [warning] = [w for w in first["warnings"] if w["code"] == "RouteInRemote"]
    assert {"code", "severity", "text", "hint", "since"} <= warning.keys()
    assert warning["since"] == "1970-01-01T00:00:20.000Z"
    assert warning in later["warnings"]
    assert first["state"] == before["state"]
    assert [c["state"] for c in first["connections"]] == [c["state"] for c in before["connections"]]


def test_a_black_hole_is_told_when_two_looks_in_a_row_find_the_same() -> None:
    hole = Finding(
        code="MtuBlackHole",
        subject="hangzhou/primary",
        severity=Severity.WARNING,
        text="up to 1300 bytes",
        hint="mtu: 1300",
    )
    other = replace(hole, text="up to 1320 bytes")

    assert confirmed((hole,), ()) == ()
    assert confirmed((hole,), (hole,)) == (hole,)
    assert confirmed((other,), (hole,)) == ()  # a full tunnel draws another line each time
    assert confirmed((), (hole,)) == ()
    assert confirmed(routes(), ()) == routes()
