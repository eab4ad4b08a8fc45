from hypothesis import given
from hypothesis import strategies as st

from vpnagent.probe.inbox import ReceiveTime

MS = 1_000_000
S = 1_000 * MS
WALL = 1_800_000_000 * S


def test_a_stamp_is_put_on_the_monotonic_scale() -> None:
    clock = ReceiveTime(0, WALL)
    clock.begin(100 * MS, WALL + 100 * MS)
    assert clock.of(WALL + 99 * MS) == 99 * MS


def test_a_packet_without_a_stamp_came_now() -> None:
    clock = ReceiveTime(0, WALL)
    clock.begin(100 * MS, WALL + 100 * MS)
    assert clock.of(None) == 100 * MS


@given(st.integers(-(10**6), 10**6).filter(lambda seconds: seconds != 0))
def test_a_step_of_the_wall_clock_falls_back_to_now_and_is_over_with_the_next_drain(step: int) -> None:
    clock = ReceiveTime(0, WALL)
    clock.begin(100 * MS, WALL + 100 * MS + step * S)
    assert clock.of(WALL + 99 * MS) == 100 * MS
    clock.end()
    clock.begin(200 * MS, WALL + 200 * MS + step * S)
    assert clock.of(WALL + 150 * MS + step * S) == 150 * MS


def test_slewing_at_the_kernels_maximum_is_no_step() -> None:
    clock = ReceiveTime(0, WALL)
    clock.begin(3600 * S, WALL + 3600 * S + 3600 * S // 2000)
    assert clock.of(WALL + 3599 * S + 3600 * S // 2000) == 3599 * S


@given(st.integers(0, 5 * S), st.integers(-10 * S, 10 * S))
def test_no_stamp_lies_outside_the_time_since_the_socket_was_empty(age: int, step: int) -> None:
    clock = ReceiveTime(0, WALL)
    clock.begin(10 * S, WALL + 10 * S)
    clock.end()
    clock.begin(15 * S, WALL + 15 * S + step)
    assert 10 * S <= clock.of(WALL + 15 * S - age) <= 15 * S
