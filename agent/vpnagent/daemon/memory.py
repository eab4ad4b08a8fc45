"""The configuration that stands, kept so that a file which is bad or not confirmed costs nothing.

Kept, in the state directory, is the text of the file, never a secret. A start with a file that cannot be
used runs what stands instead. A change that was made with ``reload --confirm`` does not stand before
``confirm``: its digest and deadline are noted, also for a start meanwhile, and past the deadline, or after a
reboot, that very text is not used again until an operator reloads it. Deadlines are on CLOCK_BOOTTIME: no
step of the wall clock confirms or refuses anything.
"""

import asyncio
import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from vpnagent import own_files
from vpnagent.config.load import content_of, load
from vpnagent.config.values import Config, TunnelKey
from vpnagent.errors import ConfigError, Problem
from vpnagent.finding import Finding, Severity
from vpnagent.knowledge import incidents
from vpnagent.knowledge.incidents import Incident
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.own_files import replace_file

log = logging.getLogger(__name__)

MOST: Final = 24 * 3600.0  #: seconds that a confirmation may take
NO_RECORD: Final = (ValueError, TypeError, KeyError, OverflowError, RecursionError)
STANDING, UNCONFIRMED = "standing.yaml", "unconfirmed.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Unconfirmed(NamedTuple):
    """A change that was made on condition."""

    digest: str  #: of the file's content
    deadline: float  #: seconds of CLOCK_BOOTTIME
    boot_id: str

    def expired(self, boot_id: str, now: float) -> bool:
        """Whether it is to be taken back: its time is over, or its boot."""
        return self.boot_id != boot_id or now >= self.deadline


class Loaded(NamedTuple):
    """A configuration, the text it is from, and why it is not the one on disk, if it is not."""

    config: Config
    content: bytes
    error: str | None


class Standing:
    """What is kept of the configuration of one path; without ``read_secrets`` the keys are let be."""

    def __init__(self, config_path: str, directory: str, *, read_secrets: bool = True) -> None:
        self._config_path = config_path
        self._directory = Path(directory)
        self._read_secrets = read_secrets

    def start(self) -> Loaded:
        """Return what a start is to run. Raises ConfigError if neither the file nor what stands is usable."""
        try:
            loaded = self.read()
        except ConfigError as error:
            try:
                return self._stood(str(error.discreet()))
            except ConfigError as second:
                kept = second.problems if self._is_there() else ()
                raise ConfigError((*error.problems, *kept)) from None
        unconfirmed = self._unconfirmed(loaded.content)
        if unconfirmed and unconfirmed.expired(*_now()):
            try:
                return self.taken_back()
            except ConfigError as error:
                log.warning("take-back-failed %s", error.discreet().line)
        return loaded

    def read(self) -> Loaded:
        """Return the file as it is. Raises ConfigError."""
        content = content_of(self._config_path)
        return self._loaded(content, None)

    def taken_back(self) -> Loaded:
        """Return what stood before an unconfirmed change. Raises ConfigError if that cannot be used."""
        return self._stood(f"{self._config_path}: taken back: the change was not confirmed in time")

    def _is_there(self) -> bool:
        return any(
            os.path.lexists(self._directory / name) for name in (STANDING, f"{STANDING}{own_files.DAMAGED}")
        )

    def _stood(self, error: str) -> Loaded:
        path = self._directory / STANDING
        try:
            content = own_files.read(path)
            if self._read_secrets and os.geteuid() == 0 and (owner := os.stat(self._directory).st_uid):
                # Its hooks would be root's, and whose file it is has no way to become root.
                raise _unusable(path, f"it is uid {owner}'s, and root runs nothing of another's")
            return self._loaded(content, error)
        except own_files.DamagedError as damaged:
            raise _unusable(path, f"{damaged}: {own_files.set_aside(path)}") from None
        except FileNotFoundError:
            raise _unusable(path, "there is none") from None
        except OSError as unreadable:
            raise _unusable(path, f"cannot be read: {unreadable.strerror}") from None
        except ConfigError as damaged:
            first = damaged.discreet().problems[0]
            text = f"line {first.line}: {first.key}: {first.text}: {own_files.set_aside(path)}"
            raise _unusable(path, text) from None

    def _loaded(self, content: bytes, error: str | None) -> Loaded:
        config = load(self._config_path, content=content, read_secrets=self._read_secrets)
        return Loaded(config, content, error)

    def keep(self, content: bytes) -> str | None:
        """Let this stand, confirmed; return what went wrong, in one line, or None."""
        return self._write(STANDING, content) or self._forget()

    def await_confirmation(self, content: bytes, seconds: float) -> str | None:
        """Note that this is to be taken back in so many seconds; return what went wrong, or None."""
        boot_id, now = _now()
        record = Unconfirmed(_digest(content), now + seconds, boot_id)
        return self._write(UNCONFIRMED, json.dumps(record._asdict()).encode())

    def unconfirmed(self) -> Unconfirmed | None:
        """Return the change that was not confirmed, be its time over or not."""
        path = self._directory / UNCONFIRMED
        try:
            return _unconfirmed_in(own_files.read(path))
        except FileNotFoundError:
            return None
        except (own_files.DamagedError, *NO_RECORD) as error:
            reason = f"{error}: {own_files.set_aside(path)}"
        except OSError as error:
            reason = error.strerror or "cannot be read"
        log.warning("unconfirmed-unreadable file=%s error=%r: nothing is taken back", path, reason)
        return None

    def remaining(self, content: bytes) -> float:
        """Return the seconds until this is taken back; 0 if that is due, or it was never on condition."""
        unconfirmed, (boot_id, now) = self._unconfirmed(content), _now()
        if unconfirmed is None or unconfirmed.expired(boot_id, now):
            return 0.0
        return unconfirmed.deadline - now

    def _unconfirmed(self, content: bytes) -> Unconfirmed | None:
        """Return the change that was not confirmed, if this is its text."""
        record = self.unconfirmed()
        return record if record and record.digest == _digest(content) else None

    def _forget(self) -> str | None:
        try:
            own_files.remove(self._directory / UNCONFIRMED)
        except OSError as error:
            return f"{error.filename}: {error.strerror}: a restart may take the change back"
        return None

    def _write(self, name: str, content: bytes) -> str | None:
        """Replace a file as a whole."""
        path = self._directory / name
        try:
            own_files.replace_file(path, content)
        except OSError as error:
            return f"{path}: {error.strerror or error}: it will not survive a restart"
        return None


