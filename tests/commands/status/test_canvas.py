from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.commands.status.canvas import (
    ASCII,
    NARROWEST,
    UNICODE,
    Glyphs,
    Span,
    Tone,
    age,
    can_unicode,
    clock,
    legible,
    line,
    loss_of,
    milliseconds,
    paragraph,
    percent,
    plain,
    rate,
    signed,
    some,
    word,
)
from vpnagent.commands.status.history import rtt_top, sparkline
from vpnagent.commands.status.tables import GAP, Column, Row, fitting, grid, total
from vpnagent.knowledge.tunnels import ChildStatus, IkeStatus, TunnelState


@pytest.mark.parametrize(
    ("environ", "encoding", "can"),
    [
        ({"LANG": "en_US.UTF-8"}, "utf-8", True),
        ({"LANG": "C.UTF-8", "LC_CTYPE": "C.UTF-8"}, "utf-8", True),
        ({"LANG": "C", "LC_CTYPE": "zh_CN.utf8"}, "utf-8", True),
        ({"LC_CTYPE": "UTF-8"}, "utf-8", True),
        ({"LANG": "C"}, "utf-8", False),
        ({}, "utf-8", False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, "utf-8", False),  # Python's own doing: PEP 538
        ({"LC_CTYPE": "C.UTF-8"}, "utf-8", False),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, "utf-8", False),
        ({"LC_ALL": "C.UTF-8"}, "utf-8", True),
        ({"LANG": "zh_CN.GB18030"}, "gb18030", False),
        ({"LANG": "en_US.UTF-8"}, "ascii", False),
    ],
)
def test_unicode_is_drawn_only_where_the_locale_has_it(
    environ: dict[str, str], encoding: str, *, can: bool
) -> None:
    assert can_unicode(environ, encoding) is can


def test_the_ascii_glyphs_are_ascii_and_as_many() -> None:
    assert (ASCII.arrow + ASCII.levels + ASCII.gap).isascii()
    assert len(ASCII.levels) == len(UNICODE.levels) == len(set(ASCII.levels))


@given(st.text(), st.sampled_from(["utf-8", "ascii", "latin-1"]))
def test_nothing_that_steers_a_terminal_or_cannot_be_shown_is_left(text: str, encoding: str) -> None:
    shown = legible([{"reason": text}], encoding)[0]["reason"]
    assert shown.isprintable()
    assert shown.encode(encoding).decode(encoding) == shown


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert legible(text, "ascii") == text


def test_a_peers_escape_sequence_is_spelled_out() -> None:
    assert legible("id '\x1b[2J'", "utf-8") == r"id '\x1b[2J'"
    assert legible("杭州", "utf-8") == "杭州"
    assert legible("杭", "ascii") == r"\u676d"


def test_what_is_no_text_is_not_touched() -> None:
    assert legible({"loss_ratio": 0.5, "rtt_seconds": None, "up": True}, "ascii") == {
        "loss_ratio": 0.5,
        "rtt_seconds": None,
        "up": True,
    }


COLUMNS = (Column("NAME"), Column("ROLE", 2), Column("RX", 1, right=True), Column("TX", 1, right=True))
CELL = st.text("abc", max_size=12).map(Span)
ROWS = st.lists(st.tuples(CELL, CELL, CELL, CELL).map(lambda cells: Row(cells=cells)), min_size=1, max_size=4)


def drawn(rows: list[Row], width: int | None) -> list[str]:
    return [plain(told) for told in grid(COLUMNS, rows, width)]


@given(ROWS, st.integers(16, 60))
def test_a_table_is_no_wider_than_it_may_be_and_ends_no_line_with_a_space(
    rows: list[Row], width: int
) -> None:
    for told in drawn(rows, width):
        assert len(told) <= width
        assert told == told.rstrip()


@given(ROWS, st.integers(4, 60))
def test_what_stays_matters_at_least_as_much_as_what_leaves(rows: list[Row], width: int) -> None:
    everything, kept = fitting(COLUMNS, rows, None), fitting(COLUMNS, rows, width)
    left = [COLUMNS[i].importance for i in everything if i not in kept]
    assert all(COLUMNS[i].importance < min(left, default=9) for i in kept)
    assert 0 in kept


