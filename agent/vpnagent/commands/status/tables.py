"""Tables that fit: columns leave in the order of their importance until a line holds the rest. Pure."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from vpnagent.commands.status.canvas import (
    BLANK,
    Canvas,
    Line,
    Span,
    Tone,
    age,
    line,
    loss_of,
    milliseconds,
    paragraph,
    percent,
    rate,
    some,
    word,
)
from vpnagent.record import Json, record

GAP = 2  #: characters between columns


@record(frozen=True, slots=True)
class Column:
    """A column: its title, and its place in the queue of those that stay."""

    title: str
    importance: int = 0  #: 0 always stays; the greatest leave first, those of one importance together
    right: bool = False  #: figures end at the same place


@record(frozen=True, slots=True, kw_only=True)
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


# The tables of connections, tunnels, routes and failovers. Pure.

Beneath = Callable[[str], Iterable[Line]]  #: what else stands beneath a tunnel, by its name

CONNECTION = (Column("CONNECTION"), Column("STATE"), Column("FORWARDING", 1), Column("TRAFFIC"))
TUNNEL = (
    Column("TUNNEL"),
    Column("ROLE", 4),
    Column("STATE"),
    Column("SINCE", 1),
    Column("IKE_SA", 6),
    Column("CHILD_SA", 6),
    Column("RTT", 2, right=True),
    Column("LOSS", 2, right=True),
    Column("RX", 3, right=True),
    Column("TX", 3, right=True),
    Column("USE", 5, right=True),
    Column("INTERFACE", 8),
    Column("REMOTE", 9),
    Column("REASON", 10),
)
REASON = len(TUNNEL) - 1
ROUTE = (Column("ROUTE"), Column("STATE"), Column("VIA"), Column("INTERFACE", 1))
FAILOVER = (
    Column("FAILOVER"),
    Column("AGO"),
    Column("FROM"),
    Column("TO"),
    Column("REASON", 1),
    Column("DETECTION", 2, right=True),
    Column("SWITCH", 3, right=True),
    Column("FIRST_REPLY", 4, right=True),
    Column("AT", 5),
)
UNUSED = "unused"
NEXTHOPS = 2  #: of a route that a terminal names
ROUTES_ALIKE = 8  #: routes of one state and way that a terminal shows one by one


def connections(status: Json, canvas: Canvas) -> Iterable[Line]:
    """Yield the connections: which tunnels carry the traffic of each."""
    rows = [
        Row(
            cells=(
                Span(c["name"]),
                word(c["state"]),
                Span(c["forwarding"]),
                _traffic(c),
            )
        )
        for c in status["connections"]
    ]
    return grid(CONNECTION, rows, canvas.width)


def _traffic(connection: Json) -> Span:
    if connection["active"]:
        return Span(", ".join(connection["active"]))
    others = connection.get("carried_by")
    return Span(f"by {', '.join(others)}") if others else word("none")


def tunnels(status: Json, now: datetime, canvas: Canvas, more: Beneath = lambda _: ()) -> Iterable[Line]:
    """Yield the tunnels; why one is not up stands beneath it, unless a column or a problem tells it."""
    named = [(f"{c['name']}/{t['name']}", t) for c in status["connections"] for t in c["tunnels"]]
    rows = [Row(cells=_tunnel(name, t, now)) for name, t in named]
    apart = REASON not in fitting(TUNNEL, rows, canvas.width)
    told = " ".join(warning["text"] for warning in status["warnings"])
    rows = [
        Row(cells=row.cells, beneath=[*(_reason(t, told, canvas) if apart else ()), *more(name)])
        for row, (name, t) in zip(rows, named, strict=True)
    ]
    return grid(TUNNEL, rows, canvas.width)


def _tunnel(name: str, tunnel: Json, now: datetime) -> Sequence[Span]:
    return (
        Span(("* " if tunnel["forwarding"] else "  ") + name),
        Span(tunnel["role"]),
        word(tunnel["state"]),
        Span(age(tunnel["since"], now)),
        word(tunnel["ike_sa"]),
        word(tunnel["child_sa"]),
        Span(milliseconds(tunnel["path"]["rtt_seconds"])),
        _loss(loss_of(tunnel["path"])),
        Span(rate(tunnel["rx_bits_per_second"])),
        Span(rate(tunnel["tx_bits_per_second"])),
        Span(percent(round(tunnel["utilisation_ratio"], 2))),
        Span(tunnel["interface"]),
        Span(tunnel.get("remote_address", "")),
        Span(tunnel["reason"]),
    )


def _loss(ratio: float | None) -> Span:
    return Span(percent(ratio), Tone.WARN if ratio else Tone.PLAIN)


def _reason(tunnel: Json, told: str, canvas: Canvas) -> Iterable[Line]:
    if tunnel["state"] == "up" or tunnel["reason"] in told:
        return ()
    return paragraph(tunnel["reason"], width=canvas.width, first=line("    "), tone=Tone.FAINT)


def routes(status: Json, canvas: Canvas) -> Iterable[Line]:
    """Yield the routes; a terminal has those that are alike on one line if they are many."""
    names = {t["interface"]: f"{c['name']}/{t['name']}" for c in status["connections"] for t in c["tunnels"]}
    alike: dict[tuple[str, ...], list[str]] = {}
    for route in status["routes"]:
        way = [route["by"]] if route.get("by") else route["nexthops"]
        alike.setdefault((route["state"], *way), []).append(route["prefix"])
    rows = []
    for (state, *interfaces), prefixes in alike.items():
        fold = len(prefixes) > ROUTES_ALIKE and not canvas.is_pipe
        most = len(interfaces) if canvas.is_pipe else NEXTHOPS
        via = some([names.get(i, i) for i in interfaces], most) or "unreachable"
        via = f"not used: a route by {via}" if state == UNUSED else via
        rows += [
            Row(cells=(Span(prefix), word(state), Span(via), Span(some(interfaces, most))))
            for prefix in ([some(prefixes, 2)] if fold else prefixes)
        ]
    return grid(ROUTE, rows, canvas.width)


def failovers(status: Json, now: datetime, canvas: Canvas) -> Iterable[Line]:
    """Yield the last failover of each connection that had one, and how long it took."""
    rows = [
        _failover(c["name"], c["last_failover"], now) for c in status["connections"] if c["last_failover"]
    ]
    return grid(FAILOVER, rows, canvas.width) if rows else ()


def _failover(name: str, failover: Json, now: datetime) -> Row:
    return Row(
        cells=(
            Span(name),
            Span(age(failover["at"], now)),
            Span("+".join(failover["from"]) or "none"),
            Span("+".join(failover["to"]) or "none"),
            Span(failover["reason"]),
            Span(milliseconds(failover["detection_seconds"])),
            Span(milliseconds(failover["switch_seconds"])),
            Span(milliseconds(failover.get("first_reply_seconds"))),
            Span(failover["at"]),
        )
    )
