"""What a socket may take answers from, as its filter has it: judged by running its instructions."""

import pytest
from tests.probe.test_icmp import run_filter
from tests.probe.test_packet import packet

from vpnagent.probe.packets import filter_program
from vpnagent.probe.slots import Expected, Slot

HERE, ELSEWHERE = bytes([10, 1, 0, 1]), bytes([10, 1, 0, 2])
TARGET, OTHER = bytes([172, 16, 0, 10]), bytes([172, 16, 0, 11])


def slot(source: bytes | None) -> Slot:
    return Slot(1, ("172.16.0.10", 0), [], [], source=source)


def passes(expected: Expected, source: bytes, destination: bytes) -> bool:
    return bool(run_filter(filter_program((), expected.ends()), packet(source, destination)))


@pytest.mark.parametrize(
    ("slots", "source", "destination", "wanted"),
    [
        ((slot(HERE),), TARGET, HERE, True),
        ((slot(HERE),), TARGET, ELSEWHERE, False),
        ((slot(HERE),), OTHER, HERE, False),
        ((slot(None),), TARGET, ELSEWHERE, True),
        ((slot(None), slot(HERE)), TARGET, ELSEWHERE, True),
        ((slot(None),), OTHER, ELSEWHERE, False),
        ((), TARGET, HERE, False),
    ],
)
def test_answers_come_from_a_target_to_where_it_was_asked_from(
    slots: tuple[Slot, ...], source: bytes, destination: bytes, wanted: bool
) -> None:
    assert passes(Expected(slots), source, destination) == wanted
