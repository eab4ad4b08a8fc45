"""One helper attaches filters, and every socket that probes has one."""

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "agent" / "vpnagent"


def test_no_other_module_attaches_a_filter() -> None:
    attaching = [
        path.name for path in PACKAGE.rglob("*.py") if re.search(r"ATTACH_FILTER|\"@HP\"", path.read_text())
    ]
    assert attaching == ["inbox.py"]
