import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.config.units import duration, rate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("100ms", 0.1),
        ("3ms", 0.003),
        ("5s", 5.0),
        ("2m", 120.0),
        ("24h", 86400.0),
        ("1.5s", 1.5),
        ("7", 7.0),
        (86400, 86400.0),
        (0.25, 0.25),
        (0, 0.0),
    ],
)
def test_durations_are_seconds(text: object, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "bits_per_second"),
    [
        ("64kbps", 64e3),
        ("200Mbps", 200e6),
        ("1Gbps", 1e9),
        ("2.5Gbps", 2.5e9),
        ("9bps", 9.0),
        ("8", 8.0),
        (64000, 64e3),
    ],
)
def test_rates_are_decimal_bits_per_second(text: object, bits_per_second: float) -> None:
    assert rate(text) == bits_per_second


WRONG = [
    "",
    " ",
    "s",
    "5 s",
    "5S",
    "-5s",
    "+5s",
    "1e3s",
    "5sec",
    "nan",
    "inf",
    "1:30",
    "\u0665s",
    "9" * 16 + "s",
    "5d",
]


@pytest.mark.parametrize("value", [*WRONG, None, True, -1, -0.1, math.nan, math.inf, 10**400, [5], {"s": 5}])
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(
        ValueError, match=r"^must be a duration such as 100ms, 5s, 2m, 24h, or a number of seconds, not "
    ):
        duration(value)


@pytest.mark.parametrize("value", ["200MBps", "200mbps", "200MiBps", "200 Mbps", "200M", "5s"])
def test_a_rate_is_spelled_in_one_way(value: str) -> None:
    with pytest.raises(ValueError, match=f"^must be a rate such as .* not '{value}'$"):
        rate(value)


@given(st.one_of(st.text(), st.floats(), st.integers(), st.booleans(), st.none()))
def test_whatever_is_given_the_answer_is_finite_and_not_negative(value: object) -> None:
    for parse in (duration, rate):
        try:
            found = parse(value)
        except ValueError:
            continue
        assert 0 <= found < math.inf


@given(st.integers(0, 10**9))
def test_a_number_with_a_unit_is_the_number_of_units(number: int) -> None:
    assert duration(f"{number}ms") == number / 1000
    assert duration(f"{number}s") == duration(number) == number
    assert rate(f"{number}kbps") == number * 1000
