from datetime import UTC, datetime, timedelta

import pytest

from vpnagent.commands.status.canvas import age, clock, loss_of, milliseconds, percent, rate, signed, some

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (61, "1m01s"), (3600, "1h00m"), (90061, "1d01h"), (-5, "0s")],
)
def test_an_age_has_two_units(seconds: int, text: str) -> None:
    assert age((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == text


@pytest.mark.parametrize(
    ("bits", "text"), [(0, "0bps"), (999, "999bps"), (64000, "64kbps"), (2.5e8, "250Mbps"), (1e9, "1Gbps")]
)
def test_a_rate_is_decimal(bits: float, text: str) -> None:
    assert rate(bits) == text


def test_an_age_does_not_depend_on_the_zone_in_which_the_time_is_written() -> None:
    assert age("2026-11-23T19:59:00+08:00", NOW) == "1m00s"


@pytest.mark.parametrize(("seconds", "text"), [(None, "-"), (0.0123, "12.3ms"), (1.5, "1500ms")])
def test_a_round_trip_is_in_milliseconds(seconds: float | None, text: str) -> None:
    assert milliseconds(seconds) == text


@pytest.mark.parametrize(("ratio", "text"), [(None, "-"), (0.0, "0%"), (0.055, "5.5%")])
def test_a_loss_is_in_percent(ratio: float | None, text: str) -> None:
    assert percent(ratio) == text


def test_an_offset_has_its_sign() -> None:
    assert (signed(-0.3727), signed(0.0241)) == ("-372.70ms", "+24.10ms")


def test_a_clock_keeps_the_precision() -> None:
    assert clock("2026-11-23T06:32:06.192106Z") == "06:32:06.192106Z"


@pytest.mark.parametrize(("most", "text"), [(3, "a, b, c"), (2, "a, b and 1 more")])
def test_names_beyond_the_most_are_counted(most: int, text: str) -> None:
    assert some(["a", "b", "c"], most) == text


@pytest.mark.parametrize(
    ("rtt", "ratio", "loss"), [(None, 0.0, None), (None, None, None), (None, 1.0, 1.0), (0.01, 0.0, 0.0)]
)
def test_a_path_that_is_not_probed_loses_nothing_known(
    rtt: float | None, ratio: float | None, loss: float | None
) -> None:
    assert loss_of({"rtt_seconds": rtt, "loss_ratio": ratio}) == loss
