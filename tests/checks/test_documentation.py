"""docs/check.md has every code that check can tell, and no other."""

import re

from tests.finding_codes import CODE, PACKAGE, codes

DOCUMENT = PACKAGE.parents[1] / "docs" / "check.md"
SOURCES = [
    *(PACKAGE / "checks").glob("*.py"),
    *(PACKAGE / "witness").glob("*.py"),
    PACKAGE / "daemon" / "look.py",
    PACKAGE / "daemon" / "witness.py",
    PACKAGE / "commands" / "check.py",
    PACKAGE / "config" / "notation.py",
    PACKAGE / "config" / "weaknesses.py",
]
SEVERITIES = {"info", "warning", "critical"}


def documented() -> dict[str, str]:
    """Return the sections that are headed by a code."""
    parts = re.split(r"^###? (.*)$", DOCUMENT.read_text(), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    return {head: body for head, body in sections.items() if CODE.fullmatch(head)}


def test_every_code_is_documented_and_every_documented_code_exists() -> None:
    assert documented().keys() == codes(SOURCES)


def test_every_code_says_how_severe_it_is_and_what_to_do() -> None:
    for code, body in documented().items():
        words = set(re.findall(r"[a-z]+", body))
        assert words & SEVERITIES, code
        assert len(body.split()) > 10, code
