"""What a viewer remembers: a mark for every look at the status, and what changed between two. Pure."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from vpnagent.commands.status.canvas import Glyphs, Line, legible, line, loss_of, word
from vpnagent.record import Json

MARKS: Final = 300  #: looks that are remembered
CHANGES: Final = 50


class HistoryMark(NamedTuple):
    """One tunnel at one look; None where nobody knows: no answer, or nothing heard."""

    rtt: float | None  #: seconds
    loss: float | None  #: ratio


class ScreenChange(NamedTuple):
    """Something that differed from the look before."""

    at: datetime
    what: Line


@dataclass(slots=True)
class History:
    """Drive it with ``take()`` or ``miss()``, once a look."""

    encoding: str = "utf-8"  #: what the viewer's terminal can show
    status: Json | None = None  #: the last one that was told
    taken_at: datetime | None = None
    error: str = ""  #: why the last look failed; empty: it did not
    marks: dict[str, deque[HistoryMark]] = field(default_factory=dict)  #: by tunnel
    changes: deque[ScreenChange] = field(default_factory=lambda: deque(maxlen=CHANGES))  #: the latest last

    def take(self, status: Json, now: datetime) -> None:
        """Take in a status."""
        status = legible(status, self.encoding)
        if self.error:
            self._note(now, line("the daemon answers again"))
        for what in differences(self.status, status) if self.status else ():
            self._note(now, what)
        self.status, self.taken_at, self.error = status, now, ""
        present = {name: tunnel["path"] for name, tunnel in tunnels(status)}
        for name, path in present.items():
            self._mark(name, HistoryMark(path["rtt_seconds"], loss_of(path)))
        for name in self.marks.keys() - present.keys():
            del self.marks[name]

    def miss(self, error: str, now: datetime) -> None:
        """Take in that there was no answer, and why."""
        if not self.error:
            self._note(now, line("the daemon does not answer"))
        self.error = legible(error, self.encoding)
        for name in self.marks:
            self._mark(name, HistoryMark(None, None))

    def _mark(self, name: str, mark: HistoryMark) -> None:
        self.marks.setdefault(name, deque(maxlen=MARKS)).append(mark)

    def _note(self, now: datetime, what: Line) -> None:
        self.changes.append(ScreenChange(now, what))


def tunnels(status: Json) -> Iterator[tuple[str, Json]]:
    """Yield the tunnels by their names, CONNECTION/TUNNEL."""
    for connection in status["connections"]:
        for tunnel in connection["tunnels"]:
            yield f"{connection['name']}/{tunnel['name']}", tunnel


def differences(old: Json, new: Json) -> Iterator[Line]:
    """Yield what somebody who watches would want to be told of."""
    yield from _whole(old, new)
    before, after = dict(tunnels(old)), dict(tunnels(new))
    for name in before | after:
        was, is_ = (t[name]["state"] if name in t else "absent" for t in (before, after))
        if was != is_:
            reason = f": {after[name]['reason']}" if name in after else ""
            yield line(f"{name} ", word(was), " to ", word(is_), reason)
    active = {c["name"]: c["active"] for c in old["connections"]}
    for connection in new["connections"]:
        was, is_ = active.get(connection["name"], []), connection["active"]
        if was != is_:
            yield line(f"{connection['name']} traffic {'+'.join(was) or 'none'} to {'+'.join(is_) or 'none'}")
    yield from _warnings(old, new)


def _whole(old: Json, new: Json) -> Iterator[Line]:
    if old["state"] != new["state"]:
        yield line(f"{new['gateway']} ", word(old["state"]), " to ", word(new["state"]))
    if old["charon"]["connected"] != new["charon"]["connected"]:
        yield line("charon connected" if new["charon"]["connected"] else "charon unreachable")
    if old["config"]["loaded_at"] != new["config"]["loaded_at"]:
        yield line("configuration loaded")


def _warnings(old: Json, new: Json) -> Iterator[Line]:
    before, after = ({_key(w): w for w in status["warnings"]} for status in (old, new))
    for key in [key for key in after if key not in before]:
        yield line("began: ", word(after[key]["severity"]), f" {' '.join(key)}")
    for key in [key for key in before if key not in after]:
        yield line(f"ended: {' '.join(key)}")


def _key(warning: Json) -> tuple[str, ...]:
    return tuple(part for part in (warning["code"], warning.get("subject", "")) if part)


# A row of figures as a row of bars. Pure.


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
