from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import make_config

from vpnagent.config.values import TunnelKey
from vpnagent.knowledge.counters import REMEMBERED, Accumulator, Counts, Probes, Rate, Rates, Reading, Traffic
from vpnagent.netlink.rtnetlink import LinkCounters
from vpnagent.policy.desired import desired
from vpnagent.policy.selection import PathState
from vpnagent.probe.actions import LATENESS_BOUNDS, RTT_BOUNDS, Cause, PathReport
from vpnagent.probe.protocol import ProberReport, TunnelMeter
from vpnagent.routing.objects import KernelObjects, KernelState, XfrmLink


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


# What the counters are made of: interfaces that are made again, probers that begin again.

PRIMARY, BACKUP = TunnelKey("hangzhou", "primary"), TunnelKey("hangzhou", "backup")
LINK = XfrmLink(name="vpn-hz-1", if_id=1, alias=PRIMARY.owner, mtu=1399, address=None, up=True)


def kernel(link: XfrmLink, *, index: int, rx_bytes: int) -> KernelState:
    counters = LinkCounters(rx_bytes=rx_bytes, tx_bytes=2, rx_packets=3, tx_packets=4, index=index)
    return KernelState(
        objects=KernelObjects(links={link.name: link}),
        foreign_links=frozenset(),
        foreign_routes=frozenset(),
        counters={link.name: counters},
    )


def test_the_alias_of_the_example_names_its_tunnel() -> None:
    links = desired(make_config(), {}, frozenset()).kernel.links
    assert links["vpn-hz-1"].alias == PRIMARY.owner


def test_an_interface_that_is_made_again_counts_on() -> None:
    traffic = Traffic()
    traffic.update(kernel(LINK, index=7, rx_bytes=1000))
    traffic.update(kernel(LINK, index=8, rx_bytes=1500))  # more than before, and all of it new

    assert traffic.of(PRIMARY) == LinkCounters(rx_bytes=2500, tx_bytes=4, rx_packets=6, tx_packets=8)


def test_a_tunnel_counts_on_through_an_interface_of_another_name() -> None:
    traffic = Traffic()
    traffic.update(kernel(LINK, index=7, rx_bytes=1000))
    traffic.update(kernel(replace(LINK, name="vpn-new"), index=8, rx_bytes=1))

    assert traffic.of(PRIMARY).rx_bytes == 1001


def test_an_interface_that_becomes_another_tunnels_brings_nothing_along() -> None:
    traffic = Traffic()
    traffic.update(kernel(LINK, index=7, rx_bytes=1000))
    traffic.update(kernel(replace(LINK, alias=BACKUP.owner), index=7, rx_bytes=1001))

    assert (traffic.of(PRIMARY).rx_bytes, traffic.of(BACKUP).rx_bytes) == (1000, 1)


def test_a_tunnel_without_an_interface_keeps_its_count() -> None:
    traffic = Traffic()
    traffic.update(kernel(LINK, index=7, rx_bytes=1000))
    traffic.update(
        KernelState(
            objects=KernelObjects(), foreign_links=frozenset(), foreign_routes=frozenset(), counters={}
        )
    )

    assert traffic.of(PRIMARY).rx_bytes == 1000


def report(sent: int, lost: int, answered: int = 0) -> ProberReport:
    path = PathReport(
        tunnel=PRIMARY,
        state=PathState.UP,
        cause=Cause.START,
        reason="",
        rtt=None,
        loss_ratio=0.0,
        target=make_config().tunnels()[0].probe.targets[0],
        sent=sent,
        answered=answered,
        lost=lost,
        held=False,
        trial=False,
        failed_trials=None,
        waiting_for_peer=False,
    )
    return ProberReport(
        at=0.0,
        generation=1,
        paths=(path,),
        selected=(),
        groups=(),
        findings=(),
        rtt=(TunnelMeter(tunnel=PRIMARY, counts=(answered, *[0] * len(RTT_BOUNDS)), total=0.001 * answered),),
        lateness=(sent, *[0] * len(LATENESS_BOUNDS)),
        lateness_total=0.0001 * sent,
        overflows=0,
        send_errors=0,
        groups_repaired=2,
        events_lost=0,
    )


def test_the_next_prober_counts_on() -> None:
    probes = Probes()
    probes.update(report(sent=10, lost=2, answered=8), prober=100)
    probes.update(report(sent=11, lost=1, answered=10), prober=101)

    assert (probes.sent(PRIMARY), probes.lost(PRIMARY)) == (21, 3)
    assert probes.round_trips(PRIMARY).counts[0] == 18
    assert probes.lateness().counts[0] == 21
    assert probes.groups_repaired == 4


def test_a_daemon_that_adopts_a_prober_tells_what_that_has_counted() -> None:
    probes = Probes()
    probes.update(report(sent=10_000, lost=2), prober=100)

    assert probes.sent(PRIMARY) == 10_000


def test_a_late_answer_takes_no_lost_probe_back() -> None:
    probes = Probes()
    for sent, lost in enumerate((3, 2, 3, 4), start=10):
        probes.update(report(sent, lost), prober=100)

    assert probes.lost(PRIMARY) == 4


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), max_size=30
    )
)
def test_nothing_of_the_probers_counters_goes_back(rows: list[tuple[int, int, int, int]]) -> None:
    probes = Probes()
    before = [0.0] * 5
    for prober, sent, lost, answered in rows:
        probes.update(report(sent, lost, answered), prober)
        rtt, late = probes.round_trips(PRIMARY), probes.lateness()
        now = [probes.sent(PRIMARY), probes.lost(PRIMARY), rtt.counts[0], rtt.total, late.counts[0]]
        assert all(new >= old for old, new in zip(before, now, strict=True))
        before = now


def counters(rx: int, tx: int = 0) -> dict[str, LinkCounters]:
    return {"vpn1": LinkCounters(rx_bytes=rx, tx_bytes=tx, rx_packets=0, tx_packets=0)}


NOTHING = Rate(rx_bits_per_second=0.0, tx_bits_per_second=0.0)


def test_no_reading_or_one_gives_no_rate() -> None:
    rates = Rates()
    assert rates.rate("vpn1") == NOTHING
    rates.update(1.0, counters(1000))
    assert rates.rate("vpn1") == NOTHING


def test_a_rate_is_bits_over_seconds_in_each_direction() -> None:
    rates = Rates()
    rates.update(1.0, counters(0, 0))
    rates.update(3.0, counters(1000, 500))
    assert rates.rate("vpn1") == Rate(rx_bits_per_second=4000.0, tx_bits_per_second=2000.0)


def test_an_interface_made_anew_starts_from_zero() -> None:
    rates = Rates()
    rates.update(1.0, counters(10**9))
    rates.update(2.0, counters(10))
    assert rates.rate("vpn1") == NOTHING


def test_an_unknown_interface_has_no_rate() -> None:
    rates = Rates()
    rates.update(1.0, counters(0))
    rates.update(2.0, counters(10))
    assert rates.rate("vpn2") == NOTHING


@given(st.lists(st.floats(min_value=0.1, max_value=3.0), min_size=20, max_size=60), st.integers(1, 10**6))
def test_a_steady_stream_has_its_rate_however_often_it_is_read(gaps: list[float], per_second: int) -> None:
    rates, now = Rates(), 0.0
    for gap in gaps:
        now += gap
        rates.update(now, counters(round(now * per_second)))
    assert rates.rate("vpn1").rx_bits_per_second == pytest.approx(8 * per_second, abs=8)
