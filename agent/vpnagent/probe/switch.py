"""Writes the nexthop groups, and keeps the kernel's at what was decided.

The prober is the one writer of groups while it lives. The kernel refuses a whole group when one member is
gone, and takes legs out of it without a word when their link goes: so a refused write is tried again with
the members that exist, and ``verify`` compares from time to time.
"""

import errno
import time
from collections.abc import Mapping
from typing import NamedTuple

from vpnagent.errors import NetlinkError
from vpnagent.finding import Finding, Severity
from vpnagent.probe.kernel import Kernel, Members
from vpnagent.probe.netlink_message import PROTOCOL
from vpnagent.probe.restorer import Restorer

FOREIGN = "a nexthop object of others has this id"
_MEMBER_MISSING = (errno.EINVAL, errno.ENOENT)


class Written(NamedTuple):
    """A group as it was last written."""

    members: Members  #: empty: deleted
    sent: float  #: monotonic seconds
    acknowledged: float | None  #: None: the kernel refused
    error: str  #: empty: the kernel holds what was decided


class Switch:
    """Moves traffic."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._gone: set[int] = set()  #: groups that were there
        self.foreign: set[int] = set()  #: ids of ours under which somebody else has an object
        self.restorer = Restorer(kernel)
        self._resilient: set[int] = set()
        self.written: dict[int, Written] = {}
        self._stood: set[int] = set()  #: groups that held what was decided when they were last looked at
        self.repaired = 0  #: of these, how often one was changed or removed by others, and put right

    def read(self, group: int) -> Members:
        """Return what the kernel has in the group; empty when there is none."""
        have = self._kernel.nexthop(group)
        if have is None:
            self.foreign.discard(group)
            if group in self.written:
                self._gone.add(group)
            return ()
        if have.protocol != PROTOCOL:
            self.foreign.add(group)
            return ()
        self.foreign.discard(group)
        if have.resilient:
            self._resilient.add(group)
        return have.members

    def write(self, group: int, members: Members) -> Written:
        """Make the group hold the members, or those of them that exist; an empty one is deleted."""
        sent = time.monotonic()
        error = ""
        acknowledged = None
        try:
            members, error = self._write(group, members)
            acknowledged = time.monotonic()
            self._settle(group, members)
        except NetlinkError as refusal:
            error = refusal.reason
        self.written[group] = Written(members, sent, acknowledged, error)
        (self._stood.discard if error or not members else self._stood.add)(group)
        return self.written[group]

    def _settle(self, group: int, members: Members) -> None:
        """See to the routes: they went with the group, and come back with it."""
        if not members:
            self._gone.add(group)
            self.restorer.gone(group)
        elif group in self._gone:
            self._gone.discard(group)
            self.restorer.restore(group)

    def findings(self) -> tuple[Finding, ...]:
        """Return what stands in the way."""
        return tuple(
            Finding(
                code="ForeignObject",
                subject=f"nexthop {group}",
                severity=Severity.CRITICAL,
                text=f"{FOREIGN}: traffic cannot be moved",
                hint=f"ip nexthop show id {group}; whoever made it is to take another id",
            )
            for group in sorted(self.foreign)
        )

    def _write(self, group: int, members: Members) -> tuple[Members, str]:
        if group not in self.written:
            self.read(group)
        if group in self.foreign:
            raise NetlinkError(f"nexthop replace id {group}", errno.EEXIST, FOREIGN)
        if not members:
            self._kernel.delete_group(group)
            return members, ""
        try:
            self._replace(group, members)
        except NetlinkError as error:
            if error.errno not in _MEMBER_MISSING:
                raise
        else:
            return members, ""
        return self._write_existing(group, members)

    def _replace(self, group: int, members: Members) -> None:
        there = self._kernel.write_group(group, members, resilient=group in self._resilient)
        if not there and group in self.written:
            self._gone.add(group)

    def _write_existing(self, group: int, members: Members) -> tuple[Members, str]:
        self._resilient.discard(group)
        self.read(group)  # its type: the kernel refuses to turn one into the other
        existing = self._kernel.existing(members)
        if not existing:
            raise NetlinkError(f"nexthop replace id {group}", errno.ENOENT, "none of its members exists")
        self._replace(group, existing)
        missing = sorted({id_ for id_, _ in members} - {id_ for id_, _ in existing})
        return existing, f"without nexthop {', '.join(map(str, missing))}: there is none" if missing else ""

    def verify(self, groups: Mapping[int, Members]) -> list[int]:
        """Put right what is not as it should be; return the groups that were written."""
        return [group for group, members in groups.items() if self._repaired(group, members)]

    def _repaired(self, group: int, members: Members) -> bool:
        try:
            have = sorted(self.read(group))
            if group in self.foreign:
                return False
            if have == sorted(members):
                if group in self.written:
                    self.written[group] = self.written[group]._replace(error="")
                return False
            if have and have == sorted(self._kernel.existing(members)):
                self._stood.discard(group)  # the kernel took out what went with its link
                return False
        except NetlinkError:
            return False
        stood = group in self._stood
        written = self.write(group, members)
        self.repaired += stood and not written.error
        return written.acknowledged is not None