def _unconfirmed_in(content: bytes) -> Unconfirmed:
    """Return the record of a change. Raises one of ``NO_RECORD``: a bad time would end status for good."""
    record = json.loads(content)
    digest, deadline, boot_id = record["digest"], float(record["deadline"]), record["boot_id"]
    if not (isinstance(digest, str) and isinstance(boot_id, str) and math.isfinite(deadline)):
        raise ValueError("its values are of the wrong kinds")
    boot, now = _now()
    if boot_id == boot and deadline > now + MOST:
        raise ValueError(f"its deadline is later than {MOST:g} s from now")
    return Unconfirmed(digest, deadline, boot_id)


def _unusable(path: Path, reason: str) -> ConfigError:
    text = f"the last good configuration cannot be used: {reason}"
    return ConfigError((Problem(str(path), 0, "", text, text),))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _now() -> tuple[str, float]:
    return BOOT_ID.read_text(encoding="ascii").strip(), time.clock_gettime(time.CLOCK_BOOTTIME)


# The drains, kept in the state directory so that they survive restart and reboot.
# A file that cannot be read or written costs the memory of a drain, never a tunnel: it is told, and the
# daemon goes on.

log = logging.getLogger(__name__)

FILE = "drained.json"
LONGEST_NAME = 32  #: characters, as in the configuration


def read(state_directory: str) -> frozenset[TunnelKey]:
    """Return the tunnels that were drained when the file was last written."""
    path = Path(state_directory) / FILE
    try:
        return _keys(json.loads(own_files.read(path)))
    except FileNotFoundError:
        return frozenset()
    except (own_files.DamagedError, ValueError, TypeError, RecursionError) as error:
        reason = f"{error}: {own_files.set_aside(path)}"
    except OSError as error:
        reason = error.strerror or "cannot be read"
    log.warning("drains-unreadable file=%s error=%r: nothing is drained", path, reason)
    return frozenset()


