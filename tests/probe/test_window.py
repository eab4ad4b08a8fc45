from ipaddress import IPv4Address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vpnagent.probe.intent import ProbeTarget
from vpnagent.probe.probes import SEQUENCES, ProbeRecord, RoundTrip, Window

TARGET = ProbeTarget(address=IPv4Address("169.254.1.1"), inside_peer=True)
SIZE, LOSS_INTERVAL = 16, 0.5


def send(window: Window, at: float, *, spare: bool = False) -> ProbeRecord:
    slot = window.open(TARGET, spare=spare)
    slot.sent_at = at
    return slot


@given(st.lists(st.sampled_from(["answered", "late", "lost", "failed", "spare"]), max_size=80))
def test_the_window_shows_the_last_probes(fates: list[str]) -> None:
    window, slots = Window(SIZE, 0.3), []
    for number, fate in enumerate(fates):
        at = number * 1.0
        slot = send(window, at, spare=fate == "spare")
        slots.append(slot)
        if fate == "failed":
            slot.sent_at = None
            window.void(slot)
        elif fate == "answered":
            window.answer(slot, 0.1)
        window.settle(at + 1 - LOSS_INTERVAL)
        if fate == "late":
            window.answer(slot, 0.7)
    shown = [fate for fate in fates[-SIZE:] if fate in ("answered", "late", "lost")]
    lost = shown.count("lost")

    assert window.lost == lost
    assert window.resolved == len(shown)
    assert window.loss_ratio == (lost / len(shown) if shown else 0.0)
    assert window.totals.lost == fates.count("lost")
    assert window.totals.answered == fates.count("answered") + fates.count("late")
    rtts = [0.1 if fate == "answered" else 0.7 for fate in shown if fate != "lost"]
    assert (window.mean_rtt is None) == (not rtts)
    if window.mean_rtt is not None:
        assert abs(window.mean_rtt - sum(rtts) / len(rtts)) < 1e-9


def test_what_is_under_way_is_neither_answered_nor_lost() -> None:
    window = Window(SIZE, 0.3)
    send(window, 1.0)
    window.settle(1.0)
    assert window.resolved == 0
    window.settle(1.1)
    assert window.loss_ratio == 1.0


def test_a_second_reply_counts_once() -> None:
    window = Window(SIZE, 0.3)
    slot = send(window, 1.0)
    window.answer(slot, 0.1)
    window.answer(slot, 0.2)
    assert window.totals.answered == 1
    assert window.totals.rtt.total == 0.1


def test_a_probe_is_found_by_its_sequence_until_it_leaves_the_view() -> None:
    window = Window(SIZE, 0.3)
    slot = send(window, 0.0)
    for number in range(1, SEQUENCES + 3):
        slot = send(window, float(number))
        assert window.find(number % SEQUENCES) is slot
    assert window.find(2 - SIZE + SEQUENCES) is None
    assert window.find(2) is slot


def test_a_new_view_forgets_losses_but_not_totals() -> None:
    window = Window(SIZE, 0.3)
    slots = [send(window, float(number)) for number in range(5)]
    window.settle(10.0)
    window.clear()
    window.answer(slots[0], 9.0)
    assert (window.lost, window.resolved, window.totals.lost) == (0, 0, 5)


def test_a_probe_whose_fate_was_never_told_does_not_block_the_window() -> None:
    window = Window(SIZE, 0.3)
    window.open(TARGET, spare=False)
    for number in range(2 * SIZE):
        window.answer(send(window, float(number)), 0.1)
    window.settle(100.0)
    assert window.resolved == SIZE


@given(st.lists(st.floats(min_value=1e-4, max_value=2), min_size=1))
def test_patience_exceeds_the_round_trip_but_not_by_more_than_its_limit(rtts: list[float]) -> None:
    estimate: Any = RoundTrip(0.3)
    assert estimate.patience == 0.3
    for rtt in rtts:
        estimate.update(rtt)
    assert min(rtts) <= estimate.srtt <= max(rtts)
    assert estimate.srtt + RoundTrip.FLOOR <= estimate.patience <= estimate.srtt + 0.3 + 1e-9
