import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.knowledge.counters import Rate, Rates
from vpnagent.netlink.rtnetlink import LinkCounters


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
