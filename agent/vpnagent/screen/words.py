"""Times, rates and ratios in a few characters. Pure."""

from datetime import UTC, datetime
from typing import Any

MINUTE, HOUR, DAY = 60, 3600, 86400


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


def loss_of(path: dict[str, Any]) -> float | None:
    """Return a path's loss ratio; None while nothing was answered and nothing lost: it is not probed."""
    loss: float | None = path["loss_ratio"]
    return loss if loss or path["rtt_seconds"] is not None else None


def clock(at: str) -> str:
    """Return the time of day of an RFC 3339 time in UTC, in the precision it has."""
    return at[11:]


def some(names: list[str], most: int) -> str:
    """Return names as a list of at most ``most`` of them, and how many are left out."""
    left = len(names) - most
    return ", ".join(names) if left <= 0 else f"{', '.join(names[:most])} and {left} more"