@given(ROWS, st.integers(4, 60))
def test_no_more_leaves_than_has_to(rows: list[Row], width: int) -> None:
    everything, kept = fitting(COLUMNS, rows, None), fitting(COLUMNS, rows, width)
    left = [i for i in everything if i not in kept]
    if left:
        nearest = min(COLUMNS[i].importance for i in left)
        assert total(COLUMNS, rows, kept + [i for i in left if COLUMNS[i].importance == nearest]) > width


@given(ROWS)
def test_a_pipe_has_every_column_that_has_something_in_it(rows: list[Row]) -> None:
    kept = fitting(COLUMNS, rows, None)
    assert all(i in kept or not any(row.cells[i].text for row in rows) for i in range(len(COLUMNS)))


def test_columns_are_aligned_figures_at_their_end() -> None:
    rows = [
        Row(cells=[Span("a"), Span("active"), Span("9bps"), Span("10Mbps")]),
        Row(cells=[Span("longer"), Span("standby"), Span("120Mbps"), Span("-")]),
    ]
    assert drawn(rows, None) == [
        "NAME    ROLE          RX      TX",
        "a       active      9bps  10Mbps",
        "longer  standby  120Mbps       -",
    ]


def test_what_belongs_beneath_a_row_follows_it() -> None:
    rows = [Row(cells=[word("up"), *[Span("")] * 3], beneath=[line("  why")]), Row(cells=[word("down")] * 4)]
    assert drawn(rows, 4)[1:] == ["up", "  why", "down"]


def test_columns_that_matter_alike_leave_together() -> None:
    rows = [Row(cells=[Span("x" * 8), Span(""), Span("y" * 8), Span("z" * 8)])]
    assert fitting(COLUMNS, rows, 8 + GAP + 8) == [0]


WORDS = st.lists(st.text("abc:,-", min_size=1, max_size=12), min_size=1, max_size=20)


@given(WORDS, st.integers(min_value=40, max_value=200), st.integers(0, 20))
def test_a_paragraph_fits_is_aligned_and_keeps_every_word(words: list[str], width: int, indent: int) -> None:
    text = " ".join(words)
    lines = [plain(part) for part in paragraph(text, width=width, first=line("*" * indent))]
    assert all(len(part) <= width for part in lines)
    assert all(part[:indent] == " " * indent for part in lines[1:])
    assert " ".join(part[indent:] for part in lines) == text


@given(WORDS)
def test_without_a_width_a_paragraph_is_one_line(words: list[str]) -> None:
    assert len(list(paragraph(" ".join(words), width=None))) == 1


def test_in_less_than_nothing_a_paragraph_still_has_room() -> None:
    lines = [plain(part) for part in paragraph("one two three four five", width=5, first=line("      "))]
    assert max(map(len, lines)) <= 6 + NARROWEST


def test_every_state_has_a_tone() -> None:
    for state in (*TunnelState, *IkeStatus, *ChildStatus):
        assert word(state.value).tone is not Tone.PLAIN, state


def test_other_words_are_plain() -> None:
    assert word("hangzhou") == Span("hangzhou", Tone.PLAIN)


RATIO = st.floats(0.0, 1.0)


@pytest.mark.parametrize("glyphs", [ASCII, UNICODE])
def test_zero_is_the_lowest_bar_all_the_highest_and_the_unknown_a_gap(glyphs: Glyphs) -> None:
    low, high = glyphs.levels[0], glyphs.levels[-1]
    assert sparkline([0.0, None, 1.0], 1.0, glyphs) == low + glyphs.gap + high


@given(RATIO, RATIO)
def test_a_greater_value_has_no_lower_bar(one: float, other: float) -> None:
    bars = [ASCII.levels.index(sparkline([value], 1.0, ASCII)) for value in sorted((one, other))]
    assert bars == sorted(bars)


@given(st.floats(min_value=1e-9, max_value=1.0))
def test_the_least_loss_is_seen(loss: float) -> None:
    assert sparkline([loss], 1.0, ASCII) != ASCII.levels[0]


@given(st.floats(1e-4, 10.0))
def test_a_steady_round_trip_time_is_half_high(rtt: float) -> None:
    assert sparkline([rtt] * 3, rtt_top([rtt] * 3), UNICODE) in ("▄▄▄", "▅▅▅")


@given(st.lists(st.floats(1e-4, 10.0), min_size=1))
def test_nothing_is_beyond_the_top(rtts: list[float]) -> None:
    assert rtt_top(rtts) >= max(rtts)


def test_nothing_heard_has_no_scale() -> None:
    assert sparkline([None, None], rtt_top([]), ASCII) == "  "


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
