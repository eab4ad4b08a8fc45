"""The prober's rtnetlink sockets: one that writes, one that listens.

A request is executed by the kernel within ``send``, so its answer is in the queue when ``send`` returns:
nothing here waits for a reply, only (within the kernel) for others who hold the RTNL lock.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator

from vpnagent.errors import NetlinkError
from vpnagent.probe import netlink_message as message
from vpnagent.probe.netlink_message import Ack, Counters, Done, NexthopObject

_NETLINK_ROUTE = 0
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_SO_RCVBUFFORCE = 33
_EVENT_BUFFER = 4 * 1024 * 1024  #: bytes
_DATAGRAM = 64 * 1024  #: bytes, above what the kernel puts into one
_BATCH = 256  #: datagrams of events taken at a time

_EVENTS = message.RTMGRP_LINK | message.RTMGRP_IPV4_IFADDR | message.RTMGRP_NEXTHOP

Members = tuple[tuple[int, int], ...]  # nexthop id and weight


class Kernel:
    """Writes nexthop groups and asks for single objects; NetlinkError says what the kernel refused."""

    def __init__(self) -> None:
        self._socket = _netlink(groups=0)
        self._sequence = 0

    def write_group(self, group: int, members: Members, *, resilient: bool = False) -> bool:
        """Make the group what ``members`` say, in one step; return whether it was there before."""
        what = f"nexthop replace id {group}"
        try:
            request = message.group_replace(group, members, resilient=resilient, create=False)
            self._ask(what, request)
        except NetlinkError as error:
            if error.errno != errno.ENOENT or self.nexthop(group) is not None:
                raise
        else:
            return True
        self._ask(what, message.group_replace(group, members, resilient=resilient))
        return False

    def delete_group(self, group: int) -> None:
        """Delete the group and with it its routes; fine when there is none."""
        try:
            self._ask(f"nexthop delete id {group}", message.nexthop_delete(group))
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise

    def add_routes(self, requests: list[bytearray]) -> bool:
        """Ask for routes, all at once; return whether none was refused but what is there already."""
        self._socket.send(b"".join(requests))
        refused = {errno.EEXIST}
        with contextlib.suppress(BlockingIOError):
            while True:
                answers = message.parse(self._socket.recv(_DATAGRAM, socket.MSG_DONTWAIT))
                refused |= {answer.errno for answer in answers if isinstance(answer, Ack) and answer.errno}
        return refused == {errno.EEXIST}

    def nexthop(self, id_: int) -> NexthopObject | None:
        """Return the nexthop or group as it is; None when there is none."""
        try:
            answers = self._ask(f"nexthop get id {id_}", message.nexthop_request(id_))
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return next((a for a in answers if isinstance(a, NexthopObject) and a.id == id_), None)

    def existing(self, members: Members) -> Members:
        """Return the members whose nexthop is there: with one missing the kernel refuses them all."""
        return tuple(member for member in members if self.nexthop(member[0]) is not None)

    def counters(self, index: int) -> Counters | None:
        """Return what passed an interface."""
        answers = self._ask(f"link stats index {index}", message.counters_request(index))
        return next((a for a in answers if isinstance(a, Counters)), None)

    def interfaces(self) -> list[message.Message]:
        """Return all interfaces and all IPv4 addresses, in the words of the events."""
        return self._dump(message.links_request()) + self._dump(message.addresses_request())

    def close(self) -> None:
        """Give the file descriptor back."""
        self._socket.close()

    def _dump(self, request: bytearray) -> list[message.Message]:
        self._sequence += 1
        self._socket.send(message.number(request, self._sequence))
        found: list[message.Message] = []
        while True:
            for answer in message.parse(self._socket.recv(_DATAGRAM)):
                if isinstance(answer, Done | Ack):
                    return found
                found.append(answer)

    def _ask(self, action: str, request: bytearray) -> list[message.Message]:
        """Send one request and return what came before its acknowledgement."""
        self._sequence += 1
        answers: list[message.Message] = []
        try:
            self._socket.send(message.number(request, self._sequence))
            while True:
                for answer in message.parse(self._socket.recv(_DATAGRAM, socket.MSG_DONTWAIT)):
                    if not isinstance(answer, Ack):
                        answers.append(answer)
                    elif answer.sequence == self._sequence:
                        return _acknowledged(action, answer, answers)
        except OSError as error:
            raise NetlinkError(action, error.errno or errno.EIO, f"not asked: {error.strerror}") from error


def _acknowledged(action: str, ack: Ack, answers: list[message.Message]) -> list[message.Message]:
    if ack.errno:
        raise NetlinkError(action, ack.errno, ack.reason)
    return answers


class KernelEvents:
    """What happens to interfaces, their addresses, and nexthop objects."""

    def __init__(self) -> None:
        self._socket = _netlink(groups=_EVENTS)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _EVENT_BUFFER)

    def fileno(self) -> int:
        """Return the file descriptor, for epoll."""
        return self._socket.fileno()

    def drain(self) -> Iterator[message.Message]:
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
            yield from message.parse(datagram)


def _netlink(*, groups: int) -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
    try:
        sock.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        sock.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    return sock
