"""Whether the daemon could start again. A shell: opens the files that a start opens, as the service's user.

A key that the service may no longer read, or whose file was emptied, changes nothing while the daemon runs;
at the next boot, perhaps months later, it leaves a router without tunnels.
"""

from collections.abc import Iterator

from vpnagent.config.values import Config
from vpnagent.errors import ConfigError
from vpnagent.finding import Finding, Severity
from vpnagent.standing import Standing


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
