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
from collections.abc import Iterator

from vpnagent.checks.certificates import expiries
from vpnagent.checks.judge import judge
from vpnagent.checks.observe import observe
from vpnagent.config.values import Config
from vpnagent.daemon.memory import Standing
from vpnagent.errors import ConfigError
from vpnagent.finding import Finding, Severity
from vpnagent.secret import close_memory
from vpnagent.witness.machine import machine_of, to_plain

# Whether the daemon could start again. A shell: opens the files that a start opens, as the service's
# user.
# A key that the service may no longer read, or whose file was emptied, changes nothing while the daemon
# runs; at the next boot, perhaps months later, it leaves a router without tunnels.


def next_start(config: Config, config_path: str) -> Iterator[Finding]:
    """Yield why a start now could run neither the file nor the last good configuration."""
    try:
        Standing(config_path, config.agent.state_directory).start()
    except ConfigError as error:
        yield Finding(
            code="StartRefused",
            subject="",
            severity=Severity.CRITICAL,
            text=f"after a restart or a reboot the daemon would not run: {error.line}",
            hint="mend it while all is well: sudo -u vpnagent vpnagent check says when it is",
        )


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
