"""``vpnagent plan`` as a user meets it: the selection in words, then the changes."""

import json

from tests.test_cli import config, vpnagent

__all__ = ["config"]


def test_the_selection_stands_before_the_changes(config: str) -> None:
    code, out, _ = vpnagent("plan", "--config", config, "--verdict", "primary=silent")
    assert code == 1
    assert out.splitlines()[:3] == [
        "connection hangzhou: traffic on backup",
        "    primary: path silent; backup is better: path up",
        "  * backup: path up, role standby",
    ]


def test_json_has_the_selection_and_the_changes(config: str) -> None:
    words = ("--verdict", "primary=silent", "--verdict", "backup=silent")
    _, out, _ = vpnagent("plan", "--config", config, "--json", *words)
    document = json.loads(out)
    assert document["changes"]
    [choice] = document["selection"]
    assert (choice["mode"], choice["carries"]) == ("fail-static", ["primary"])
    assert [t["carries"] for t in choice["tunnels"]] == [True, False]
