"""Every event for a hook is delivered once, lost and counted, or waits; in order, within bounds."""

from hypothesis import given
from hypothesis import strategies as st

from vpnagent.events.backlog import MOST, PAUSES, Backlog, Notification
from vpnagent.events.event import Event, Happening, event_of
from vpnagent.events.services import Limit
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
        trying: Notification = backlog.due(now) if meanwhile else ()  # an attempt during which events come
        for _ in range(coming):
            offered += 1
            backlog.offer(event(offered))
        trying = trying or backlog.due(now)
        if trying:
            [one] = trying
            attempts[one.sequence] = attempts.get(one.sequence, 0) + 1
            if success:
                backlog.delivered(trying)
                delivered.append(one.sequence)
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
        backlog.failed((event(1),), "refused", now, retries=20)
        ends = backlog.deadline()
        assert ends is not None
        assert backlog.due(ends - 0.001) == ()
        now = ends
    pauses = [*PAUSES, *[PAUSES[-1]] * 20]
    assert now == 100.0 + sum(pauses[:failures])


def test_a_lost_event_is_an_error_until_one_is_delivered() -> None:
    backlog = Backlog()
    backlog.offer(event(1))
    backlog.offer(event(2))
    backlog.failed((event(1),), "HTTP status 404", 0.0, retries=0)
    assert (backlog.error, backlog.lost, len(backlog)) == ("HTTP status 404", 1, 1)
    backlog.delivered((event(2),))
    assert (backlog.error, backlog.lost, len(backlog)) == (None, 1, 0)


def test_a_pause_ends_when_told_to() -> None:
    backlog = Backlog()
    backlog.offer(event(1))
    backlog.failed((event(1),), "refused", 0.0, retries=1)
    assert backlog.due(0.5) == ()
    backlog.hurry()
    assert backlog.due(0.5) == (event(1),)


def test_too_many_events_push_out_the_oldest() -> None:
    backlog = Backlog()
    for sequence in range(MOST + 2):
        backlog.offer(event(sequence + 1))
    assert backlog.lost == 2
    assert backlog.due(0.0) == (event(3),)
    assert backlog.error == f"more than {MOST} events wait"


#: seconds that pass, events that come, and how the attempt that is due ends
ends = st.sampled_from(["delivered", "refused", "too many"])
limited_steps = st.lists(st.tuples(st.floats(0, 40), st.integers(0, 3), ends), max_size=60)


@given(limited_steps, st.integers(0, 3))
def test_what_a_rate_limit_holds_back_is_joined_and_none_is_lost_unseen(
    steps: list[tuple[float, int, str]], retries: int
) -> None:
    limit = Limit(3, 60.0, 100.0)
    backlog, now, offered = Backlog(limit), 0.0, 0
    sent: list[float] = []
    told: list[int] = []
    for passed, coming, end in steps:
        now += passed
        for _ in range(coming):
            offered += 1
            backlog.offer(event(offered))
        if not (message := backlog.due(now)):
            continue
        backlog.attempted(now)
        sent.append(now)
        if end == "delivered":
            backlog.delivered(message)
            told += [one.sequence for one in message]
        elif end == "refused":
            backlog.failed(message, "refused", now, retries=retries)
        else:
            lost = backlog.lost
            backlog.refused_for_its_rate(now, limit.pause)
            assert backlog.lost == lost
            assert backlog.due(now + limit.pause - 1) == ()
        assert offered == len(told) + backlog.lost + len(backlog)
    assert told == sorted(set(told))
    assert all(later - first >= limit.period for first, later in zip(sent, sent[3:], strict=False))


def test_a_message_that_failed_is_tried_again_as_it_was() -> None:
    backlog = Backlog(Limit(10, 60.0, 100.0))
    backlog.offer(event(1))
    first = backlog.due(0.0)
    backlog.failed(first, "refused", 0.0, retries=1)
    backlog.offer(event(2))
    assert backlog.due(10.0) == first
    backlog.failed(first, "refused", 10.0, retries=1)
    assert (backlog.lost, len(backlog)) == (1, 1)


def test_a_storm_of_a_hundred_is_a_few_messages() -> None:
    backlog, now = Backlog(Limit(18, 60.0, 600.0)), 0.0
    messages: list[Notification] = []
    for number in range(1, 101):
        backlog.offer(event(number))
        now += 0.1
        if due := backlog.due(now):
            backlog.attempted(now)
            backlog.delivered(due)
            messages.append(due)
    while (deadline := backlog.deadline()) is not None:
        due = backlog.due(deadline)
        backlog.attempted(deadline)
        backlog.delivered(due)
        messages.append(due)
    assert [one.sequence for message in messages for one in message] == list(range(1, 101))
    assert len(messages) == 19
    assert len(messages[-1]) == 82
