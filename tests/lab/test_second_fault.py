"""The second fault: what carries dies while the other was left down, or both do, or they take turns.

Outages are those of a stream both ways: a kilohertz, but where the faults take turns for minutes. Each tunnel
has a target of its own, or both share one behind the cloud.
"""

import pytest
from lab.gateway import LabGateway, start
from lab.sequences import BOUND, Course
from lab.topology import BACKUP, PRIMARY, LabTunnel
from lab.world import Lab

from lab import sequences

pytestmark = [
    pytest.mark.deadline(400),
    pytest.mark.slow("faults that lie minutes apart, on a clock that skips"),
]
TARGETS = pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
TAKING_TURNS = 75.0  # seconds; five minutes are a trial


def judge(lab: Lab, course: Course, *blamed: set[str]) -> None:
    """What holds for every sequence."""
    print(f"\n{course}")
    assert course.outages, "the fault was none"
    assert max(course.outages) <= BOUND, course
    assert course.reset == [], course
    assert course.blamed == list(blamed), course
    assert lab.observer.leaks() == []


@TARGETS
def test_a_standby_that_was_left_down_and_healed_takes_over(
    lab: Lab, gateway: LabGateway, *, shared: bool
) -> None:
    start(gateway, shared=shared)
    course = sequences.second_fault(lab, gateway)
    judge(lab, course, {"backup"}, {"primary"})


@TARGETS
@pytest.mark.parametrize("returns", [PRIMARY, BACKUP], ids=lambda each: each.name)
def test_of_two_dead_tunnels_the_one_that_returns_carries(
    lab: Lab, gateway: LabGateway, returns: LabTunnel, *, shared: bool
) -> None:
    start(gateway, shared=shared)
    course = sequences.both_die(lab, gateway, returns)
    judge(lab, course, {"primary", "backup"}, {sequences.other(returns).name})


@TARGETS
def test_a_fault_that_moves_from_tunnel_to_tunnel_is_left_each_time(
    lab: Lab, gateway: LabGateway, *, shared: bool
) -> None:
    start(gateway, shared=shared)
    course = sequences.alternating(lab, gateway, TAKING_TURNS)
    turns = len(course.blamed)
    assert len(course.outages) >= turns >= 4, course
    judge(lab, course, *({("primary", "backup")[turn % 2]} for turn in range(turns)))


@TARGETS
def test_a_target_that_limits_its_answers_blames_nobody_and_hides_no_fault(
    lab: Lab, gateway: LabGateway, *, shared: bool
) -> None:
    start(gateway, shared=shared)
    course = sequences.policed(lab, gateway, shared=shared)
    judge(lab, course, set(), {"primary"})
