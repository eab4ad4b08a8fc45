from hypothesis import given
from hypothesis import strategies as st

from vpnagent.commands.status.canvas import Span, line, plain, word
from vpnagent.commands.status.tables import GAP, Column, Row, fitting, grid, total

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
