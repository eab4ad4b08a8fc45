"""The nexthop groups in the kernel: what writes them, keeps them as decided, and hears of changes. A shell.

A request is executed by the kernel within ``send``, so its answer is in the queue when ``send`` returns:
nothing here waits for a reply, only (within the kernel) for others who hold the RTNL lock.

The prober is the one writer of groups while it lives. The kernel refuses a whole group when one member
is gone, and takes legs out of it without a word when their link goes: so a refused write is tried again
with the members that exist, and ``verify`` compares from time to time. With a group the kernel deletes its
routes, and the control daemon, who has made them, may be stopped: ``RouteRestorer`` puts them back.
"""

import contextlib
import errno
import os
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from vpnagent.errors import NetlinkError
from vpnagent.finding import Finding, Severity
from vpnagent.netlink.message import (
    NETLINK_CAP_ACK,
    NETLINK_EXT_ACK,
    NLMSG_DONE,
    NLMSG_ERROR,
    SO_RCVBUFFORCE,
    SOL_NETLINK,
    NetlinkMessage,
    ack,
    messages,
    numbered,
)
from vpnagent.netlink.rtnetlink import (
    ADDRESSES,
    LINKS,
    NEXTHOP_GRP_TYPE_RES,
    PROTOCOL,
    RTM_NEWNEXTHOP,
    RTM_NEWSTATS,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_LINK,
    RTNLGRP_NEXTHOP,
    LinkCounters,
    NexthopRow,
    counters,
    group_replace,
    link_counters,
    nexthop,
    nexthop_delete,
    nexthop_row,
    route_add,
)
from vpnagent.probe.intent import GroupRoutes

FOREIGN = "a nexthop object of others has this id"
SLICE = 256  #: routes put back in one wake-up: some two milliseconds
_MEMBER_MISSING = (errno.EINVAL, errno.ENOENT)

_EVENT_BUFFER = 4 * 1024 * 1024  #: bytes
_DATAGRAM = 64 * 1024  #: bytes, above what the kernel puts into one
_BATCH = 256  #: datagrams of events taken at a time

_EVENTS = sum(1 << group - 1 for group in (RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_NEXTHOP))

Members = tuple[tuple[int, int], ...]  # nexthop id and weight


class KernelRequests:
    """Writes nexthop groups and asks for single objects; NetlinkError says what the kernel refused."""

    def __init__(self) -> None:
        self._socket = _netlink(groups=0)
        self._sequence = 0

    def write_group(self, group: int, members: Members, *, resilient: bool = False) -> bool:
        """Make the group what ``members`` say, in one step; return whether it was there before."""
        what = f"nexthop replace id {group}"
        try:
            request = group_replace(group, members, resilient=resilient, create=False)
            self._ask(what, request)
        except NetlinkError as error:
            if error.errno != errno.ENOENT or self.nexthop(group) is not None:
                raise
        else:
            return True
        self._ask(what, group_replace(group, members, resilient=resilient))
        return False

    def delete_group(self, group: int) -> None:
        """Delete the group and with it its routes; fine when there is none."""
        try:
            self._ask(f"nexthop delete id {group}", nexthop_delete(group))
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise

    def add_routes(self, requests: list[bytes]) -> bool:
        """Ask for routes, all at once; return whether none was refused but what is there already."""
        self._socket.send(b"".join(requests))
        refused = {errno.EEXIST}
        with contextlib.suppress(BlockingIOError):
            while True:
                answers = messages(self._socket.recv(_DATAGRAM, socket.MSG_DONTWAIT))
                refused |= {ack(answer).errno for answer in answers if answer.type == NLMSG_ERROR} - {0}
        return refused == {errno.EEXIST}

    def nexthop(self, id_: int) -> NexthopRow | None:
        """Return the nexthop or group as it is; None when there is none."""
        try:
            answers = self._ask(f"nexthop get id {id_}", nexthop(id_))
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        rows = (nexthop_row(answer.body) for answer in answers if answer.type == RTM_NEWNEXTHOP)
        return next((row for row in rows if row.id == id_), None)

    def existing(self, members: Members) -> Members:
        """Return the members whose nexthop is there: with one missing the kernel refuses them all."""
        return tuple(member for member in members if self.nexthop(member[0]) is not None)

    def counters(self, index: int) -> LinkCounters | None:
        """Return what passed an interface."""
        answers = self._ask(f"link stats index {index}", link_counters(index))
        return next((counters(answer.body) for answer in answers if answer.type == RTM_NEWSTATS), None)

    def interfaces(self) -> list[NetlinkMessage]:
        """Return all interfaces and all IPv4 addresses, as the events tell them."""
        return self._dump(LINKS) + self._dump(ADDRESSES)

    def close(self) -> None:
        """Give the file descriptor back."""
        self._socket.close()

    def _dump(self, request: bytes) -> list[NetlinkMessage]:
        self._sequence += 1
        self._socket.send(numbered(request, self._sequence))
        found: list[NetlinkMessage] = []
        while True:
            for answer in messages(self._socket.recv(_DATAGRAM)):
                if answer.type in (NLMSG_DONE, NLMSG_ERROR):
                    return found
                found.append(answer)

    def _ask(self, action: str, request: bytes) -> list[NetlinkMessage]:
        """Send one request and return what came before its acknowledgement."""
        self._sequence += 1
        answers: list[NetlinkMessage] = []
        try:
            self._socket.send(numbered(request, self._sequence))
            while True:
                for answer in messages(self._socket.recv(_DATAGRAM, socket.MSG_DONTWAIT)):
                    if answer.type != NLMSG_ERROR:
                        answers.append(answer)
                    elif answer.sequence == self._sequence:
                        return _acknowledged(action, answer, answers)
        except OSError as error:
            raise NetlinkError(action, error.errno or errno.EIO, f"not asked: {error.strerror}") from error


