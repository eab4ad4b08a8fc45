"""However much happens, only so much is told; nothing is lost without a count, and the last word is told."""

from bisect import bisect_right
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from vpnagent.events.damping import (
    BURST,
    MOST_SUBJECTS,
    RATE,
    SUBJECT_BURST,
    SUBJECT_RATE,
    Damper,
    EventSubject,
)
from vpnagent.events.event import Happening
from vpnagent.finding import EventType, Severity


def happening(tunnel: int, kind: EventType = EventType.TUNNEL_DOWN, text: str = "") -> Happening:
    return Happening(
        type=kind, at=0.0, severity=Severity.INFO, text=text, connection="hz", tunnel=f"t{tunnel}"
    )


def stands_for(told: Happening) -> int:
    return 1 + int(told.fields.get("suppressed", 0))


kinds = st.sampled_from([EventType.TUNNEL_DOWN, EventType.TUNNEL_UP, EventType.FAILOVER])
#: pauses, and what happens after each: often of few subjects, sometimes hundreds at once
storms = st.lists(
    st.tuples(
        st.floats(0, 120),
        st.lists(st.tuples(st.integers(0, 3), kinds), max_size=12)
        | st.integers(0, 600).map(lambda n: [(i, EventType.TUNNEL_DOWN) for i in range(n)]),
    ),
    max_size=15,
)

Told = list[tuple[float, Happening]]
Step = tuple[float, list[tuple[int, EventType]]]


def drive(steps: list[Step], *, quiet: float = 0.0) -> tuple[list[Happening], Told]:
    """Return what happened and what was told when, with ``quiet`` seconds more in which nothing happens."""
    damper, happened, told = Damper(0.0), [], Told()
    moments = list(accumulate(pause for pause, _ in steps))
    for moment, (_, batch) in zip(moments, steps, strict=True):
        new = [happening(tunnel, kind, text=str(moment)) for tunnel, kind in batch]
        happened += new
        told += [(moment, h) for h in damper.take(new, moment)]
    end = moments[-1] if moments else 0.0
    for second in range(10, int(quiet) + 1, 10):
        told += [(end + second, h) for h in damper.take([], end + second)]
    return happened, told


def most_within(moments: list[float], period: float) -> int:
    """Return the largest number of moments, which are sorted, that a period holds."""
    return max((bisect_right(moments, begin + period) - i for i, begin in enumerate(moments)), default=0)


@given(storms, st.floats(0, 300))
def test_no_period_has_more_events_than_the_bound(steps: list[Step], period: float) -> None:
    _, told = drive(steps, quiet=60)
    assert most_within([at for at, _ in told], period) <= BURST + RATE * period + 1e-6


@given(storms, st.floats(0, 300))
def test_no_subject_has_more_events_than_its_bound(steps: list[Step], period: float) -> None:
    _, told = drive(steps, quiet=60)
    by_subject: dict[EventSubject, list[float]] = {}
    for at, happening_ in told:
        by_subject.setdefault(happening_.subject, []).append(at)
    for moments in by_subject.values():
        assert most_within(moments, period) <= SUBJECT_BURST + SUBJECT_RATE * period + 1e-6


@given(storms)
def test_when_it_is_quiet_again_every_happening_was_told_or_counted(steps: list[Step]) -> None:
    happened, told = drive(steps, quiet=700)
    assert sum(stands_for(h) for _, h in told) == len(happened)


@given(storms)
def test_when_it_is_quiet_again_the_last_word_of_each_subject_was_told(steps: list[Step]) -> None:
    happened, told = drive(steps, quiet=700)

    def last(all_of_them: list[Happening]) -> dict[EventSubject, EventType]:
        return {h.subject: h.type for h in all_of_them}

    assert last([h for _, h in told]) == last(happened)


def test_what_happens_seldom_is_told_at_once_and_as_it_is() -> None:
    damper = Damper(0.0)
    for minute in range(100):
        told = happening(1)
        assert damper.take([told], minute * 60.0) == [told]


def test_a_summary_says_how_many_it_stands_for() -> None:
    damper = Damper(0.0)
    told = damper.take([happening(1, text="down") for _ in range(5)], 0.0)
    assert len(told) == 1  # of one look only the newest
    assert told[0].text == "down (and 4 more changes before, not told one by one)"
    assert told[0].fields["suppressed"] == 4


def test_more_subjects_than_can_wait_are_counted() -> None:
    damper = Damper(0.0)
    damper.take([happening(tunnel) for tunnel in range(MOST_SUBJECTS + 100)], 0.0)
    told = [h for second in range(1, 3000) for h in damper.take([], float(second))]
    [counted] = [h for h in told if h.type is EventType.EVENTS_SUPPRESSED]
    assert counted.fields["suppressed"] == 100


def test_a_clock_that_steps_back_tells_no_more() -> None:
    damper = Damper(1000.0)
    told = [h for step in range(50) for h in damper.take([happening(1)], 1000.0 - step)]
    assert len(told) == SUBJECT_BURST
