"""What is wrong, since when, and what to do about it. Pure."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from vpnagent.screen.canvas import Canvas
from vpnagent.screen.line import Line, Span, Tone, line, paragraph, word
from vpnagent.screen.words import age, some

Json = dict[str, Any]

SEVERITY = len("critical  ")  #: characters of the first column
ALIKE = 3  #: problems of one code that a terminal shows one by one
NAMES = 12  #: of the others' subjects that it names


def problems(status: Json) -> list[Json]:
    """Return the warnings that ask for somebody: the daemon has the worst first, then the oldest."""
    return [warning for warning in status["warnings"] if warning["severity"] != "info"]


def told(status: Json, now: datetime, canvas: Canvas) -> Iterator[Line]:
    """Yield the problems, each with its age and what to do; a terminal has only some of one code."""
    shown, more = (problems(status), {}) if canvas.is_pipe else _some_of_each(problems(status))
    ages = [age(problem["since"], now) for problem in shown]
    width = max(map(len, ages), default=0)
    following = [*(problem["hint"] for problem in shown[1:]), ""]
    for problem, since, next_hint in zip(shown, ages, following, strict=False):
        yield from _problem(problem, f"{since:<{width}}", canvas)
        if canvas.is_pipe or problem["hint"] != next_hint:
            action = line(" " * (SEVERITY + 2 + width), Span(canvas.glyphs.arrow, Tone.NOTE), " ")
            yield from paragraph(problem["hint"], width=canvas.width, first=action, tone=Tone.NOTE)
    for code, subjects in more.items():
        left = f"{len(subjects)} more of {code}: {some(subjects, NAMES)}"
        yield from paragraph(left, width=canvas.width, first=line(" " * SEVERITY), tone=Tone.FAINT)


def _problem(problem: Json, since: str, canvas: Canvas) -> Iterator[Line]:
    severity = word(problem["severity"])
    first = line(severity, " " * (SEVERITY - len(severity.text)), since, "  ")
    subject = problem.get("subject") or ""
    named = f"{subject}: " * (bool(subject) and subject not in problem["text"])
    yield from paragraph(f"{named}{problem['text']} ({problem['code']})", width=canvas.width, first=first)


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
