"""Tell a hook of an event and print which capabilities the hook had, and which we have."""

import asyncio
import pathlib
import sys

from vpnagent.config.values import Hook, HookType
from vpnagent.events.event import Happening, event_of
from vpnagent.events.hooks import tell
from vpnagent.finding import EventType, Severity

OUTPUT = pathlib.Path(sys.argv[1])
COMMAND = ("/bin/sh", "-c", 'grep CapEff /proc/self/status > "$1"', "hook", str(OUTPUT))
HOOK = Hook(
    name="h",
    type=HookType.COMMAND,
    command=COMMAND,
    url=None,
    token=None,
    events=("info",),
    timeout=20.0,
    retries=0,
)
EVENT = Happening(type=EventType.FAILOVER, at=0.0, severity=Severity.INFO, text="x")

asyncio.run(tell(HOOK, (event_of(EVENT, 1),), gateway="g"))
ours = pathlib.Path("/proc/self/status").read_text().partition("CapEff:")[2].split()[0]
print(int(ours, 16), int(OUTPUT.read_text().split()[1], 16))
