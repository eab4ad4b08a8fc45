"""Events on a file system that is really full, and in a real journald: each in a mount namespace of its own.

``python -m tests.native.test_events full_disk DIRECTORY``, or ``journal``, is what runs in it.
"""

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.native.prober_process import until

from vpnagent import log
from vpnagent.events.event import Happening, event_of
from vpnagent.events.store import Store
from vpnagent.finding import EventType, Severity

RUN = Path("/run")
ALONE = "[Journal]\nAudit=no\nReadKMsg=no\nStorage=volatile\n"  # what is the kernel's stays the machine's
FAILOVER = Happening(type=EventType.FAILOVER, at=1.0, severity=Severity.INFO, text="x" * 300)


def alone(*arguments: str) -> tuple[dict[str, Any], str]:
    """Run one of the programs below; what it printed, and what it said on standard error."""
    command = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        sys.executable,
        "-m",
        "tests.native.test_events",
    ]
    done = subprocess.run([*command, *arguments], check=True, capture_output=True, text=True, timeout=120)
    return json.loads(done.stdout), done.stderr


def test_a_full_disk_is_told_tears_no_line_and_takes_the_rest_when_there_is_room(tmp_path: Path) -> None:
    told, _ = alone("full_disk", str(tmp_path))
    kept = told["kept"]
    assert told["problem"] == f"{tmp_path}/events.jsonl: No space left on device"
    assert told["before"] == list(range(1, kept))
    assert told["again"] is None
    assert told["after"] == list(range(1, kept + 2))


def test_events_are_found_in_the_journal_by_their_fields() -> None:
    told, said = alone("journal")
    [event] = told["event"]
    assert event["MESSAGE"] == "event type=TunnelDown"
    assert event["PRIORITY"] == "3"
    assert event["SYSLOG_IDENTIFIER"] == "vpnagent"
    assert event["VPNAGENT_CONNECTION"] == "hz"
    assert event["VPNAGENT_REASON"] == "silent"
    assert event["_TRANSPORT"] == "journal"
    assert told["long"] == 600_009
    assert said == ""


def full_disk(directory: Path) -> None:
    """Keep events on a file system of 64 KiB until it is full, make room, go on; print what happened."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "vpna-full", directory], check=True)
    ballast = directory / "ballast"
    ballast.write_bytes(bytes(16 * 1024))
    store, kept, problem = Store(str(directory)), 0, None
    while problem is None and kept < 1000:
        kept += 1
        problem = store.append([event_of(FAILOVER, kept)])
    before = [event.sequence for event in Store(str(directory)).read().events]
    ballast.unlink()
    after_that = store.append([event_of(FAILOVER, kept), event_of(FAILOVER, kept + 1)])
    after = [event.sequence for event in Store(str(directory)).read().events]
    print(
        json.dumps({"problem": problem, "kept": kept, "before": before, "again": after_that, "after": after})
    )


def journal() -> None:
    """Log through a journald, and print what it kept."""
    subprocess.run(["mount", "-t", "tmpfs", "vpna-run", RUN], check=True)
    for directory in ("systemd/journal", "systemd/journald.conf.d", "log/journal"):
        (RUN / directory).mkdir(parents=True)
    (RUN / "systemd/journald.conf.d/alone.conf").write_text(ALONE)
    daemon = subprocess.Popen(["/lib/systemd/systemd-journald"], stderr=subprocess.DEVNULL)
    try:
        until(Path(log.JOURNAL).is_socket, within=30, every=0.1)
        stderr = os.fstat(sys.stderr.fileno())
        log.configure(debug=False, environ={"JOURNAL_STREAM": f"{stderr.st_dev}:{stderr.st_ino}"})
        tell()
        until(lambda: len(kept("CODE_FUNC=tell")) == 2, within=30, every=0.1)
        found = kept(f"MESSAGE_ID={EventType.TUNNEL_DOWN.message_id}", "VPNAGENT_TUNNEL=primary")
        [long] = kept("CODE_FUNC=tell", "PRIORITY=6")
        print(json.dumps({"event": found, "long": len(long["MESSAGE"])}))
    finally:
        daemon.terminate()
        daemon.wait(10)


def tell() -> None:
    happening = Happening(
        type=EventType.TUNNEL_DOWN,
        at=time.time(),
        severity=Severity.CRITICAL,
        connection="hz",
        tunnel="primary",
        text="tunnel hz/primary is down",
        fields={"reason": "silent"},
    )
    logger = logging.getLogger("vpnagent.native")
    logger.error("event %s", "type=TunnelDown", extra={"event": event_of(happening, 7)})
    logger.info("starting %s", "x" * 600_000)


def kept(*matches: str) -> list[dict[str, str]]:
    """Return the entries that journald has with these fields."""
    command = [
        "journalctl",
        "--directory",
        str(RUN / "log/journal"),
        "--output",
        "json",
        "--all",
        "--no-pager",
        *matches,
    ]
    lines = subprocess.run(command, check=False, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    full_disk(Path(sys.argv[2])) if sys.argv[1] == "full_disk" else journal()
