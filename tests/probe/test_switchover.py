"""What the groups hold, and what an operator is told."""

from dataclasses import replace

from tests.probe.simulation import BACKUP, ESP, GROUP, PRIMARY, World, make_intent, next_trial

from vpnagent.policy.selection import PathState, Verdict
from vpnagent.probe.switchover import Groups


def test_groups_begin_with_what_the_kernel_has_and_follow_the_verdicts() -> None:
    intent = make_intent()
    ids = {t.key: t.nexthop_id for t in intent.tunnels()}
    groups = Groups(replace(intent, groups=(replace(intent.groups[0], members=((ids[BACKUP], 1),)),)))
    verdicts = dict.fromkeys(ids, Verdict(child_sa_installed=True))
    assert groups.reselect(verdicts) == [GROUP]
    assert groups.selected == {"hangzhou": ("backup",)}
    assert groups.reselect(verdicts) == []
    verdicts[BACKUP] = Verdict(child_sa_installed=True, path=PathState.UP)
    assert groups.reselect(verdicts) == []  # the primary was not heard yet
    verdicts[PRIMARY] = Verdict(child_sa_installed=True, path=PathState.UP)
    assert groups.reselect(verdicts) == [GROUP]
    assert groups.selected == {"hangzhou": ("primary",)}


def test_findings_say_what_is_wrong_and_what_to_do() -> None:
    world = World(make_intent(own=False))
    world.run(5.0)
    assert world.shell.core.findings() == ()
    world.fault("primary", ESP)
    world.run(3.0)
    [finding] = world.shell.core.findings()
    assert (finding.code, finding.subject) == ("TunnelLeftDown", "hangzhou/primary")
    report = world.shell.core.paths()[0]
    assert report.held
    assert report.failed_trials == 0
    assert next_trial(world.shell.core, PRIMARY) is not None
