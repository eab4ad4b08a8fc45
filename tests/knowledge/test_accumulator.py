from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vpnagent.knowledge.counters import REMEMBERED, Accumulator, Counts, Reading


@dataclass
class Step:
    """What happens to one of two sources before the next reading."""

    source: str
    begins_again: bool
    grows: tuple[int, int]
    missing: bool  #: from the reading


grows = st.tuples(st.integers(0, 5), st.integers(0, 5))
steps = st.lists(
    st.builds(
        Step,
        source=st.sampled_from("ab"),
        begins_again=st.booleans(),
        grows=grows,
        missing=st.booleans(),
    ),
    max_size=30,
)


def read(steps: list[Step]) -> tuple[list[dict[str, Counts]], dict[tuple[str, int], Counts]]:
    """Return the sums after each step, and what each life was last read to have counted."""
    accumulator: Accumulator[str] = Accumulator()
    lives: dict[str, int] = defaultdict(int)
    counts: dict[tuple[str, int], Counts] = {("a", 0): (0, 0), ("b", 0): (0, 0)}
    last: dict[tuple[str, int], Counts] = {}
    history = []
    for step in steps:
        lives[step.source] += step.begins_again
        life = (step.source, lives[step.source])
        first, second = counts.get(life, (0, 0))
        counts[life] = (first + step.grows[0], second + step.grows[1])
        present = [(key, lives[key]) for key in "ab" if not (step.missing and key == step.source)]
        seen = {life: counts[life] for life in present}
        last |= seen
        accumulator.update(Reading(life[0], life, seen[life]) for life in seen)
        history.append({key: accumulator.of(key, 2) for key in "ab"})
    return history, last


@given(steps)
def test_a_sum_never_goes_back(steps: list[Step]) -> None:
    history, _ = read(steps)
    for before, after in pairwise(history):
        assert all(new >= old for key in "ab" for old, new in zip(before[key], after[key], strict=True))


@given(steps)
def test_a_sum_is_what_all_lives_together_were_read_to_have_counted(steps: list[Step]) -> None:
    history, last = read(steps)
    for key in "ab" if history else "":
        lives = [counts for (of, _), counts in last.items() if of == key] or [(0, 0)]
        assert history[-1][key] == tuple(map(sum, zip(*lives, strict=True)))


@given(st.lists(st.integers(1, 100), min_size=2))
def test_a_first_count_that_goes_back_began_again(counts: list[int]) -> None:
    accumulator: Accumulator[str] = Accumulator()
    for count in counts:
        accumulator.update([Reading("a", "always the same", (count,))])

    lost_by_none = sum(
        new - old if new >= old else new for old, new in zip([0, *counts], counts, strict=False)
    )
    assert accumulator.of("a", 1) == (lost_by_none,)


@given(st.lists(st.integers(0, 100), min_size=1))
def test_another_count_that_goes_back_is_waited_for(counts: list[int]) -> None:
    accumulator: Accumulator[str] = Accumulator()
    for first, count in enumerate(counts):
        accumulator.update([Reading("a", 1, (first, count))])

    assert accumulator.of("a", 2) == (len(counts) - 1, max(counts))


def test_what_belongs_to_another_key_now_is_not_counted_twice() -> None:
    accumulator: Accumulator[str] = Accumulator()
    accumulator.update([Reading("old name", 7, (100,))])
    accumulator.update([Reading("new name", 7, (110,))])

    assert (accumulator.of("old name", 1), accumulator.of("new name", 1)) == ((100,), (10,))


def test_two_lives_of_one_key_at_a_time_are_both_counted() -> None:
    accumulator: Accumulator[str] = Accumulator()
    for count in (1, 2):
        accumulator.update([Reading("a", 7, (count,)), Reading("a", 8, (10 * count,))])

    assert accumulator.of("a", 1) == (22,)


def test_what_is_remembered_of_the_dead_is_bounded() -> None:
    accumulator: Accumulator[str] = Accumulator()
    for life in range(3 * REMEMBERED):
        accumulator.update([Reading("a", life, (1,))])

    assert accumulator.of("a", 1) == (3 * REMEMBERED,)
    assert len(accumulator._highest) <= REMEMBERED + 1
