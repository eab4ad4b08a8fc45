"""docs/check.md has every code that check can tell, and no other."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "agent" / "vpnagent"
SOURCES = [*(PACKAGE / "checks").glob("*.py"), PACKAGE / "config" / "weaknesses.py"]
CODE = re.compile(r"[A-Z][a-z0-9]+([A-Z][a-z0-9]+)+|Weak3des|Slow3des")
SEVERITIES = {"info", "warning", "critical"}


def told() -> set[str]:
    """Return every code in the sources: a string that is written like one."""
    return {
        node.value
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value)
    }


def documented() -> dict[str, str]:
    """Return the sections that are headed by a code."""
    parts = re.split(r"^###? (.*)$", (ROOT / "docs" / "check.md").read_text(), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    return {head: body for head, body in sections.items() if CODE.fullmatch(head)}


def test_every_code_is_documented_and_every_documented_code_exists() -> None:
    assert documented().keys() == told()


def test_every_code_says_how_severe_it_is_and_what_to_do() -> None:
    for code, body in documented().items():
        words = set(re.findall(r"[a-z]+", body))
        assert words & SEVERITIES, code
        assert len(body.split()) > 10, code
