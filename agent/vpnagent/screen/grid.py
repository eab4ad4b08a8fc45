"""Tables that fit: columns leave in the order of their importance until a line holds the rest. Pure."""

from collections.abc import Iterable, Sequence

from vpnagent.record import dataclass
from vpnagent.screen.line import BLANK, Line, Span, Tone, line

GAP = 2  #: characters between columns


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, and its place in the queue of those that stay."""

    title: str
    importance: int = 0  #: 0 always stays; the greatest leave first, those of one importance together
    right: bool = False  #: figures end at the same place


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table, and what stands beneath it."""

    cells: Sequence[Span]  #: one for each column
    beneath: Sequence[Line] = ()


def grid(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> Iterable[Line]:
    """Yield title and rows of the columns that fit in ``width`` characters; None: all of them."""
    kept = fitting(columns, rows, width)
    widths = {i: max(len(columns[i].title), *(len(row.cells[i].text) for row in rows)) for i in kept}
    title = Row(cells=[Span(column.title, Tone.TITLE) for column in columns])
    for row in (title, *rows):
        parts: list[Span] = []
        for i in kept:
            cell = row.cells[i]
            filling = " " * (widths[i] - len(cell.text))
            left, right = (filling, "") if columns[i].right else ("", filling)
            parts += [Span(" " * GAP * (i != kept[0]) + left), cell, Span(right)]
        yield trimmed(line(*parts))
        yield from row.beneath


def fitting(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> list[int]:
    """Return the columns that stay, in their order; those without any content leave first."""
    kept = [
        i for i, column in enumerate(columns) if not column.importance or any(r.cells[i].text for r in rows)
    ]
    while width is not None and total(columns, rows, kept) > width:
        least = max(columns[i].importance for i in kept)
        if not least:
            break
        kept = [i for i in kept if columns[i].importance < least]
    return kept


def total(columns: Sequence[Column], rows: Sequence[Row], kept: Sequence[int]) -> int:
    """Return how wide a table of these columns is, in characters."""
    widths = (max(len(columns[i].title), *(len(row.cells[i].text) for row in rows)) for i in kept)
    return sum(widths) + GAP * (len(kept) - 1)


def trimmed(line_: Line) -> Line:
    """Return the line without spaces at its end, which a program would have to cut off."""
    while line_ and not line_[-1].text.strip():
        line_ = line_[:-1]
    return (*line_[:-1], line_[-1]._replace(text=line_[-1].text.rstrip())) if line_ else BLANK
