"""`./dev screens`: draws what a person sees, from the status documents in tests/data/status.

The pictures of docs/screens, and the texts of tests/commands/status/expected at every size; the tests hold
both to what is made here.
"""

import io
import json
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from vpnagent.commands.status.canvas import ASCII, UNICODE, Canvas, Line, plain
from vpnagent.commands.status.history import History
from vpnagent.commands.status.overview import overview
from vpnagent.commands.status.viewer import drawn, live

ROOT = Path(__file__).parent.parent
DOCUMENTS = ROOT / "tests/data/status"
TEXTS = ROOT / "tests/commands/status/expected"
PICTURES = ROOT / "docs/screens"

#: When each document is looked at.
NOW = {
    "healthy": datetime(2026, 11, 23, 6, 31, 40, tzinfo=UTC),
    "failover": datetime(2026, 11, 23, 6, 32, 15, 700000, tzinfo=UTC),
    "hold-down": datetime(2026, 11, 23, 5, 47, 19, tzinfo=UTC),
    "charon-down": datetime(2026, 11, 23, 6, 36, 10, tzinfo=UTC),
    "outage": datetime(2026, 11, 23, 6, 44, tzinfo=UTC),
}
WIDTHS = (60, 80, 120, 200)
PICTURE = 100  #: columns
WATCHED = 48  #: looks before the screen of --watch, a second apart
JITTER = (
    0,
    3,
    1,
    0,
    5,
    2,
    0,
    1,
    22,
    2,
    0,
)  #: of the round-trip times in it, in tenths; the documents are stills
NO_WEB_FONTS = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def document(name: str) -> dict[str, Any]:
    """Return a status document."""
    content: dict[str, Any] = json.loads((DOCUMENTS / f"{name}.json").read_text())
    return content


def screen(name: str, canvas: Canvas) -> list[Line]:
    """Return the screen of ``vpnagent status``."""
    return overview(document(name), NOW[name], canvas)


def watched(canvas: Canvas) -> list[Line]:
    """Return the screen of ``vpnagent status --watch`` some seconds after a failover."""
    history = History()
    failed = datetime.fromisoformat(document("failover")["connections"][0]["last_failover"]["at"])
    for second in reversed(range(WATCHED)):
        now = NOW["failover"] - timedelta(seconds=second)
        history.take(_trembling(document("failover" if now > failed else "healthy"), second), now)
    return live(history, NOW["failover"], canvas)


def _trembling(status: dict[str, Any], second: int) -> dict[str, Any]:
    for number, tunnel in enumerate(status["connections"][0]["tunnels"]):
        if tunnel["state"] == "up":
            tunnel["path"]["rtt_seconds"] *= 1 + JITTER[(second + 3 * number) % len(JITTER)] / 10
    return status


@cache
def texts() -> dict[Path, str]:
    """Return the text files: every document at every size."""
    made = {}
    for name in NOW:
        pages = [(f"{width} columns", Canvas(width=width, glyphs=UNICODE)) for width in WIDTHS]
        pages += [(f"{width} columns, ASCII", Canvas(width=width)) for width in WIDTHS]
        pages.append(("a pipe", Canvas()))
        made[TEXTS / f"{name}.txt"] = "\n".join(_page(title, screen(name, canvas)) for title, canvas in pages)
    sizes = [(60, 24), (80, 24), (80, 40), (120, 50), (200, 60)]
    views = [
        (f"{w}x{h}{name}", Canvas(width=w, height=h, glyphs=glyphs))
        for glyphs, name in ((UNICODE, ""), (ASCII, ", ASCII"))
        for w, h in sizes
    ]
    made[TEXTS / "watch.txt"] = "\n".join(_page(title, watched(canvas)) for title, canvas in views)
    return made


def _page(title: str, lines: Iterable[Line]) -> str:
    return "\n".join((f"==== {title}", *map(plain, lines), ""))


@cache
def pictures() -> dict[Path, str]:
    """Return the SVG files."""
    canvas = Canvas(width=PICTURE, glyphs=UNICODE)
    made = {
        PICTURES / f"{name}.svg": _svg(name, "vpnagent status", screen(name, canvas))
        for name in ("healthy", "failover", "charon-down", "outage")
    }
    made[PICTURES / "watch.svg"] = _svg("watch", "vpnagent status --watch", watched(canvas))
    return made


def _svg(name: str, title: str, lines: list[Line]) -> str:
    console = Console(
        record=True,
        width=PICTURE,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        _environ={},
    )
    console.print(drawn(lines))
    return console.export_svg(title=title, unique_id=name, code_format=NO_WEB_FONTS)


def main() -> int:
    """Write them all; say which changed."""
    made = {**texts(), **pictures()}
    for path, content in made.items():
        if not path.exists() or path.read_text() != content:
            path.write_text(content)
            print(f"drawn: {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
