"""What is known of a tunnel under its former name."""

from dataclasses import replace

from tests.config_examples import make_config
from tests.status.test_report import path

from vpnagent.config.values import TunnelKey
from vpnagent.daemon.live_change import carry_over
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.policy.selection import PathState, Verdict

CONFIG = make_config()
PRIMARY, BACKUP = (tunnel.key for tunnel in CONFIG.tunnels())
OTHER = TunnelKey("beijing", "other")


def test_everything_known_goes_with_the_name() -> None:
    known = Knowledge(config=CONFIG, loaded_at=0.0, drained=frozenset({PRIMARY}))
    known.charon.verdicts = {
        PRIMARY: Verdict(child_sa_installed=True),
        BACKUP: Verdict(child_sa_installed=False),
    }
    known.probe.paths = {PRIMARY: path(PRIMARY, PathState.DOWN)}
    known.kernel.selected = {"hangzhou": ("primary",)}
    [connection] = CONFIG.connections
    first, second = connection.tunnels
    known.config = replace(
        CONFIG,
        connections=(replace(connection, name="beijing", tunnels=(replace(first, key=OTHER), second)),),
    )
    carry_over(known, {OTHER: PRIMARY})
    verdict = known.verdicts()[OTHER]
    assert (verdict.child_sa_installed, verdict.drained, verdict.path) == (True, True, PathState.DOWN)
    assert known.probe.paths[OTHER].tunnel == OTHER
    assert known.carrying() == {OTHER}


def test_without_a_new_name_nothing_changes() -> None:
    known = Knowledge(config=CONFIG, loaded_at=0.0)
    known.kernel.selected = {"hangzhou": ("backup",)}
    carry_over(known, {})
    assert known.carrying() == {BACKUP}
