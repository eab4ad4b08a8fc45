"""The real journald reads what we send: events by MESSAGE_ID and tunnel, and what no datagram holds."""

import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def test_events_are_found_in_the_journal_by_their_fields() -> None:
    command = ["unshare", "--mount", "--propagation", "private", sys.executable]
    done = subprocess.run(
        [*command, HERE / "journal_of_its_own.py"], check=True, capture_output=True, text=True, timeout=120
    )
    told = json.loads(done.stdout)
    [event] = told["event"]
    assert event["MESSAGE"] == "event type=TunnelDown"
    assert event["PRIORITY"] == "3"
    assert event["SYSLOG_IDENTIFIER"] == "vpnagent"
    assert event["VPNAGENT_CONNECTION"] == "hz"
    assert event["VPNAGENT_REASON"] == "silent"
    assert event["_TRANSPORT"] == "journal"
    assert told["long"] == 600_009
    assert done.stderr == ""
