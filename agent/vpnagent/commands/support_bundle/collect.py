"""The parts of a support bundle: every file, program and answer, each with its deadline, all side by side.

What does not answer, is refused or is not there is a part that says so. What charon tells by VICI becomes
JSON. A shell.
"""

import asyncio
import contextlib
import functools
import glob
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from vpnagent import __version__, own_files, program
from vpnagent.checks.certificates import expiry
from vpnagent.commands.support_bundle.known_secrets import Content, Part, cut
from vpnagent.commands.support_bundle.summary import (
    CONFIGURATION,
    EVENTS,
    FINDINGS,
    PROGRAMS,
    QUESTIONS,
    STANDING,
    STATUS,
    SYSCTLS,
    VERSIONS,
    XFRM_STAT,
    BundleQuestion,
    Program,
)
from vpnagent.commands.support_bundle.veil import IsThere, shown
from vpnagent.control.client import ask
from vpnagent.errors import AgentError, ControlError, ViciUnavailableError
from vpnagent.events.store import Store
from vpnagent.ipsec import vici
from vpnagent.ipsec.messages import ViciSection
from vpnagent.own_files import MOST, of_operator
from vpnagent.record import record, replace


def plain(value: object) -> Any:
    """Return a decoded message as a JSON value."""
    if isinstance(value, Mapping):
        return {key: _certificate(part) if key == "data" else plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def all_of(messages: list[ViciSection]) -> list[Any]:
    """Return streamed messages as JSON values."""
    return [plain(message) for message in messages]


def _certificate(data: object) -> dict[str, str] | str:
    """Return what of a certificate (of the VICI key ``data``: DER) tells it from others."""
    if not isinstance(data, bytes):
        return plain(data)  # type: ignore[no-any-return]
    told = {"sha256": hashlib.sha256(data).hexdigest()}
    with contextlib.suppress(ValueError, OverflowError, OSError):  # a CRL, a public key
        told["not_after"] = datetime.fromtimestamp(expiry(data), UTC).isoformat()
    return told


# Look at everything that goes into a bundle, side by side, each within bounds of time and size. A shell.
# None can spoil another: the daemon may be dead, charon hang, a program be missing. What cannot be had is
# told in one line.

DEADLINE: Final = 10.0  #: seconds for a program; all are asked side by side
ANSWER_DEADLINE: Final = 4.0  #: seconds for an answer of the daemon or of charon
CHECK_DEADLINE: Final = 15.0  #: seconds; its own readings have 12
MOST_EVENTS: Final = 4000  #: the daemon has half as many
MOST_READ: Final = 16 << 20  #: bytes of a program's output
PATH: Final = "/usr/sbin:/sbin:/usr/bin:/bin"  #: a plain user's own path lacks sbin
PACKAGES: Final = ("vici", "pyroute2", "scapy", "prometheus-client", "pyyaml", "click", "pydantic", "rich")
DENIED: Final = re.compile(r"not permitted|permission|must be root|not seeing messages", re.IGNORECASE)
SYSCTLS_READ: Final = (
    *("kernel.modules_disabled", "net.core.netdev_max_backlog", "net.core.rmem_max", "net.core.wmem_max"),
    *("net.core.xfrm_acq_expires", "net.core.xfrm_larval_drop", "net.netfilter.nf_conntrack_count"),
    *("net.netfilter.nf_conntrack_max", "net.ipv4.ip_forward", "net.ipv4.fib_multipath_hash_policy"),
    *("net.ipv4.fib_multipath_use_neigh", "net.ipv4.nexthop_compat_mode", "net.ipv4.ip_no_pmtu_disc"),
    *("net.ipv4.ip_forward_use_pmtu", "net.ipv4.icmp_echo_ignore_all", "net.ipv4.xfrm4_gc_thresh"),
    *("net.ipv4.route.min_pmtu", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_mtu_probing"),
)
PER_INTERFACE: Final = (
    "rp_filter",
    "disable_xfrm",
    "disable_policy",
    "forwarding",
    "accept_local",
    "src_valid_mark",
)

PartReading = Callable[[], Awaitable[Content]]
Progress = Callable[[str], None]


@record(frozen=True, slots=True, kw_only=True)
class Places:
    """Where to look."""

    config_path: str
    control_socket: str
    vici_socket: str
    standing: str  #: the file of the configuration that stands
    state_directory: str
    known_keys: frozenset[str]  #: of the configuration
    is_there: IsThere
    path: str = PATH  #: of programs
    vpnagent: tuple[str, ...] = (sys.executable, "-I", "-m", "vpnagent")  #: not one of the current folder
    deadline: float = DEADLINE
    answer_deadline: float = ANSWER_DEADLINE


class _IncompleteError(Exception):
    """Why there is nothing, or what there is nevertheless."""

    def __init__(self, why: str, content: Content | None = None) -> None:
        super().__init__(why)
        self.content = content


async def collect(places: Places, progress: Progress = lambda _name: None) -> list[Part]:
    """Return a part for each file of the bundle. ``progress`` is told of each that is done."""
    readings: dict[str, PartReading] = {
        STATUS: lambda: _asked(places, "status"),
        EVENTS: lambda: _events(places),
        VERSIONS: _plain(_versions),
        CONFIGURATION: _plain(lambda: _configuration(of_operator(places.config_path, MOST), places)),
        STANDING: _plain(lambda: _configuration(own_files.read(places.standing), places)),
        FINDINGS: lambda: _findings(places),
        SYSCTLS: _plain(_sysctls),
        XFRM_STAT: _plain(lambda: Path("/proc/thread-self/net/xfrm_stat").read_text()),
    }
    for source in PROGRAMS:
        readings[source.name] = functools.partial(_printed, source, places)

    async def read(name: str, reading: PartReading) -> Part:
        part = await _read(name, reading)
        progress(name)
        return part

    charon, others = await asyncio.gather(
        _charon(places), asyncio.gather(*(read(*item) for item in readings.items()))
    )
    return [*charon, *others]


def _plain(reading: Callable[[], Content]) -> PartReading:
    """Make a reading of files one of the others: they are local, small, and answer at once."""

    async def read() -> Content:
        return reading()

    return read


async def _read(name: str, reading: PartReading) -> Part:
    part = Part(name=name)
    try:
        return replace(part, content=await reading())
    except _IncompleteError as error:
        return replace(part, content=error.content, why=str(error), forbidden=_is_denied(str(error)))
    except TimeoutError:
        return replace(part, why="no answer in time")
    except OSError as error:
        why = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or repr(error)
        return replace(part, why=why, forbidden=isinstance(error, PermissionError))
    except (AgentError, ValueError, LookupError, TypeError) as error:
        why = str(error).replace("\n", "; ")
        return replace(part, why=why, forbidden=_is_denied(why))


def _is_denied(why: str) -> bool:
    return DENIED.search(why) is not None


# Programs


async def _printed(source: Program, places: Places) -> str:
    name, *arguments = source.command
    found = shutil.which(name, path=places.path)
    if found is None:
        raise _IncompleteError(f"{name} is not installed")
    ended = await program.run((found, *arguments), seconds=places.deadline, most=MOST_READ)
    text, lost = cut(ended.output.decode(errors="replace"), keep_end=source.keep_end)
    said = ended.complaint.decode(errors="replace").strip().partition("\n")[0]
    if ended.status not in source.fine and len(ended.output) <= MOST_READ:
        raise _IncompleteError(f"{name}: {said or f'exit status {ended.status}'}", text or None)
    if lost or (source.heeded and said):
        raise _IncompleteError(lost or f"{name}: {said}", text)
    return text


async def _findings(places: Places) -> Content:
    """Have `vpnagent check` look, in a process of its own: whatever befalls it, it is not us."""
    command = (*places.vpnagent, "check", "--json", "--config", places.config_path)
    ended = await program.run(command, seconds=CHECK_DEADLINE, most=MOST_READ)
    if not ended.output:
        said = "; ".join(ended.complaint.decode(errors="replace").strip().splitlines())
        raise _IncompleteError(said or f"exit status {ended.status}")
    found: Content = json.loads(ended.output)
    return found


# The daemon


async def _asked(places: Places, command: str, **arguments: Any) -> Any:
    socket, timeout = places.control_socket, places.answer_deadline
    return await asyncio.to_thread(ask, socket, command, timeout=timeout, **arguments)


async def _events(places: Places) -> Content:
    """Return what the daemon tells, and without one what it left on disk."""
    try:
        return await _told_events(places)
    except ControlError as error:
        kept = await asyncio.to_thread(Store(places.state_directory).read)
        why = f"from disk: {error}" + (f"; {kept.problem}" if kept.problem else "")
        raise _IncompleteError(why, [event.plain() for event in kept.events] or None) from None


async def _told_events(places: Places) -> list[Any]:
    events: list[Any] = []
    more = True
    while more and len(events) < MOST_EVENTS:  # whoever answers in the daemon's place has no end
        after = events[-1]["sequence"] if events else 0
        answer = await _asked(places, "events", types=[], since=0.0, after=after, limit=None)
        events += answer["events"]
        more = answer["more"] and bool(answer["events"])
    return events


# charon


async def _charon(places: Places) -> list[Part]:
    """Ask charon everything on one connection: its socket has room for three that wait."""
    try:
        connection = await vici.connect(places.vici_socket, deadline=places.answer_deadline)
    except ViciUnavailableError as error:
        why = f"charon: {error.reason}"
        return [Part(name=q.name, why=why, forbidden=_is_denied(why)) for q in QUESTIONS]
    try:
        asked = (_read(q.name, functools.partial(_told, q, connection)) for q in QUESTIONS)
        return await asyncio.gather(*asked)
    finally:
        connection.close()


async def _told(question: BundleQuestion, connection: vici.ViciConnection) -> Content:
    try:
        if not question.streamed:
            answer: Content = plain(await connection.request(question.command))
            return answer
        await connection.subscribe(question.streamed)
        return all_of(await connection.stream(question.command))
    except ViciUnavailableError as error:  # one reason for all that was asked
        raise _IncompleteError(f"charon: {error.reason}") from None


# Files


def _configuration(content: bytes, places: Places) -> str:
    return shown(content.decode(), places.known_keys, places.is_there)


def _versions() -> dict[str, Any]:
    release = platform.freedesktop_os_release()
    kernel = os.uname()
    packages = {name: _version(name) for name in PACKAGES}
    return {
        "vpnagent": __version__,
        "Python": platform.python_version(),
        "kernel": f"{kernel.release} {kernel.version} {kernel.machine}",
        "distribution": release.get("PRETTY_NAME", "unknown"),
        "Python's packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _sysctls() -> str:
    paths = [Path("/proc/sys", *key.split(".")) for key in SYSCTLS_READ]
    paths += [
        Path(folder, key)
        for folder in sorted(glob.glob("/proc/sys/net/ipv4/conf/*"))
        for key in PER_INTERFACE
    ]
    return "".join(_sysctl(path) for path in paths)


def _sysctl(path: Path) -> str:
    try:
        return f"{path.relative_to('/proc/sys')} = {path.read_text().strip()}\n"
    except OSError:
        return ""  # not of this kernel