def _acknowledged(action: str, answer: NetlinkMessage, answers: list[NetlinkMessage]) -> list[NetlinkMessage]:
    answered = ack(answer)
    if answered.errno:
        raise NetlinkError(action, answered.errno, answered.reason)
    return answers


class KernelEvents:
    """What happens to interfaces, their addresses, and nexthop objects."""

    def __init__(self) -> None:
        self._socket = _netlink(groups=_EVENTS)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _EVENT_BUFFER)

    def fileno(self) -> int:
        """Return the file descriptor, for epoll."""
        return self._socket.fileno()

    def drain(self) -> Iterator[NetlinkMessage]:
        """Yield events that wait, some at a time: probes have the right of way.

        Raises NetlinkError, with ENOBUFS when some were lost: look at all anew.
        """
        for _ in range(_BATCH):
            try:
                datagram = self._socket.recv(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                raise NetlinkError(
                    "listen", error.errno or errno.EIO, os.strerror(error.errno or 0)
                ) from error
            yield from messages(datagram)


def _netlink(*, groups: int) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        sock.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        sock.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    return sock


class RouteRestorer:
    """Puts back the routes that went with a group, when the group is made again.

    Only what the control daemon told, only after a group that was there had gone, and never over what others
    have put in its place. A slice at a time: probing goes on meanwhile. Drive it with ``restore`` and, while
    there is more, ``advance``.
    """

    def __init__(self, kernel: KernelRequests) -> None:
        self._kernel = kernel
        self._routes: dict[int, GroupRoutes] = {}
        self._due: deque[tuple[int, list[str]]] = deque()  #: group and prefixes

    def use(self, routes: tuple[GroupRoutes, ...]) -> None:
        """Take what the daemon tells."""
        self._routes = {of_group.group: of_group for of_group in routes}

    @property
    def more(self) -> bool:
        """Whether there is something left to be done."""
        return bool(self._due)

    def restore(self, group: int) -> None:
        """The group was made again."""
        if group in self._routes:
            prefixes = self._routes[group].prefixes.split()
            self._due = deque(due for due in self._due if due[0] != group)
            self._due.extend((group, prefixes[at : at + SLICE]) for at in range(0, len(prefixes), SLICE))
            self.advance()

    def gone(self, group: int) -> None:
        """The group is gone, and with it the routes."""
        self._due = deque(due for due in self._due if due[0] != group)

    def advance(self) -> None:
        """Put the next slice back; without the source address where the kernel refuses that."""
        if not self._due:
            return
        group, prefixes = self._due.popleft()
        routes = self._routes.get(group)
        source = routes.source.packed if routes and routes.source else None
        metric = routes.metric if routes else 0
        if not self._kernel.add_routes(_requests(group, prefixes, source, metric)) and source:
            self._kernel.add_routes(_requests(group, prefixes, None, metric))


def _requests(group: int, prefixes: list[str], source: bytes | None, metric: int) -> list[bytes]:
    found = []
    for prefix in prefixes:
        address, _, length = prefix.partition("/")
        octets = bytes(int(octet) for octet in address.split("."))
        found.append(route_add(octets, int(length), group, source, metric))
    return found


class Written(NamedTuple):
    """A group as it was last written."""

    members: Members  #: empty: deleted
    sent: float  #: monotonic seconds
    acknowledged: float | None  #: None: the kernel refused
    error: str  #: empty: the kernel holds what was decided


class GroupWriter:
    """Moves traffic: writes groups, and puts right what others did to them."""

    def __init__(self, kernel: KernelRequests) -> None:
        self._kernel = kernel
        self._gone: set[int] = set()  #: groups that were there
        self.foreign: set[int] = set()  #: ids of ours under which somebody else has an object
        self.restorer = RouteRestorer(kernel)
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
        if have.group_type == NEXTHOP_GRP_TYPE_RES:
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
