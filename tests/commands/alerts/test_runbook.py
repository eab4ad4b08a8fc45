"""docs/runbook.md has an entry for whatever can be told: every alert, and every code of a finding."""

import re
from collections import Counter
from typing import Final

from tests.commands.alerts.gateways import EVERY_KIND, SCOPE
from tests.finding_codes import PACKAGE, codes

from vpnagent.commands.alerts import groups

DOCS: Final = PACKAGE.parents[1] / "docs"
RUNBOOK: Final = (DOCS / "runbook.md").read_text()
PARTS: Final = re.split(r"^### (.*)$", RUNBOOK, flags=re.MULTILINE)
ENTRIES: Final = dict(zip(PARTS[1::2], PARTS[2::2], strict=True))

ALERTS: Final = {
    rule["alert"]
    for group in groups(EVERY_KIND, SCOPE)["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
CODES: Final = codes(PACKAGE.rglob("*.py"))

HOW: Final = """
Write in docs/runbook.md, under the heading that fits:

### {name}

What it means, in a sentence or two.

- Affects: who or what does not work, and what still does.
- Look: the commands that show more.
- Do: 1. what helps most often. 2. what else.
"""


def test_the_codes_are_found() -> None:
    assert {"TunnelDown", "WeakDes", "IkeDropped", "TunnelFull", "Drill", "public-name"} <= CODES
    assert not CODES & {"IPv4Address", "NoResponse"}


def test_every_alert_and_every_code_has_an_entry() -> None:
    missing = sorted((ALERTS | CODES) - ENTRIES.keys())
    advice = "".join(HOW.format(name=name) for name in missing)
    assert not missing, f"the runbook has no entry {', '.join(missing)}.{advice}"


def test_every_entry_is_of_something_that_can_be_told() -> None:
    assert ENTRIES.keys() - ALERTS - CODES == set()


def test_an_entry_says_what_it_means_what_it_affects_where_to_look_and_what_to_do() -> None:
    for name, body in ENTRIES.items():
        meaning, *items = re.split(r"^- ", body.split("\n## ")[0].strip(), flags=re.MULTILINE)
        assert len(meaning.split()) >= 3, f"{name} does not say what it means"
        said = [item.partition(":")[0] for item in items]
        assert said in (["Affects", "Look", "Do"], ["Affects", "Look, do"]), f"{name} has {said}"


def anchors(text: str) -> Counter[str]:
    """Return the fragments of a page's headings, as GitHub and others make them."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return Counter(re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings)


def test_every_link_leads_to_a_heading() -> None:
    for page, fragment in re.findall(r"\]\(([\w.]*)#([\w-]+)\)", RUNBOOK):
        assert anchors((DOCS / page).read_text() if page else RUNBOOK)[fragment] == 1, f"{page}#{fragment}"


def test_the_links_of_alerts_lead_to_their_entries() -> None:
    assert {name.lower() for name in ALERTS} <= anchors(RUNBOOK).keys()


def test_docs_alerts_has_every_alert_once() -> None:
    rows = re.findall(r"^\| `(Vpn\w+)` \|", (DOCS / "alerts.md").read_text(), flags=re.MULTILINE)
    assert Counter(rows) == Counter(ALERTS)
