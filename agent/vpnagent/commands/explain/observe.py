"""See what is: how a name resolves here, which way the kernel sends, whether something answers. A shell.

Everything has a deadline, and nothing needs a privilege but the echo request, which without one is not sent
(a raw socket, or net.ipv4.ping_group_range). One TCP connection or one echo request an address is all that
is sent.
"""

import asyncio
import contextlib
import errno
import importlib.resources
import os
import queue
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

import yaml

from vpnagent.commands.explain.catalogue import Catalogue, catalogue_of
from vpnagent.commands.explain.reasoning import ExplainedRoute, NoRoute, Outcome, Seen, TargetAnswer
from vpnagent.errors import NetlinkError
from vpnagent.netlink.rtnetlink import LINKS, LinkRow, link_row
from vpnagent.netlink.socket import NETLINK_ROUTE, NetlinkSocket
from vpnagent.probe.packets import ECHO_REPLY, Echo
from vpnagent.routing.ways import question
from vpnagent.routing.ways import way as way_of

RESOLVE_DEADLINE = 6.0  #: seconds; resolv.conf(5) gives a server 5
ANSWER_DEADLINE = 3.0  #: seconds
MOST_ADDRESSES = 8  #: of a name; each is asked
ECHO = "ICMP echo"
ICMP_DATA = 8  #: offset of what comes back as it was, in an ICMP message
LARGEST = 2048  #: bytes of an answer
NO_WAY = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EINVAL)


def catalogue() -> Catalogue:
    """Return the catalogue of services that comes with the package."""
    text = importlib.resources.files("vpnagent.commands.explain").joinpath("services.yaml").read_text("utf-8")
    return catalogue_of(yaml.load(text, Loader=yaml.CSafeLoader))


def resolve(host: str, deadline: float = RESOLVE_DEADLINE) -> tuple[tuple[IPv4Address, ...], str]:
    """Return a name's IPv4 addresses as this host's resolver (nsswitch.conf) tells them, and else why not."""
    answers: queue.SimpleQueue[tuple[tuple[IPv4Address, ...], str]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
            addresses = dict.fromkeys(IPv4Address(entry[4][0]) for entry in found)
            answers.put((tuple(addresses)[:MOST_ADDRESSES], ""))
        except (OSError, UnicodeError) as error:
            answers.put(((), getattr(error, "strerror", None) or str(error)))

    # A daemon: getaddrinfo() cannot be interrupted, and must not keep the process.
    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=deadline)
    except queue.Empty:
        return (), f"no answer within {deadline:g} s"


async def look(addresses: Iterable[IPv4Address], port: int | None) -> dict[IPv4Address, Seen]:
    """Return what is seen of each address. Raises NetlinkError when the kernel cannot be asked."""
    wanted = list(addresses)
    with contextlib.closing(NetlinkSocket(NETLINK_ROUTE)) as kernel:
        links = {row.index: row for row in await kernel.dump(LINKS, link_row)}
        routes = [await _route(kernel, links, address) for address in wanted]
    answers = await asyncio.gather(*(answer(address, port) for address in wanted))
    return {
        address: Seen(route=route, answer=answered)
        for address, route, answered in zip(wanted, routes, answers, strict=True)
    }


async def _route(
    kernel: NetlinkSocket, links: Mapping[int, LinkRow], address: IPv4Address
) -> ExplainedRoute | NoRoute:
    try:
        [way] = await kernel.dump(question(address), way_of)
        [entry] = await kernel.dump(question(address, entry=True), way_of)
    except NetlinkError as error:
        if error.errno not in NO_WAY:
            raise
        return NoRoute(error.errno, os.strerror(error.errno))
    link = links.get(way.interface_index)
    return ExplainedRoute(
        interface=link.name if link else f"interface {way.interface_index}",
        source=way.source,
        gateway=way.gateway,
        mtu=way.mtu or (link.mtu if link else 0),
        local=way.local,
        table=way.table,
        prefix=entry.prefix,
        protocol=entry.protocol,
    )


async def answer(address: IPv4Address, port: int | None, deadline: float = ANSWER_DEADLINE) -> TargetAnswer:
    """Return what comes of one TCP connection, or of one echo request where there is no port."""
    method = ECHO if port is None else f"TCP {port}"
    started = time.monotonic()
    try:
        async with asyncio.timeout(deadline):
            if port is None:
                await _echo(address)
            else:
                _, writer = await asyncio.open_connection(str(address), port)
                writer.transport.abort()
    except TimeoutError:
        return TargetAnswer(
            outcome=Outcome.SILENT, method=method, rtt=None, reason=f"no answer within {deadline:g} s"
        )
    except ConnectionRefusedError:
        return TargetAnswer(outcome=Outcome.REFUSED, method=method, rtt=time.monotonic() - started)
    except PermissionError:
        reason = "needs root, CAP_NET_RAW or net.ipv4.ping_group_range; or give a port"
        return TargetAnswer(outcome=Outcome.NOT_ASKED, method=method, rtt=None, reason=reason)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        return TargetAnswer(outcome=Outcome.UNREACHABLE, method=method, rtt=None, reason=reason)
    return TargetAnswer(outcome=Outcome.ANSWERED, method=method, rtt=time.monotonic() - started)


async def _echo(address: IPv4Address) -> None:
    """Send an echo request and return once it is answered. Raises OSError."""
    loop = asyncio.get_running_loop()
    request = bytes(Echo(secrets.randbits(16), secrets.randbits(64)).request(0, 1))
    with _icmp_socket() as sock:
        sock.setblocking(False)
        sock.connect((str(address), 0))  # no packet, no waiting
        await loop.sock_sendall(sock, request)
        while True:
            packet = await loop.sock_recv(sock, LARGEST)
            # A raw socket tells the IP header too, an ICMP socket does not and has an identifier of its own.
            message = packet[4 * (packet[0] & 0xF) :] if sock.type == socket.SOCK_RAW else packet
            if message[:1] == bytes([ECHO_REPLY]) and message[ICMP_DATA:] == request[ICMP_DATA:]:
                return


def _icmp_socket() -> socket.socket:
    try:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    except PermissionError:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
