import logging

import pytest
from tests.config_examples import make_config

from vpnagent.config.values import TunnelKey
from vpnagent.knowledge import Knowledge
from vpnagent.report import findings, refresh
from vpnagent.selection import Verdict
from vpnagent.tunnels import ChildStatus, IkeStatus, SaStatus

PRIMARY = TunnelKey("hangzhou", "primary")
BACKUP = TunnelKey("hangzhou", "backup")
INSTALLED = SaStatus(ike=IkeStatus.ESTABLISHED, child=ChildStatus.INSTALLED)


def known(*up: TunnelKey) -> Knowledge:
    """Return what is known when exactly these tunnels are up and the others have failed."""
    known = Knowledge(config=make_config(), loaded_at=0.0)
    known.charon.connected = True
    known.charon.statuses = dict.fromkeys(up, INSTALLED)
    known.charon.verdicts = {key: Verdict(child_sa_installed=True) for key in up}
    failed = {PRIMARY, BACKUP} - set(up)
    known.charon.troubles = dict.fromkeys(failed, "PskMismatch: refused")
    known.charon.hints = dict.fromkeys(failed, "compare the keys")
    return known


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
