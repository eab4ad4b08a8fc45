"""The status as text for a person: what is wrong first, then the tunnels, then the routes. Pure."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

COLOURS = {
    "up": "green",
    "installed": "green",
    "established": "green",
    "degraded": "yellow",
    "drained": "yellow",
    "init": "yellow",
    "hold-down": "yellow",
    "trial": "yellow",
    "guarded": "yellow",
    "rekeying": "green",
    "connecting": "yellow",
    "warning": "yellow",
    "info": "cyan",
    "down": "red",
    "missing": "red",
    "none": "red",
    "critical": "red",
}

TUNNEL_COLUMNS = (
    "  TUNNEL",
    "ROLE",
    "STATE",
    "SINCE",
    "IKE_SA",
    "CHILD_SA",
    "RTT",
    "LOSS",
    "INTERFACE",
    "RX",
    "TX",
    "REASON",
)
MINUTE, HOUR, DAY = 60, 3600, 86400


def status_text(status: dict[str, Any], now: datetime) -> str:
    """Return the whole screen, with ANSI colours; click removes them where there is no terminal."""
    charon = status["charon"]
    version = charon["version"] or "?"
    engine = f"charon {version}" if charon["connected"] else "charon unreachable"
    lines = [f"{status['gateway']}: {paint(status['state'])}   {engine}"]
    lines += [_warning(w, now) for w in status["warnings"] if w["severity"] != "info"]
    if notes := sum(w["severity"] == "info" for w in status["warnings"]):
        lines.append(f"  {notes} note{'s' * (notes > 1)}: vpnagent check")
    for connection in status["connections"]:
        lines += ["", *_connection(connection, now)]
    if status["routes"]:
        rows = [_route(route) for route in status["routes"]]
        lines += ["", *table(("ROUTE", "STATE", "VIA"), rows)]
    return "\n".join(lines)


def _route(route: dict[str, Any]) -> tuple[str, ...]:
    return (route["prefix"], route["state"], ", ".join(route["nexthops"]) or "unreachable")


def _warning(warning: dict[str, Any], now: datetime) -> str:
    since = age(warning["since"], now)
    return f"  {paint(warning['severity'])}: {warning['text']} (since {since})\n      -> {warning['hint']}"


def _connection(connection: dict[str, Any], now: datetime) -> Iterable[str]:
    yield (
        f"connection {connection['name']}: {paint(connection['state'])}   {connection['forwarding']}, "
        f"traffic on {', '.join(connection['active']) or 'no tunnel'}"
    )
    if failover := connection["last_failover"]:
        detected = milliseconds(failover["detection_seconds"])
        switched = milliseconds(failover["switch_seconds"])
        yield (
            f"  last failover {age(failover['at'], now)} ago: {'+'.join(failover['from'])} -> "
            f"{'+'.join(failover['to']) or 'none'} ({failover['reason']}), "
            f"detected in {detected}, switched in {switched}"
        )
        yield from _timeline(failover["timeline"])
    rows = [
        (
            ("* " if t["forwarding"] else "  ") + t["name"],
            t["role"],
            t["state"],
            age(t["since"], now),
            t["ike_sa"],
            t["child_sa"],
            milliseconds(t["path"]["rtt_seconds"]),
            percent(t["path"]["loss_ratio"]),
            t["interface"],
            rate(t["rx_bits_per_second"]),
            rate(t["tx_bits_per_second"]),
            t["reason"],
        )
        for t in connection["tunnels"]
    ]
    yield from table(TUNNEL_COLUMNS, rows)


def _timeline(timeline: Sequence[dict[str, Any]]) -> Iterable[str]:
    """Yield a failover's moments on two lines: up to the verdict, and what followed."""
    moments = [
        f"{moment['at'][11:26]} {moment['what']}"
        + (f" ({signed(moment['offset_seconds'])})" if moment["offset_seconds"] else "")
        for moment in timeline
    ]
    before = sum(moment["offset_seconds"] <= 0 for moment in timeline)
    yield from ("      " + ", ".join(part) for part in (moments[:before], moments[before:]) if part)


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the rows as aligned columns; words that have a colour get it."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    return [
        "  ".join(paint(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]


def paint(word: str, width: int = 0) -> str:
    """Return the word padded to ``width`` characters, coloured where it has a colour."""
    return (
        click.style(word, fg=COLOURS[word]) + " " * (width - len(word))
        if word in COLOURS
        else word.ljust(width)
    )


def age(since: str, now: datetime) -> str:
    """Return how long ago an RFC 3339 time was, in its two largest units."""
    seconds = max(0, int((now - datetime.fromisoformat(since).astimezone(UTC)).total_seconds()))
    if seconds < MINUTE:
        return f"{seconds}s"
    if seconds < HOUR:
        return f"{seconds // MINUTE}m{seconds % MINUTE:02}s"
    if seconds < DAY:
        return f"{seconds // HOUR}h{seconds % HOUR // MINUTE:02}m"
    return f"{seconds // DAY}d{seconds % DAY // HOUR:02}h"


def rate(bits_per_second: float) -> str:
    """Return a rate with a decimal unit, as the configuration writes it."""
    for unit, size in (("Gbps", 1e9), ("Mbps", 1e6), ("kbps", 1e3)):
        if bits_per_second >= size:
            return f"{bits_per_second / size:.3g}{unit}"
    return f"{bits_per_second:.0f}bps"


def milliseconds(seconds: float | None) -> str:
    """Return a time in milliseconds, or a dash where there is none."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.3g}ms" if seconds < 1 else f"{seconds * 1000:.0f}ms"


def signed(seconds: float) -> str:
    """Return a time before or after another one in milliseconds, to the hundredth, with its sign."""
    return f"{seconds * 1000:+.2f}ms"


def percent(ratio: float | None) -> str:
    """Return a ratio as a percentage, or a dash where there is none."""
    return "-" if ratio is None else f"{ratio * 100:.3g}%"
