"""docs/support.md lists what is in a bundle, in the words of the bundle itself."""

import pathlib
import re

from vpnagent.commands.support_bundle.summary import ABOUT

DOCUMENT = pathlib.Path(__file__).parents[3] / "docs/support.md"


def test_every_file_is_listed_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `([a-z_./]+)` \| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE))
    assert rows == ABOUT
