"""What a socket may take answers from, and which are believed.

A blind forger is believed by nobody: one hit is unproven, and a live path is never doubted.
"""

import pytest
from tests.probe.test_packets import packet, run_filter

from vpnagent.probe.packets import filter_program
from vpnagent.probe.slots import LATEST, MOST, STEADY, Expected, Outstanding, Slot, Unproven

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


TUNNEL, OTHER_TUNNEL, LAN = 7, 8, 3  # indexes of interfaces


class Asking:
    """One slot, asked ten times a second."""

    def __init__(self) -> None:
        self.known: Outstanding[int, str] = Outstanding()
        self.now = 100.0
        self.sequence = 0
        self.unproven: Unproven | None = None

    def ask(self, times: int = 1) -> int:
        for _ in range(times):
            self.now += 0.1
            self.sequence += 1
            self.known.sent(self.sequence, 1, self.sequence, "it", self.now)
        return self.sequence

    def hear(self, key: int, interface: int = TUNNEL) -> int | None:
        """Return the sequence that is told; None: nothing is."""
        assert self.known.find(key, self.now + 0.01)
        told = self.known.answered(key, interface, self.now + 0.01, in_tunnel=interface != LAN)
        self.unproven = told if isinstance(told, Unproven) else None
        return None if told is None or isinstance(told, Unproven) else told[1]

    def settle(self, interface: int = TUNNEL) -> int | None:
        """Ask once more, and hear the answer."""
        assert self.unproven
        self.known.sent(-1, 1, self.unproven, "it", self.now)
        return self.hear(-1, interface)

    def heard(self) -> "Asking":
        """Begin as a path that is heard."""
        self.hear(self.ask())
        assert self.settle() == 1
        return self


def test_what_is_heard_for_the_first_time_is_asked_once_more_and_then_told() -> None:
    asking = Asking()
    assert asking.hear(asking.ask()) is None
    assert asking.settle() == 1
    assert asking.hear(asking.ask()) == 2


def test_a_path_that_is_heard_now_and_then_is_not_doubted() -> None:
    asking = Asking().heard()
    for _ in range(10):
        assert asking.hear(key := asking.ask(STEADY)) == key


def test_hits_on_a_silent_path_are_not_told_however_many() -> None:
    asking = Asking().heard()
    asking.ask(STEADY)
    for _ in range(10):
        assert asking.hear(asking.ask()) is None
        assert asking.unproven


def test_what_comes_by_no_tunnel_is_asked_once_more_and_then_told() -> None:
    asking = Asking().heard()
    assert asking.hear(key := asking.ask(), LAN) is None
    assert asking.settle(LAN) == key
    assert asking.hear(key := asking.ask(), LAN) == key
    assert asking.hear(asking.ask(), TUNNEL) is None
    assert asking.settle(LAN) is None  # that is another way: nothing is settled


def test_a_cloud_that_returns_by_another_tunnel_is_not_doubted() -> None:
    asking = Asking().heard()
    assert asking.hear(key := asking.ask(), OTHER_TUNNEL) == key


def test_an_answer_counts_once_and_for_a_while() -> None:
    asking = Asking().heard()
    key = asking.ask()
    assert asking.known.find(key, asking.now + LATEST)
    assert asking.known.find(key, asking.now + LATEST + 0.001) is None
    asking.hear(key)
    assert asking.known.find(key, asking.now + 0.02) is None


def test_what_awaits_an_answer_is_bounded() -> None:
    known: Outstanding[int, None] = Outstanding()
    for key in range(2 * MOST):
        known.sent(key, 1, key, None, 1.0)
    kept = [known.find(key, 1.0) is not None for key in (0, MOST - 1, MOST, 2 * MOST - 1)]
    assert kept == [False, False, True, True]


def test_what_is_asked_no_more_is_answered_no_more() -> None:
    asking = Asking().heard()
    key = asking.ask()
    asking.known.keep(frozenset({2}))
    assert asking.known.find(key, asking.now) is None
