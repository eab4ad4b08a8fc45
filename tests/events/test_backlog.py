"""Every event for a hook is delivered once, lost and counted, or waits; in order, within bounds."""

from hypothesis import given
from hypothesis import strategies as st

from vpnagent.events.event import Event, Happening, event_of
from vpnagent.events.hooks import MOST, PAUSES, Backlog
from vpnagent.finding import EventType, Severity


def event(sequence: int) -> Event:
    return event_of(Happening(type=EventType.FAILOVER, at=0.0, severity=Severity.INFO, text="x"), sequence)


#: seconds that pass, events that come, and whether the attempt that is due succeeds
steps = st.lists(
    st.tuples(st.floats(0, 40), st.integers(0, 3) | st.integers(0, 2 * MOST), st.booleans()), max_size=30
)


@given(steps, st.integers(0, 3), st.booleans())
def test_every_event_is_delivered_or_lost_and_counted_or_waits(
    steps: list[tuple[float, int, bool]], retries: int, meanwhile: bool
) -> None:
    backlog, now, offered = Backlog(), 0.0, 0
    delivered: list[int] = []
    attempts: dict[int, int] = {}
    for passed, coming, success in steps:
        now += passed
        trying = backlog.due(now) if meanwhile else None  # an attempt during which events come
        for _ in range(coming):
            offered += 1
            backlog.offer(event(offered))
        trying = trying or backlog.due(now)
        if trying is not None:
            attempts[trying.sequence] = attempts.get(trying.sequence, 0) + 1
            if success:
                backlog.delivered(trying)
                delivered.append(trying.sequence)
            else:
                backlog.failed(trying, "refused", now, retries=retries)
        assert len(backlog) <= MOST
        # What was pushed out during its own attempt counts as lost, and may yet have arrived.
        assert offered <= len(delivered) + backlog.lost + len(backlog) <= offered + meanwhile * len(delivered)
    assert delivered == sorted(set(delivered))
    assert all(count <= retries + 1 for count in attempts.values())


@given(st.integers(1, 12))
def test_the_pauses_grow_to_a_bound(failures: int) -> None:
    backlog, now = Backlog(), 100.0
    backlog.offer(event(1))
    for _ in range(failures):
        backlog.failed(event(1), "refused", now, retries=20)
        ends = backlog.deadline()
        assert ends is not None
        assert backlog.due(ends - 0.001) is None
        now = ends
    pauses = [*PAUSES, *[PAUSES[-1]] * 20]
    assert now == 100.0 + sum(pauses[:failures])


def test_a_lost_event_is_an_error_until_one_is_delivered() -> None:
    backlog = Backlog()
    backlog.offer(event(1))
    backlog.offer(event(2))
    backlog.failed(event(1), "HTTP status 404", 0.0, retries=0)
    assert (backlog.error, backlog.lost, len(backlog)) == ("HTTP status 404", 1, 1)
    backlog.delivered(event(2))
    assert (backlog.error, backlog.lost, len(backlog)) == (None, 1, 0)


def test_a_pause_ends_when_told_to() -> None:
    backlog = Backlog()
    backlog.offer(event(1))
    backlog.failed(event(1), "refused", 0.0, retries=1)
    assert backlog.due(0.5) is None
    backlog.hurry()
    assert backlog.due(0.5) == event(1)


def test_too_many_events_push_out_the_oldest() -> None:
    backlog = Backlog()
    for sequence in range(MOST + 2):
        backlog.offer(event(sequence + 1))
    assert backlog.lost == 2
    assert backlog.due(0.0) == event(3)
    assert backlog.error == f"more than {MOST} events wait"
