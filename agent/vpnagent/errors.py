"""The errors of this package: five classes, each saying whose fault it is.

Adapters translate what libraries raise at their border, with ``from``. The core raises ``ValueError``
at construction only. The text of an error is one line that an operator can act on, and never a secret.
"""

from typing import Final

from vpnagent.record import record, replace

MOST_TOLD: Final = 100  #: problems of a configuration; the rest is counted


class AgentError(Exception):
    """Base of every error that this package raises on purpose."""


@record(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a configuration: where it stands, and which rule the value breaks."""

    file: str
    line: int  #: 1-based; 0 when the file could not be read at all
    key: str  #: for example ``connections[0].tunnels[1].remote_address``; empty for the file itself
    text: str  #: the rule and the value
    rule: str = "cannot be used: vpnagent check, on this machine, says why"  #: the rule without a value

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key}: {self.text}" if self.key else f"{where}: {self.text}"


class ConfigError(AgentError):
    """A configuration that cannot be used; ``problems`` holds every rule that it breaks."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        lines = [str(problem) for problem in problems[:MOST_TOLD]]
        if len(problems) > MOST_TOLD:
            lines.append(f"{problems[0].file}: and {len(problems) - MOST_TOLD} problems more")
        super().__init__("\n".join(lines))
        self.problems = problems

    def discreet(self) -> "ConfigError":
        """Return the same without a value, for others than the terminal of who asked."""
        return ConfigError(tuple(replace(problem, text=problem.rule) for problem in self.problems))

    @property
    def line(self) -> str:
        """All of it in one line, for the log."""
        return str(self).replace("\n", "; ")


class ViciError(AgentError):
    """charon refused a command, or could not be asked."""

    def __init__(self, command: str, reason: str) -> None:
        super().__init__(f"charon: {command}: {reason}")
        self.command = command
        self.reason = reason


class ViciUnavailableError(ViciError):
    """The VICI socket is missing, closed, or does not answer within the deadline."""


class NetlinkError(AgentError):
    """The kernel refused a change, or could not be asked."""

    def __init__(self, action: str, errno: int, reason: str) -> None:
        super().__init__(f"kernel: {action}: {reason}")
        self.action = action
        self.errno = errno  #: 0 when there is none
        self.reason = reason


class ControlError(AgentError):
    """The running daemon cannot be reached or refused a request; ``exit_status`` is the command's."""

    def __init__(self, reason: str, exit_status: int) -> None:
        super().__init__(reason)
        self.exit_status = exit_status
