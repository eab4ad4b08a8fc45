"""The command line: finds the command, runs it, turns errors into one line each and an exit status.

Commands live in `vpnagent.commands` and are imported when asked for: ``status`` must not pay for pydantic,
pyroute2 or prometheus-client. Every error is one line on standard error; exit statuses are 0 fine, 1 not
fine, 2 usage or configuration, 3 daemon unreachable, 4 not permitted.
"""

import errno
import importlib
import keyword
import os
import sys
from difflib import get_close_matches
from typing import NoReturn

import click

from vpnagent import __version__
from vpnagent.control.protocol import NOT_FINE, NOT_PERMITTED, USAGE
from vpnagent.errors import AgentError, ConfigError, ControlError, NetlinkError

INTERRUPTED = 130

#: The module of `vpnagent.commands` that has each command, under the command's own name there.
MODULES = {
    "alerts": "alerts",
    "check": "check",
    "completion": "completion",
    "confirm": "daemon",
    "dashboard": "dashboard",
    "down": "daemon",
    "drain": "daemon",
    "drill": "drill",
    "events": "events",
    "explain": "explain",
    "export": "export",
    "guard": "daemon",
    "hooks": "hooks",
    "import": "import_",
    "init": "init",
    "plan": "plan",
    "reload": "daemon",
    "run": "daemon",
    "status": "status",
    "support-bundle": "support_bundle",
    "undrain": "daemon",
}

#: What each command is for, in the order of a first day.
PURPOSES = {
    "Set up": ("init", "import", "check", "plan", "export"),
    "See": ("status", "events", "explain", "support-bundle"),
    "Change": ("reload", "confirm", "drain", "undrain", "drill", "down"),
    "Watch from elsewhere": ("alerts", "dashboard", "hooks"),
    "Run (systemd's units do)": ("run", "guard", "completion"),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, sorted."""
        return sorted(MODULES)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command; one that is misspelt is answered with the one that was meant."""
        if args and args[0] not in MODULES and (meant := get_close_matches(args[0], MODULES, n=1)):
            ctx.fail(f"there is no command {args[0]!r}: did you mean {meant[0]}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by purpose."""
        for purpose, names in PURPOSES.items():
            rows = [
                (name, command.get_short_help_str(formatter.width - 24))
                for name in names
                if (command := self.get_command(ctx, name)) is not None
            ]
            with formatter.section(purpose):
                formatter.write_dl(rows)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, or None."""
        if cmd_name not in MODULES:
            return None
        module = importlib.import_module(f"vpnagent.commands.{MODULES[cmd_name]}")
        attribute = f"{cmd_name}_" if cmd_name in keyword.kwlist else cmd_name.replace("-", "_")
        command = getattr(module, attribute)
        if not isinstance(command, click.Command):
            return None
        command.help = _laid_out(command.help)
        return command


def _laid_out(text: str | None) -> str | None:
    """Turn the mark before what is not to be rewrapped into click's: raw docstrings spell it out."""
    return text and text.replace("\\b\n", "\b\n")


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="vpnagent")
def commands() -> None:
    r"""On-premises IPsec gateway agent for Alibaba Cloud.

    \b
    Example:
      vpnagent check --config /etc/vpnagent/vpnagent.yaml
      vpnagent status
    """


commands.help = _laid_out(commands.help)


def main() -> NoReturn:
    """Run the command line; no traceback ever reaches a user."""
    try:
        status = commands.main(standalone_mode=False, prog_name="vpnagent")
    except click.ClickException as error:
        error.show()
        status = USAGE
    except (click.exceptions.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except AgentError as error:
        status = _complain(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing left to flush into it
        status = NOT_FINE
    except OSError as error:
        click.echo(f"vpnagent: {error.filename or 'system'}: {error.strerror or error}", err=True)
        status = NOT_FINE
    sys.exit(status or 0)


def _complain(error: AgentError) -> int:
    """Print an error, one line for each thing that is wrong, and return the exit status."""
    prefix = "" if isinstance(error, ConfigError) else "vpnagent: "
    for line in str(error).splitlines():
        click.echo(prefix + line, err=True)
    if isinstance(error, ControlError):
        return error.exit_status
    if isinstance(error, NetlinkError) and error.errno in (errno.EPERM, errno.EACCES):
        return NOT_PERMITTED
    return USAGE if isinstance(error, ConfigError) else NOT_FINE
