"""A row of figures as a row of bars. Pure."""

from collections.abc import Sequence

from vpnagent.screen.canvas import Glyphs


def sparkline(values: Sequence[float | None], top: float, glyphs: Glyphs) -> str:
    """Return a bar for each value from zero to ``top``: the lowest is zero and nothing else, None a gap."""
    bars = (glyphs.gap if v is None else glyphs.levels[_level(v, top, len(glyphs.levels))] for v in values)
    return "".join(bars)


def _level(value: float, top: float, levels: int) -> int:
    if value <= 0 or top <= 0:
        return 0
    return min(levels - 1, 1 + int(value / top * (levels - 1)))


def rtt_top(values: Sequence[float]) -> float:
    """Return the top of a scale on which a steady round-trip time is half high, and an outlier is not cut."""
    ordered = sorted(values)
    return max(2 * ordered[len(ordered) // 2], ordered[-1]) if ordered else 0.0
