"""A blind forger is believed by nobody: one hit is a doubt, and a live path is never doubted."""

from vpnagent.probe.outstanding import LATEST, MOST, STEADY, Outstanding

TUNNEL, LAN = 7, 3  # indexes of interfaces


class Asking:
    """One slot, asked ten times a second."""

    def __init__(self) -> None:
        self.known: Outstanding[int, str] = Outstanding()
        self.now = 100.0
        self.sequence = 0

    def ask(self) -> int:
        self.now += 0.1
        self.sequence += 1
        self.known.sent(self.sequence, 1, self.sequence, "it", self.now)
        return self.sequence

    def hear(self, key: int, interface: int = TUNNEL, after: float = 0.01) -> list[int] | None:
        """Return the sequences that are told, None where it is to be asked once more."""
        assert self.known.find(key, self.now + after)
        told = self.known.answered(key, interface, self.now + after, in_tunnel=interface == TUNNEL)
        return None if told is None else [sequence for _, sequence, _, _ in told]

    def settle(self, interface: int = TUNNEL) -> list[int] | None:
        """Ask once more, and hear the answer."""
        self.known.sent(-1, 1, None, "it", self.now)
        return self.hear(-1, interface)

    def heard(self) -> "Asking":
        """Begin as a path that is heard."""
        self.hear(self.ask())
        assert self.settle() == [1]
        return self


def test_what_is_heard_for_the_first_time_is_asked_once_more_and_then_told() -> None:
    asking = Asking()
    assert asking.hear(asking.ask()) is None
    assert asking.settle() == [1]
    assert asking.hear(asking.ask()) == [2]


def test_a_path_that_is_heard_now_and_then_is_not_doubted() -> None:
    asking = Asking().heard()
    for _ in range(10):
        for _ in range(STEADY - 1):
            asking.ask()
        assert asking.hear(key := asking.ask()) == [key]


def test_one_hit_on_a_silent_path_is_not_told_unless_another_follows() -> None:
    asking = Asking().heard()
    for _ in range(STEADY):
        asking.ask()
    assert asking.hear(first := asking.ask()) is None
    asking.now += LATEST + 0.1
    assert asking.hear(second := asking.ask()) is None  # too late for the first
    assert asking.hear(third := asking.ask()) == [second, third]
    assert first not in (second, third)


def test_what_comes_by_no_tunnel_is_asked_once_more_and_then_told() -> None:
    asking = Asking().heard()
    assert asking.hear(key := asking.ask(), LAN) is None
    assert asking.settle(LAN) == [key]
    assert asking.hear(key := asking.ask(), LAN) == [key]
    assert asking.hear(asking.ask(), TUNNEL) is None
    assert asking.settle(LAN) == []  # that is another way: nothing is settled


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
    assert [known.find(key, 1.0) is not None for key in (0, MOST - 1, MOST, 2 * MOST - 1)] == [
        False,
        False,
        True,
        True,
    ]


def test_what_is_asked_no_more_is_answered_no_more() -> None:
    asking = Asking().heard()
    key = asking.ask()
    asking.known.keep(frozenset({2}))
    assert asking.known.find(key, asking.now) is None
