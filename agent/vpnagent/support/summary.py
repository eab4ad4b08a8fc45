"""The first page of a bundle: what is wrong, since when, which versions, what is in the other files. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from vpnagent.screen.canvas import Canvas
from vpnagent.screen.line import plain
from vpnagent.screen.overview import overview
from vpnagent.support import contents
from vpnagent.support.part import Part

RECENT: Final = 20  #: events
SERVICE: Final = ("ActiveState", "SubState", "Result", "StateChangeTimestamp", "NRestarts", "ExecMainStatus")

Parts = Mapping[str, Part]


def summary(parts: Parts, *, gateway: str, at: float, searched: str) -> str:
    """Return the page as Markdown. ``searched`` tells of the search for secrets."""
    now = datetime.fromtimestamp(at, UTC)
    sections = (
        [f"# vpnagent support bundle: {gateway}, {now:%Y-%m-%d %H:%M:%S} UTC"],
        _section("What is wrong, and since when", _wrong(parts, now)),
        _section("Findings of `vpnagent check`", _findings(parts)),
        _section(f"The last {RECENT} events", _events(parts)),
        _section("Services", _services(parts)),
        _section("Versions", _versions(parts)),
        _section("In this archive", _contents(parts)),
        _section("Not in this archive", missing(parts.values())),
        _section("Secrets", [searched]),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def missing(parts: Iterable[Part]) -> list[str]:
    """Return a line for each thing that could not be had, or was left out."""
    names: dict[str, list[str]] = {}
    for part in parts:
        if not part.is_whole:
            names.setdefault(_why(part), []).append(part.name)
    return [f"- {', '.join(same)}: {why}" for why, same in names.items()]


def _why(part: Part) -> str:
    held = f"lines or values that held a secret are left out ({', '.join(part.held)})" if part.held else ""
    return "; ".join(filter(None, (part.why, held)))


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return [f"## {title}", "", *(list(lines) or ["Nothing."])]


def _content(parts: Parts, name: str, kind: type) -> Any:
    """Return the content of a part, as far as it is what it should be; else an empty one."""
    content = parts[name].content if name in parts else None
    return content if isinstance(content, kind) else kind()


def _wrong(parts: Parts, now: datetime) -> Iterator[str]:
    status = _content(parts, contents.STATUS, dict)
    if not status:
        why = parts[contents.STATUS].why if contents.STATUS in parts else ""
        yield f"The daemon told no status: {why or 'not asked'}"
        return
    yield "```"
    try:
        yield from [plain(line).rstrip() for line in overview(status, now, Canvas())]
    except (LookupError, TypeError, AttributeError, ValueError):  # of another version
        yield f"{status.get('state')}: the rest is in {contents.STATUS}"
    yield "```"


def _findings(parts: Parts) -> Iterator[str]:
    found = _content(parts, contents.FINDINGS, dict).get("findings", ())
    for finding in found if isinstance(found, list) else ():
        if isinstance(finding, dict):
            about = f" ({finding['subject']})" if finding.get("subject") else ""
            yield f"- {finding.get('severity')}: {finding.get('code')}{about}: {finding.get('text')}"
    if contents.FINDINGS in parts and (why := parts[contents.FINDINGS].why):
        yield why


def _events(parts: Parts) -> Iterator[str]:
    for event in _content(parts, contents.EVENTS, list)[-RECENT:]:
        if isinstance(event, dict):
            yield f"- {event.get('at')} {event.get('severity')} {event.get('type')}: {event.get('text')}"


def _services(parts: Parts) -> Iterator[str]:
    for block in _content(parts, contents.SERVICES, str).split("\n\n"):
        told = dict(line.partition("=")[::2] for line in block.splitlines())
        if told.get("LoadState") == "loaded":
            shown = ", ".join(f"{name} {told[name]}" for name in SERVICE if told.get(name))
            yield f"- {told.get('Id')}: {shown}"


def _versions(parts: Parts) -> Iterator[str]:
    for name, version in _content(parts, contents.VERSIONS, dict).items():
        if isinstance(version, str):
            yield f"- {name}: {version}"
    charon = _content(parts, "charon/version.json", dict)
    if charon:
        yield f"- charon: {charon.get('version')} ({charon.get('daemon')})"


def _contents(parts: Parts) -> Iterator[str]:
    yield from ("| file | KiB | |", "|---|---|---|")
    for name, part in sorted(parts.items()):
        if part.content is not None:
            size = -(-len(part.text.encode(errors="replace")) // 1024)
            yield f"| {name} | {size} | {contents.ABOUT.get(name, '')} |"
