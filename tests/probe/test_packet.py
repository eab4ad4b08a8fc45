"""Who may send what to whom, as a filter has it: judged by running its instructions."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.probe.test_icmp import run_filter

from vpnagent.probe import packets
from vpnagent.probe.packets import MOST_RANGES, between, filter_program

addresses = st.integers(0, 2**32 - 1).map(lambda number: number.to_bytes(4))
HERE = bytes([10, 1, 0, 1])


def packet(source: bytes, destination: bytes = HERE, protocol: int = 1) -> bytes:
    return bytes([0x45, *bytes(8), protocol, *bytes(2)]) + source + destination + bytes(8)


@given(st.sets(addresses, min_size=1, max_size=MOST_RANGES), st.lists(addresses, max_size=20))
def test_a_filter_passes_what_is_from_a_target_and_nothing_else(
    targets: set[bytes], others: list[bytes]
) -> None:
    program = filter_program((), between(targets, {HERE}))
    neighbours = [(int.from_bytes(t) + step).to_bytes(4) for t in targets for step in (1,) if t < b"\xff" * 4]
    for source in (*targets, *others, *neighbours):
        assert bool(run_filter(program, packet(source))) == (source in targets)
    assert not run_filter(program, packet(min(targets), bytes([10, 1, 0, 2])))


@given(st.sets(addresses, min_size=MOST_RANGES + 1, max_size=4 * MOST_RANGES))
def test_of_more_targets_than_fit_every_one_passes_and_the_program_stays_small(targets: set[bytes]) -> None:
    program = filter_program((), between(targets, {HERE}))
    assert all(run_filter(program, packet(source)) for source in targets)
    assert len(program) // 8 < 600
    far = max(int.from_bytes(b) - int.from_bytes(a) for a, b in _pairs(targets))
    gap = next(a for a, b in _pairs(targets) if int.from_bytes(b) - int.from_bytes(a) == far)
    assert far == 1 or not run_filter(program, packet((int.from_bytes(gap) + 1).to_bytes(4)))


def _pairs(targets: set[bytes]) -> list[tuple[bytes, bytes]]:
    return list(itertools.pairwise(sorted(targets)))


@pytest.mark.parametrize("protocol", [1, 6, 17])
def test_a_packet_sockets_filter_looks_at_the_protocol(protocol: int) -> None:
    program = filter_program((), protocol=1)
    assert bool(run_filter(program, packet(HERE, protocol=protocol))) == (protocol == 1)


def test_a_test_may_be_what_is_not_wanted() -> None:
    program = filter_program((packets.Test(0x50, 0, 0, wanted=False),))
    assert not run_filter(program, packet(HERE))
