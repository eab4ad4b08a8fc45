"""A dialogue of ``vpnagent init``: each answer is checked at once, and kept if it is interrupted. A shell.

Keys are asked for, too, and never kept.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterable
from ipaddress import IPv4Interface, IPv4Network
from typing import Final, NoReturn, TypeVar

import click

from vpnagent import own_files
from vpnagent.commands.options import say

T = TypeVar("T")
PATIENCE: Final = 5.0  #: seconds for ip(8)
MOST: Final = 65536  #: bytes of kept answers


class Interview:
    """Questions to somebody on a terminal. What was answered lies in a file until ``finished()``."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._kept = _read(path)
        if self._kept:
            say(f"{path}: answers of an interrupted run; they are offered again")

    def ask(self, name: str, question: str, convert: Callable[[str], T], default: str | None = None) -> T:
        """Ask until ``convert`` takes the answer; it raises click.UsageError for one that it does not.

        Enter takes the answer that was kept, else the default. Raises click.Abort when interrupted.
        """
        offered = self._kept.get(name, default)
        while True:
            typed = click.prompt(question, default=offered, err=True)
            try:
                answer = convert(typed.strip())
            except click.UsageError as error:
                say(f"Error: {error.format_message()}")
                continue
            self._kept[name] = typed.strip()
            self._keep()
            return answer

    def interrupted(self) -> NoReturn:
        """Tell where the answers are, and end."""
        if os.path.exists(self._path):
            say(f"\n{self._path}: your answers; the same command goes on from there")
        raise click.Abort

    def finished(self) -> None:
        """Forget the answers."""
        if os.path.lexists(self._path):
            os.unlink(self._path)

    def _keep(self) -> None:
        try:
            own_files.write_as_asked(self._path, json.dumps(self._kept, indent=1).encode() + b"\n")
        except OSError as error:
            say(f"note: {self._path}: answers cannot be kept: {error.strerror}")


def _read(path: str) -> dict[str, str]:
    try:
        found = json.loads(own_files.of_operator(path, MOST))
    except (OSError, ValueError, RecursionError):
        return {}
    kept = found.items() if isinstance(found, dict) else ()
    return {name: answer for name, answer in kept if isinstance(answer, str)}


def addresses() -> list[tuple[str, IPv4Interface]]:
    """Return this machine's IPv4 addresses with their interfaces, loopback and link-local ones left out."""
    command = ["ip", "-json", "-4", "address", "show"]
    try:
        done = subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)  # noqa: S603 - no shell
        links = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return []
    found = [
        (str(link["ifname"]), IPv4Interface(f"{row['local']}/{row['prefixlen']}"))
        for link in links
        for row in link.get("addr_info", ())
    ]
    return [(name, one) for name, one in found if not (one.ip.is_loopback or one.ip.is_link_local)]


PRIVATE: Final = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))  #: RFC 1918


def likely_local(machine: Iterable[tuple[str, IPv4Interface]]) -> str | None:
    """Return the private networks that this machine is in, as they are typed; None without any."""
    inside = (one.network for _, one in machine if any(one.ip in network for network in PRIVATE))
    return ", ".join(map(str, dict.fromkeys(inside))) or None


def address_within(
    machine: Iterable[tuple[str, IPv4Interface]], networks: Iterable[IPv4Network]
) -> str | None:
    """Return this machine's first address within the networks; None without one."""
    wanted = tuple(networks)
    return next((str(one.ip) for _, one in machine if any(one.ip in network for network in wanted)), None)
