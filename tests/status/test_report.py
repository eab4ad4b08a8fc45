import logging
import pathlib
import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from tests.config_examples import make_config
from tools.screens import NOW, document

from vpnagent.config.values import Forwarding, TunnelKey
from vpnagent.finding import Finding, Severity
from vpnagent.ipsec.failure_reason import Reason
from vpnagent.ipsec.negotiation_failure import NegotiationFailed
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.knowledge.tunnels import ChildStatus, IkeStatus, SaStatus, TunnelState
from vpnagent.policy.selection import PathState, Verdict
from vpnagent.probe.actions import Cause, PathReport
from vpnagent.status.report import findings, refresh

PRIMARY = TunnelKey("hangzhou", "primary")
BACKUP = TunnelKey("hangzhou", "backup")
PSK = NegotiationFailed(connection="", reason=Reason.PSK_MISMATCH, text="refused", hint="compare the keys")
INSTALLED = SaStatus(ike=IkeStatus.ESTABLISHED, child=ChildStatus.INSTALLED)


def known(*up: TunnelKey) -> Knowledge:
    """Return what is known when exactly these tunnels are up and the others have failed."""
    known = Knowledge(config=make_config(), loaded_at=0.0)
    known.charon.connected = True
    known.charon.statuses = dict.fromkeys(up, INSTALLED)
    known.charon.verdicts = {key: Verdict(child_sa_installed=True) for key in up}
    failed = {PRIMARY, BACKUP} - set(up)
    known.charon.failures = dict.fromkeys(failed, PSK)
    return known


def path(key: TunnelKey, state: PathState, *, held: bool = False) -> PathReport:
    return PathReport(
        tunnel=key,
        state=state,
        cause=Cause.SILENT,
        reason="silent for 300 ms",
        rtt=None,
        loss_ratio=0.0,
        target=IPv4Address("169.254.10.1"),
        sent=0,
        answered=0,
        lost=0,
        held=held,
        trial=False,
        failed_trials=None,
        waiting_for_peer=False,
    )


def findings_of(known: Knowledge) -> list[Finding]:
    refresh(known, 1.0)
    return list(findings(known))


def codes(known: Knowledge) -> set[str]:
    refresh(known, 1.0)
    return {f.code for f in findings(known)}


def test_all_is_well() -> None:
    assert codes(known(PRIMARY, BACKUP)) == set()


def test_a_tunnel_that_is_down_is_told_with_its_reason_and_its_hint() -> None:
    partly = known(PRIMARY)
    assert codes(partly) == {"TunnelDown", "NoStandby"}
    [down] = [f for f in findings(partly) if f.code == "TunnelDown"]
    assert down.text == "tunnel hangzhou/backup is down: PskMismatch: refused"
    assert down.hint == "compare the keys"


def test_a_failure_of_a_tunnel_that_carries_is_a_warning_and_the_tunnel_stays_up() -> None:
    up = known(PRIMARY, BACKUP)
    up.charon.failures = {PRIMARY: PSK}
    assert codes(up) == {"NegotiationFailed"}
    [failing] = findings(up)
    assert "PskMismatch: refused" in failing.text
    assert (failing.severity, failing.hint) == (Severity.WARNING, "compare the keys")
    assert up.tunnels.views[PRIMARY].state is TunnelState.UP


def test_other_lifetimes_are_a_note() -> None:
    up = known(PRIMARY, BACKUP)
    up.charon.remarks = {PRIMARY: replace(PSK, reason=Reason.LIFETIME_MISMATCH)}
    assert [(f.code, f.severity) for f in findings_of(up)] == [("LifetimeMismatch", Severity.INFO)]


def test_the_hint_of_a_negotiation_is_not_given_for_what_it_did_not_cause() -> None:
    down = known(PRIMARY, BACKUP)
    refresh(down, 1.0)
    down.charon.statuses = {BACKUP: INSTALLED}
    down.charon.verdicts = {BACKUP: Verdict(child_sa_installed=True)}
    [told] = [f for f in findings_of(down) if f.code == "TunnelDown"]
    assert told.text.endswith("no CHILD_SA")
    assert told.hint != PSK.hint


def test_a_trial_of_a_tunnel_that_was_left_down_is_no_end_of_its_being_down() -> None:
    held = known(PRIMARY, BACKUP)
    for trial in (False, True, False):
        left = replace(path(BACKUP, PathState.DOWN, held=True), trial=trial)
        held.probe.paths = {PRIMARY: path(PRIMARY, PathState.UP), BACKUP: left}
        assert codes(held) == {"TunnelDown", "NoStandby"}


def test_with_no_tunnel_left_the_standby_is_not_what_is_missing() -> None:
    assert codes(known()) == {"TunnelDown"}


def test_a_drain_is_a_warning() -> None:
    drained = known(PRIMARY, BACKUP)
    drained.drained = frozenset({PRIMARY})
    assert "TunnelDrained" in codes(drained)


def test_a_lost_charon_and_a_refused_file_are_told() -> None:
    lost = known(PRIMARY, BACKUP)
    lost.charon.error = "charon: connect: no such file"
    lost.config_error = "vpnagent.yaml:3: gateway: must be a mapping\nmore"
    assert codes(lost) == {"CharonUnreachable", "ConfigReloadFailed"}
    assert all("\n" not in f.text for f in findings(lost))


def test_each_change_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    partly = known(PRIMARY)
    with caplog.at_level(logging.INFO, "vpnagent"):
        refresh(partly, 1.0)
        once = [record.getMessage().split()[0] for record in caplog.records]
        refresh(partly, 2.0)
    assert once == ["tunnel-state", "tunnel-state"]
    assert len(caplog.records) == len(once)


# docs/status.md explains every field and every state of the status object.

PAGE = (pathlib.Path(__file__).parents[2] / "docs/status.md").read_text()
NAMED = set(re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)))
WORDS = {word for name in NAMED for word in re.split(r"[.\[\]]+", name)}


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from keys(part)
    elif isinstance(value, list):
        for part in value:
            yield from keys(part)


@pytest.mark.parametrize("field", sorted({key for name in NOW for key in keys(document(name))}))
def test_every_field_is_explained(field: str) -> None:
    assert field in WORDS


@pytest.mark.parametrize("kind", [TunnelState, PathState, IkeStatus, ChildStatus, Forwarding, Cause])
def test_every_word_is_explained(kind: Any) -> None:
    assert {member.value for member in kind} <= WORDS


def test_the_states_of_routes_are_explained() -> None:
    assert {"installed", "guarded", "missing"} <= WORDS