def _keys(rows: Iterable[tuple[object, object]]) -> frozenset[TunnelKey]:
    keys = [TunnelKey(str(connection), str(tunnel)) for connection, tunnel in rows]
    if any(len(name) > LONGEST_NAME for key in keys for name in key):
        raise ValueError("it names what can be no tunnel")
    return frozenset(keys)


def write(state_directory: str, drained: Iterable[TunnelKey]) -> str | None:
    """Replace the file as a whole; return what went wrong, in one line, or None."""
    path = Path(state_directory) / FILE
    try:
        replace_file(path, json.dumps(sorted(drained)).encode())
    except OSError as error:
        return f"{path}: {error.strerror or error}: the drain will not survive a restart"
    return None


# The open incidents, kept so that a fault is told once and keeps its age over a restart of the daemon.

INCIDENTS = "incidents.json"


def read_incidents(state_directory: str) -> tuple[Incident, ...]:
    """Return the incidents that were open when the file was last written."""
    path = Path(state_directory) / INCIDENTS
    try:
        return incidents.incidents_in(json.loads(own_files.read(path)))
    except FileNotFoundError:
        return ()
    except (own_files.DamagedError, *NO_RECORD) as error:
        reason = f"{error}: {own_files.set_aside(path)}"
    except OSError as error:
        reason = error.strerror or "cannot be read"
    log.warning("incidents-unreadable file=%s error=%r: what is wrong is told anew", path, reason)
    return ()


def write_incidents(state_directory: str, still_open: Iterable[Incident]) -> str | None:
    """Replace the file as a whole; return what went wrong, in one line, or None."""
    path = Path(state_directory) / INCIDENTS
    try:
        replace_file(path, json.dumps(incidents.plain(still_open)).encode())
    except OSError as error:
        return f"{path}: {error.strerror or error}: after a restart incidents will be told anew"
    return None


# Small files of the state directory that must survive a restart: written, and tried again until they are.
# A disk that is full or refuses costs what is to be remembered, and nothing now: one finding stands for
# each file that is not written.

RETRY: Final = 5.0  #: seconds before a disk that refused is tried again

Write = Callable[[], str | None]  #: blocking; returns what went wrong, in one line, or None


class _Waiting(NamedTuple):
    """A write that failed, and why."""

    write: Write
    problem: str


class Keeping:
    """``known.state_findings`` is its to write."""

    def __init__(self, known: Knowledge) -> None:
        self._known = known
        self._waiting: dict[str, _Waiting] = {}  #: by what is to be kept
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Try again what waits, until cancelled."""
        while True:
            await asyncio.sleep(RETRY)
            for what in list(self._waiting):
                await self.again(what)

    async def keep(self, what: str, write: Write) -> str | None:
        """Write in place of what was to be kept before; return what went wrong, in one line, or None."""
        async with self._one_at_a_time:
            return await self._try(what, write)

    async def keep_drains(self) -> str | None:
        """Write which tunnels are drained, as it is when that is written; return what went wrong, or None."""
        directory = self._known.config.agent.state_directory
        return await self.keep("drains", lambda: write(directory, self._known.drained))

    async def run_incidents(self) -> None:
        """Write the open incidents whenever they have changed, until cancelled."""
        directory = self._known.config.agent.state_directory
        while True:
            await self._known.incidents_dirty.wait()
            self._known.incidents_dirty.clear()
            await self.keep("incidents", lambda: write_incidents(directory, self._known.incidents.open))

    async def again(self, what: str) -> str | None:
        """Try at once what waits, if it does; return what went wrong."""
        async with self._one_at_a_time:
            waiting = self._waiting.get(what)
            return None if waiting is None else await self._try(what, waiting.write)

    async def _try(self, what: str, write: Write) -> str | None:
        problem = await asyncio.to_thread(write)
        if problem is None:
            self._waiting.pop(what, None)
        else:
            self._waiting[what] = _Waiting(write, problem)
        self._known.state_findings = tuple(_not_kept(w, f.problem) for w, f in self._waiting.items())
        return problem


def _not_kept(what: str, problem: str) -> Finding:
    return Finding(
        code="StateNotKept",
        subject=what,
        severity=Severity.WARNING,
        text=f"not kept: {problem}",
        hint="make room in agent.state_directory; it is tried again by itself",
    )
