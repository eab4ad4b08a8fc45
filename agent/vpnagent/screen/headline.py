"""The first lines: is it fine, what the whole rests on, and what is wrong with what to do. Pure."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from vpnagent.screen.canvas import Canvas
from vpnagent.screen.line import Line, Span, Tone, line, paragraph, plain, word
from vpnagent.screen.words import age, some

Json = dict[str, Any]

ALIKE = 3  #: problems of one code that a terminal shows one by one
NAMES = 12  #: of the others' subjects that it names
HEARD = ("up", "degraded", "hold-down")  #: states of a path through which something is heard


def headline(status: Json) -> tuple[Tone, str]:
    """Return the answer to "is it fine?": its tone, and one line."""
    count = len(problems(status))
    parts = [f"{status['gateway']}: {status['state']}"]
    if status["state"] == "up" and not count:
        return Tone.GOOD, f"{parts[0]}, all is well"
    parts.append(_traffic(status))
    if count:
        parts.append(f"{count} problem{'s' * (count > 1)}")
    else:
        parts += _unready(status)
    flows = status["state"] != "down" and not without_traffic(status)
    return Tone.WARN if flows else Tone.BAD, ", ".join(parts)


def problems(status: Json) -> list[Json]:
    """Return the warnings that ask for somebody: the daemon has the worst first, then the oldest."""
    return [warning for warning in status["warnings"] if warning["severity"] != "info"]


def without_traffic(status: Json) -> list[str]:
    """Return the connections through none of whose forwarding tunnels anything is heard."""
    return [c["name"] for c in status["connections"] if not any(_carries(t) for t in c["tunnels"])]


def _carries(tunnel: Json) -> bool:
    path = tunnel["path"]["state"]
    not_probed = path == "init" and tunnel["state"] == "up"
    return bool(tunnel["forwarding"]) and (path in HEARD or not_probed)


def _traffic(status: Json) -> str:
    connections, without = status["connections"], without_traffic(status)
    if not connections:
        return "no connection is configured"
    if not without:
        return "traffic flows"
    if all(t["state"] == "init" for c in connections for t in c["tunnels"]):
        return "starting, no traffic flows yet"
    return "no traffic flows" if len(without) == len(connections) else f"no traffic on {some(without, 3)}"


def _unready(status: Json) -> list[str]:
    """Return the tunnels that are not up while nothing is the matter: in hold-down, still negotiating."""
    return [
        f"{connection['name']}/{tunnel['name']} is in {tunnel['state']}"
        for connection in status["connections"]
        for tunnel in connection["tunnels"]
        if tunnel["state"] not in ("up", "init")
    ]


def facts(status: Json, now: datetime, width: int | None) -> Iterator[Line]:
    """Yield what the whole rests on, and where the notes are."""
    charon, config = status["charon"], status["config"]
    version, prober = charon["version"] or "?", status.get("prober", {}).get("connected", True)
    told_of = [
        Span(f"charon {version}", Tone.FAINT)
        if charon["connected"]
        else Span("charon unreachable", Tone.BAD),
        Span("prober connected", Tone.FAINT) if prober else Span("prober not connected", Tone.BAD),
        Span(f"configuration loaded {age(config['loaded_at'], now)} ago", Tone.FAINT),
        *([Span("the file on disk is refused", Tone.BAD)] if config["error"] else []),
    ]
    together = line(*(span for fact in told_of for span in (Span(", ", Tone.FAINT), fact)))[1:]
    yield from [together] if width is None or len(plain(together)) <= width else map(line, told_of)
    if notes := len(status["warnings"]) - len(problems(status)):
        yield line(Span(f"{notes} note{'s' * (notes > 1)}: vpnagent check", Tone.FAINT))


def told(status: Json, now: datetime, canvas: Canvas) -> Iterator[Line]:
    """Yield the problems, each with its age and what to do; a terminal has only some of one code."""
    found = problems(status)
    ages = [age(problem["since"], now) for problem in found]
    width = max(map(len, ages), default=0)
    seen: dict[str, list[str]] = {}
    for problem, since in zip(found, ages, strict=True):
        alike = seen.setdefault(problem["code"], [])
        alike.append(problem.get("subject") or "the gateway")
        if canvas.is_pipe or len(alike) <= ALIKE:
            yield from _problem(problem, f"{since:<{width}}", canvas)
    for code, subjects in seen.items():
        rest = subjects[ALIKE:]
        if rest and not canvas.is_pipe:
            more = f"{len(rest)} more of {code}: {some(rest, NAMES)}"
            yield from paragraph(more, width=canvas.width, first=line("          "), tone=Tone.FAINT)


def _problem(problem: Json, since: str, canvas: Canvas) -> Iterator[Line]:
    severity = word(problem["severity"])
    first = line(severity, " " * (10 - len(severity.text)), since, "  ")
    subject = problem.get("subject") or ""
    named = f"{subject}: " * (bool(subject) and subject not in problem["text"])
    yield from paragraph(f"{named}{problem['text']} ({problem['code']})", width=canvas.width, first=first)
    action = line(" " * (12 + len(since)), Span(canvas.glyphs.arrow, Tone.NOTE), " ")
    yield from paragraph(problem["hint"], width=canvas.width, first=action, tone=Tone.NOTE)
