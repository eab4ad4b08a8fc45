"""The first page tells what is wrong, since when, and in which versions, whatever it is made of."""

import json
import pathlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.commands.support_bundle.known_secrets import Part
from vpnagent.commands.support_bundle.summary import ABOUT, missing, summary

STATUS = pathlib.Path(__file__).parents[2] / "data/status"
AT = 1_795_000_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def page(*parts: Part) -> str:
    return summary({part.name: part for part in parts}, gateway="idc-hz-1", at=AT, searched="searched")


def recorded(name: str) -> Any:
    return json.loads((STATUS / f"{name}.json").read_text())


def test_what_is_wrong_is_the_screen_of_status() -> None:
    text = page(Part(name="status.json", content=recorded("outage")))
    assert "idc-lab: down" in text
    assert "\ncritical" in text


def test_without_a_status_it_says_why() -> None:
    text = page(Part(name="status.json", why="the daemon does not run"))
    assert "The daemon told no status: the daemon does not run\n" in text


def test_findings_events_services_and_versions_are_told() -> None:
    finding = {"severity": "warning", "code": "Clock", "subject": "", "text": "is wrong", "hint": "set it"}
    event = {"at": "2026-11-18T11:00:00Z", "severity": "info", "type": "TunnelUp", "text": "is up"}
    text = page(
        Part(name="findings.json", content={"findings": [finding]}),
        Part(name="events.jsonl", content=[event]),
        Part(
            name="services.txt",
            content="Id=vpnagent.service\nLoadState=loaded\nActiveState=failed\nNRestarts=3\n\n"
            "Id=vpnagent-drill.service\nLoadState=not-found\n",
        ),
        Part(name="versions.json", content={"vpnagent": "0.1.0"}),
        Part(name="charon/version.json", content={"daemon": "charon-systemd", "version": "5.9.8"}),
    )
    assert "- warning: Clock: is wrong\n" in text
    assert "- 2026-11-18T11:00:00Z info TunnelUp: is up\n" in text
    assert "- vpnagent.service: ActiveState failed, NRestarts 3\n" in text
    assert "drill" not in text
    assert "- vpnagent: 0.1.0\n- charon: 5.9.8 (charon-systemd)\n" in text


def test_every_file_is_listed_with_what_it_is_about() -> None:
    text = page(Part(name="kernel/nft.txt", content="x" * 1025), Part(name="status.json", why="none"))
    assert "| kernel/nft.txt | 2 | the packet filter |" in text
    assert "| status.json" not in text


def test_what_is_missing_for_one_reason_is_one_line() -> None:
    parts = [
        Part(name="a", why="charon hangs"),
        Part(name="b", why="charon hangs"),
        Part(name="c", content=""),
    ]
    assert missing(parts) == ["- a, b: charon hangs"]


@pytest.mark.parametrize("name", ["status.json", "findings.json", "events.jsonl", "versions.json"])
@given(value=st.dictionaries(st.sampled_from(["state", "findings", "a"]), JSON) | st.lists(JSON))
def test_whatever_was_answered_there_is_a_page(name: str, value: Any) -> None:
    assert page(Part(name=name, content=value)).startswith("# vpnagent support bundle: idc-hz-1, 2026-11-18")


# docs/support.md lists what is in a bundle, in the words of the bundle itself.

DOCUMENT = pathlib.Path(__file__).parents[3] / "docs/support.md"


def test_every_file_is_listed_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `([a-z_./]+)` \| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE))
    assert rows == ABOUT
