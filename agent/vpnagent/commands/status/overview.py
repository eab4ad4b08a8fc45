"""What is wrong, since when, and what to do about it. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime

from vpnagent.commands.status import tables
from vpnagent.commands.status.canvas import (
    BLANK,
    Canvas,
    Line,
    Span,
    Tone,
    age,
    legible,
    line,
    paragraph,
    plain,
    some,
    word,
)
from vpnagent.record import Json

SEVERITY = len("critical  ")  #: characters of the first column
ALIKE = 3  #: problems of one code that a terminal shows one by one
NAMES = 12  #: of the others' subjects that it names


def problems(status: Json) -> list[Json]:
    """Return the warnings that ask for somebody: the daemon has the worst first, then the oldest."""
    return [warning for warning in status["warnings"] if warning["severity"] != "info"]


def consequences(status: Json) -> dict[str, list[Json]]:
    """Return, by incident, the problems that its cause explains; none where the cause is not told itself."""
    found, following = problems(status), {}
    for incident in status.get("incidents", ()):
        own = [problem for problem in found if problem.get("incident") == incident["id"]]
        rest = [problem for problem in own if not _is(problem, incident["cause"])]
        if len(rest) < len(own):
            following[incident["id"]] = rest
    return following


def _is(problem: Json, cause: Json) -> bool:
    return all(problem.get(name) == cause[name] for name in ("code", "subject"))


def causes(status: Json) -> list[Json]:
    """Return the problems that follow from no other one."""
    following = [problem for found in consequences(status).values() for problem in found]
    return [problem for problem in problems(status) if problem not in following]


def told(status: Json, now: datetime, canvas: Canvas) -> Iterator[Line]:
    """Yield the problems, each with its age and what to do; a terminal has only some of one code.

    On a terminal what follows from a problem is indented beneath it, and has no action of its own.
    """
    following_from = {} if canvas.is_pipe else consequences(status)
    shown, more = (problems(status), {}) if canvas.is_pipe else _some_of_each(causes(status))
    parts = [following_from.pop(problem.get("incident") or "", []) for problem in shown]
    ages = [age(problem["since"], now) for problem in shown]
    width = max(map(len, ages), default=0)
    hints = [_hint(problem, part) for problem, part in zip(shown, parts, strict=True)]
    for problem, part, since, hint, next_hint in zip(
        shown, parts, ages, hints, [*hints[1:], ""], strict=False
    ):
        yield from _problem(problem, f"{since:<{width}}", canvas)
        indent = line(" " * (SEVERITY + 4 + width))
        for consequence in part:
            yield from paragraph(_in_words(consequence), width=canvas.width, first=indent, tone=Tone.FAINT)
        if canvas.is_pipe or hint != next_hint:
            action = line(" " * (SEVERITY + 2 + width), Span(canvas.glyphs.arrow, Tone.NOTE), " ")
            yield from paragraph(hint, width=canvas.width, first=action, tone=Tone.NOTE)
    for code, subjects in more.items():
        left = f"{len(subjects)} more of {code}: {some(subjects, NAMES)}"
        yield from paragraph(left, width=canvas.width, first=line(" " * SEVERITY), tone=Tone.FAINT)


def _hint(problem: Json, following: list[Json]) -> str:
    """Return what to do: what is known of the tunnel besides says it better than that it is down."""
    own = (each["hint"] for each in following if each["subject"] == problem["subject"])
    return str(next(own, problem["hint"]))


def _problem(problem: Json, since: str, canvas: Canvas) -> Iterator[Line]:
    severity = word(problem["severity"])
    first = line(severity, " " * (SEVERITY - len(severity.text)), since, "  ")
    yield from paragraph(_in_words(problem), width=canvas.width, first=first)


def _in_words(problem: Json) -> str:
    subject = problem.get("subject") or ""
    named = f"{subject}: " * (bool(subject) and subject not in problem["text"])
    return f"{named}{problem['text']} ({problem['code']})"


def _some_of_each(found: list[Json]) -> tuple[list[Json], dict[str, list[str]]]:
    """Return the first problems of each code, and by code the subjects of the others."""
    shown: list[Json] = []
    more: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    for problem in found:
        counts[problem["code"]] += 1
        if counts[problem["code"]] <= ALIKE:
            shown.append(problem)
        else:
            more.setdefault(problem["code"], []).append(problem.get("subject") or "the gateway")
    return shown, more


# The first lines: is it fine, and what the whole rests on. Pure.


STANDBY_DEVICE = "standby-device"  #: state of a tunnel that the other gateway has
HEARD = ("up", "degraded", "hold-down")  #: states of a path through which something is heard


def headline(status: Json) -> tuple[Tone, str]:
    """Return the answer to "is it fine?": its tone, and one line."""
    count, cut_off = len(causes(status)), without_traffic(status)
    whole = f"{status['gateway']}: {status['state']}"
    if status["state"] == "up" and not count and not cut_off:
        idle = len(_of_the_other_gateway(status)) == len(status["routes"]) > 0
        return Tone.GOOD, f"{whole}, {'standing by for the other gateway' if idle else 'all is well'}"
    told_of = [f"{count} problem{'s' * (count > 1)}"] if count else _unready(status)
    tone = Tone.BAD if cut_off or status["state"] == "down" else Tone.WARN
    return tone, ", ".join((whole, _traffic(status, cut_off), *told_of))


def without_traffic(status: Json) -> list[str]:
    """Return the remote networks that are not routed into a tunnel that is heard, or are not carried."""
    heard = {
        t["interface"] for connection in status["connections"] for t in connection["tunnels"] if _heard(t)
    }
    elsewhere = _of_the_other_gateway(status)
    unheard = [
        route["prefix"]
        for route in status["routes"]
        if heard.isdisjoint(route["nexthops"]) and route["prefix"] not in elsewhere
    ]
    return list(dict.fromkeys((*unheard, *(remote for _, remote in _not_carried(status)))))


def _of_the_other_gateway(status: Json) -> frozenset[str]:
    """Return the remote networks of which this gateway has no tunnel, as the other one has them."""
    here, every = set(), set()
    for connection in status["connections"]:
        every.update(connection["remote_networks"])
        if any(tunnel["state"] != STANDBY_DEVICE for tunnel in connection["tunnels"]):
            here.update(connection["remote_networks"])
    return frozenset(every - here)


def _not_carried(status: Json) -> list[tuple[str, str]]:
    """Return the local networks, with the remote ones, that no connection carries."""
    said: dict[tuple[str, str], list[bool | None]] = {}
    for connection in status["connections"]:
        for network in connection.get("networks", ()):
            said.setdefault((network["local"], network["remote"]), []).append(network["carried"])
    return [pair for pair, words in said.items() if all(word is False for word in words)]


def _heard(tunnel: Json) -> bool:
    path = tunnel["path"]["state"]
    return path in HEARD or (path == "init" and tunnel["state"] == "up")  # "init": nobody probes it yet


def _traffic(status: Json, cut_off: list[str]) -> str:
    if not status["routes"]:
        return "no connection is configured"
    if len(_of_the_other_gateway(status)) == len(status["routes"]):
        return "standing by for the other gateway"
    if not cut_off:
        return "traffic flows"
    if all(t["state"] == "init" for c in status["connections"] for t in c["tunnels"]):
        return "starting, no traffic flows yet"
    lost = _not_carried(status)
    locals_ = {n["local"] for c in status["connections"] for n in c.get("networks", ())}
    in_part = [f"{local} to {remote}" for local, remote in lost if not _all_lose(remote, lost, locals_)]
    if in_part and len(in_part) == len(lost) and {r for _, r in lost} >= set(cut_off):
        return f"no traffic from {some(in_part, 2)}"
    return (
        "no traffic flows" if len(cut_off) == len(status["routes"]) else f"no traffic to {some(cut_off, 2)}"
    )


def _all_lose(remote: str, lost: list[tuple[str, str]], locals_: set[str]) -> bool:
    return all((local, remote) in lost for local in locals_)


def _unready(status: Json) -> list[str]:
    """Return the tunnels that are not up while nothing is the matter: in hold-down, still negotiating."""
    return [
        f"{connection['name']}/{tunnel['name']} is in {tunnel['state']}"
        for connection in status["connections"]
        for tunnel in connection["tunnels"]
        if tunnel["state"] not in ("up", "init", STANDBY_DEVICE)
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


# The screen of ``vpnagent status``: is it fine, what is wrong and what to do, then the tables. Pure.


def overview(status: Json, now: datetime, canvas: Canvas) -> list[Line]:
    """Return the lines of the whole screen."""
    status = legible(status, canvas.encoding)
    tone, answer = headline(status)
    sections: tuple[Iterable[Line], ...] = (
        (*paragraph(answer, width=canvas.width, tone=tone), *facts(status, now, canvas.width)),
        told(status, now, canvas),
        tables.connections(status, canvas) if status["connections"] else (),
        tables.tunnels(status, now, canvas) if status["connections"] else (),
        tables.routes(status, canvas) if status["routes"] else (),
        tables.failovers(status, now, canvas),
    )
    return stacked(sections)


def stacked(sections: Iterable[Iterable[Line]]) -> list[Line]:
    """Return the sections that have lines, a blank line between each two."""
    lines: list[Line] = []
    for section in sections:
        found = list(section)
        if found:
            lines += [BLANK, *found] if lines else found
    return lines
