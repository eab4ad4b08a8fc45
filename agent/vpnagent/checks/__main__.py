"""One look at the machine in a process of its own, for the daemon: a configuration in, findings out.

In its own process a ruleset of 100,000 rules costs the daemon's loop nothing, and a look that hangs can be
killed. The daemon, which starts this, gives the configuration as a pickle without secrets; what it
found goes back as JSON.
"""

import asyncio
import json
import os
import pickle
import sys

from vpnagent.checks.certificates import expiries
from vpnagent.checks.judge import judge
from vpnagent.checks.next_start import next_start
from vpnagent.checks.observe import observe
from vpnagent.secret import close_memory
from vpnagent.witness.machine import machine_of, to_plain

LEAST_URGENT = 19


def main() -> None:
    """Read standard input, look, and write to standard output."""
    close_memory()  # it reads the keys as a start does
    os.nice(LEAST_URGENT)
    config, config_path = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the daemon that started us
    seen = asyncio.run(observe(config, config_path, thorough=False))
    found = [*next_start(config, config_path), *judge(config, seen)]
    findings = [[f.code, f.subject, f.severity.value, f.text, f.hint] for f in found]
    expiry = expiries(seen, (tunnel.key for tunnel in config.tunnels()))
    machine = to_plain(machine_of(config, seen))
    json.dump({"findings": findings, "certificate_expiry": [*expiry.items()], "machine": machine}, sys.stdout)


if __name__ == "__main__":
    main()
