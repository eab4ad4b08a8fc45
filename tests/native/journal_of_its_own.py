"""Log through a real journald in a mount namespace of its own, and print what it kept."""

import json
import logging
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable

from vpnagent import log
from vpnagent.events.event import Happening, event_of
from vpnagent.events.kinds import EventType
from vpnagent.finding import Severity

RUN = pathlib.Path("/run")
ALONE = "[Journal]\nAudit=no\nReadKMsg=no\nStorage=volatile\n"  # what is the kernel's stays the machine's


def main() -> None:
    subprocess.run(["mount", "-t", "tmpfs", "vpna-run", RUN], check=True)
    for directory in ("systemd/journal", "systemd/journald.conf.d", "log/journal"):
        (RUN / directory).mkdir(parents=True)
    (RUN / "systemd/journald.conf.d/alone.conf").write_text(ALONE)
    daemon = subprocess.Popen(["/lib/systemd/systemd-journald"], stderr=subprocess.DEVNULL)
    try:
        wait_for(pathlib.Path(log.JOURNAL).is_socket)
        stderr = os.fstat(sys.stderr.fileno())
        log.configure(debug=False, environ={"JOURNAL_STREAM": f"{stderr.st_dev}:{stderr.st_ino}"})
        tell()
        wait_for(lambda: len(kept("CODE_FUNC=tell")) == 2)
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


def wait_for(true: Callable[[], bool]) -> None:
    for _ in range(300):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("not within 30 s")


main()
