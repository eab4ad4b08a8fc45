"""Keep events on a file system of 64 KiB until it is full, make room, go on; print what happened."""

import json
import pathlib
import subprocess
import sys

from vpnagent.events.event import Happening, event_of
from vpnagent.events.kinds import EventType
from vpnagent.events.store import Store
from vpnagent.finding import Severity

DIRECTORY = pathlib.Path(sys.argv[1])


def main() -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "vpna-full", DIRECTORY], check=True)
    ballast = DIRECTORY / "ballast"
    ballast.write_bytes(bytes(16 * 1024))
    store, kept, problem = Store(str(DIRECTORY)), 0, None
    while problem is None and kept < 1000:
        kept += 1
        problem = store.append([event_of(HAPPENING, kept)])
    before = [event.sequence for event in Store(str(DIRECTORY)).read().events]
    ballast.unlink()
    after_that = store.append([event_of(HAPPENING, kept), event_of(HAPPENING, kept + 1)])
    after = [event.sequence for event in Store(str(DIRECTORY)).read().events]
    print(
        json.dumps({"problem": problem, "kept": kept, "before": before, "again": after_that, "after": after})
    )


HAPPENING = Happening(type=EventType.FAILOVER, at=1.0, severity=Severity.INFO, text="x" * 300)

main()
