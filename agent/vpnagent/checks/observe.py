"""Look at the whole machine: every reading by itself, with a deadline, and none that spoils the others.

A shell.
"""

import asyncio
import json
import os
import shutil
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final

from vpnagent import program
from vpnagent.checks import iptables_text, nft_json, readings
from vpnagent.checks.firewall import Chain, Ruleset
from vpnagent.checks.large_packets import BRIEF, PATIENT, forbid_fragments, known_mtu, large_packets
from vpnagent.checks.observation import (
    Address,
    Interface,
    Observation,
    ObservedCharon,
    ObservedRoute,
    Underlay,
    Unseen,
)
from vpnagent.checks.readings import NET, UnreadableError
from vpnagent.config.rules import IKEV1
from vpnagent.config.values import Config, Tunnel
from vpnagent.errors import AgentError, NetlinkError
from vpnagent.ipsec import messages, vici
from vpnagent.ipsec.messages import texts
from vpnagent.netlink.rtnetlink import (
    ADDRESSES,
    ALL_ROUTES,
    LINKS,
    LOCAL_TABLE,
    MAIN_TABLE,
    NEXTHOPS,
    PROTOCOL,
    RTN_UNICAST,
    RULES,
    RouteRow,
    address_row,
    link_row,
    nexthop_row,
)
from vpnagent.netlink.socket import NETLINK_ROUTE, NetlinkSocket
from vpnagent.policy.desired import pins
from vpnagent.program import lacking_capabilities
from vpnagent.routing.fib import fib_rule
from vpnagent.routing.uplinks import Pin, Steering, steering
from vpnagent.routing.ways import local_ways

# Others' routes that matter to the tunnels, out of netlink's answers. Pure.
# Of the main table only what lies within a remote network counts: a wider route loses to ours. Of another
# table, which a rule may put before the main one, everything counts that meets one.


def is_default(route: ObservedRoute) -> bool:
    """Whether it is a default route of the main table."""
    return route.table == MAIN_TABLE and not route.prefix.prefixlen


def route_row(body: bytes, names: Mapping[int, str], networks: Sequence[IPv4Network]) -> ObservedRoute | None:
    """Read an RTM_NEWROUTE that counts, or that is a default route; else None."""
    row = RouteRow(body)
    if not row.plain or row.protocol == PROTOCOL or row.table == LOCAL_TABLE:
        return None
    prefix, table = row.prefix, row.table
    counts = not row.length or any(_counts(prefix, network, table) for network in networks)
    return _route(row, names) if counts else None


def lan_row(body: bytes, names: Mapping[int, str], networks: Sequence[IPv4Network]) -> ObservedRoute | None:
    """Read an RTM_NEWROUTE that leads to part of a local network, other than by default."""
    row = RouteRow(body)
    if not row.plain or not row.length or row.protocol == PROTOCOL or row.kind != RTN_UNICAST:
        return None
    if row.table != MAIN_TABLE:
        return None
    prefix = row.prefix
    return _route(row, names) if any(prefix.overlaps(network) for network in networks) else None


def _counts(prefix: IPv4Network, network: IPv4Network, table: int) -> bool:
    return prefix.subnet_of(network) if table == MAIN_TABLE else prefix.overlaps(network)


def _route(row: RouteRow, names: Mapping[int, str]) -> ObservedRoute:
    return ObservedRoute(
        table=row.table,
        prefix=row.prefix,
        kind=row.kind,
        interface=names.get(row.interface_index, ""),
        metric=row.metric,
        protocol=row.protocol,
    )


DEADLINE: Final = 12.0  #: seconds for one reading; they run side by side
VICI_DEADLINE: Final = 3.0
NAT_T_PORT: Final = 4500
UDP_IPV4_HEADERS: Final = 28  #: bytes
PATIENCE: Final = 1.0  #: seconds for a router on the way to say that a packet is too large
NOT_AN_IKE_MESSAGE: Final = b"\xff"  #: RFC 3948 §2: an SPI, of no SA; a peer drops it without a word

MachineReading = Callable[[], Awaitable[Any]]
MachineReadings = dict[str, Any]


async def observe(config: Config, config_path: str, *, thorough: bool) -> Observation:
    """Return what the machine looks like.

    ``thorough``: also what takes long or is forbidden to the service: what routers on the way to the peers
    say of packets of full size, whether large packets are lost in the tunnels at a second try too, who
    listens on the ports, and the clock.
    """
    kernel = os.uname()
    todo: dict[str, MachineReading] = {
        "lacking_capabilities": _plain(lacking_capabilities),
        "modules": _plain(lambda: readings.modules(kernel.release)),
        "sysctls": _plain(lambda: readings.sysctls(config)),
        "listeners": _plain(lambda: readings.listeners(owners=thorough)),
        "hardware_aes": _plain(readings.hardware_aes),
        "open_files": _plain(lambda: readings.open_files(config, config_path)),
        "certificates": _plain(lambda: readings.certificates(config)),
        "pools": _plain(readings.pools),
        "resolvers": _plain(readings.resolvers),
        "firewall": firewall,
        "charon": lambda: _charon(config.agent.vici_socket),
        "ikev1": lambda: _ikev1(config),
        "underlays": lambda: _underlays(config.tunnels(), ask=thorough),
        "large_packets": lambda: large_packets(config, PATIENT if thorough else BRIEF),
        "network": lambda: _network(config),
        "steering": lambda: _steering(config),
    }
    if thorough:
        todo["clock_synchronised"] = _plain(readings.clock_synchronised)
    results = await asyncio.gather(*(_read(name, reading) for name, reading in todo.items()))
    seen: MachineReadings = {"at": time.time(), "root": os.geteuid() == 0}
    seen |= {"release": kernel.release, "build": kernel.version}
    unseen: list[Unseen] = []
    for name, result in zip(todo, results, strict=True):
        if isinstance(result, Unseen):
            unseen.append(result)
        elif name == "network":
            seen |= result
        else:
            seen[name] = result
    return Observation(**seen, unseen=tuple(unseen))


def _plain(reading: Callable[[], Any]) -> MachineReading:
    """Make a reading of files one of the others: they are of /proc and /etc, and answer at once."""

    async def read() -> Any:
        return reading()

    return read


async def _read(name: str, reading: MachineReading) -> Any:
    try:
        async with asyncio.timeout(DEADLINE):
            return await reading()
    except TimeoutError:
        return Unseen(what=name, why=f"no answer within {DEADLINE:g} s")
    except PermissionError as error:
        return Unseen(what=name, why=error.strerror or "not permitted", forbidden=True)
    except OSError as error:
        return Unseen(what=name, why=f"{error.filename or name}: {error.strerror}")
    except (AgentError, UnreadableError, ValueError) as error:
        return Unseen(what=name, why=str(error).partition("\n")[0])


async def _network(config: Config) -> MachineReadings:
    """Return what netlink tells: interfaces, addresses, routes, rules, and whether it knows nexthops."""
    networks = tuple(dict.fromkeys(n for c in config.connections for n in c.remote_networks))
    route = NetlinkSocket(NETLINK_ROUTE)
    try:
        links = await route.dump(LINKS, link_row)
        names = {link.index: link.name for link in links}
        addresses = await route.dump(ADDRESSES, address_row)
        local = config.local_networks()
        rows = await route.dump(
            ALL_ROUTES,
            lambda body: (
                route_row(body, names, networks),
                lan_row(body, names, local),
            ),
        )
        routes = [row for row, _ in rows if row is not None]
        rules = await route.dump(RULES, fib_rule)
        return {
            "interfaces": tuple(Interface(name=link.name, kind=link.kind, mtu=link.mtu) for link in links),
            "addresses": tuple(
                Address(interface=names.get(index, ""), address=address) for index, address in addresses
            ),
            "routes": tuple(routes),
            "lan_routes": tuple(row for _, row in rows if row is not None),
            "default_interfaces": frozenset(r.interface for r in routes if is_default(r)),
            "rules": tuple(sorted(rules, key=lambda rule: rule.priority)),
            "local_ways": await local_ways(route, names, local),
            "nexthop_objects": await _knows_nexthops(route),
        }
    finally:
        route.close()


async def _steering(config: Config) -> dict[Pin, Steering]:
    route = NetlinkSocket(NETLINK_ROUTE)
    try:
        return await steering(route, pins(config))
    finally:
        route.close()


async def _knows_nexthops(route: NetlinkSocket) -> bool:
    try:
        await route.dump(NEXTHOPS, nexthop_row)
    except NetlinkError as error:
        if not error.errno:
            raise
        return False
    return True


async def _charon(path: str) -> ObservedCharon:
    connection = await vici.connect(path, deadline=VICI_DEADLINE)
    try:
        return ObservedCharon(
            version=messages.version(await connection.request("version")),
            plugins=frozenset(texts(await connection.request("stats"), "plugins")),
            algorithms=messages.algorithms(await connection.request("get-algorithms")),
        )
    finally:
        connection.close()


async def _ikev1(config: Config) -> bool | None:
    """Ask charon for IKE version 1, where a connection needs it."""
    if all(connection.ike.version != IKEV1 for connection in config.connections):
        return None
    return await has_ikev1()


async def _underlays(tunnels: Iterable[Tunnel], *, ask: bool) -> tuple[Underlay, ...]:
    """Return each tunnel's way. ``ask``: send one packet of full size each, and hear what routers say."""
    sockets = [(tunnel, _way(tunnel)) for tunnel in tunnels]
    ways = [sock for _, sock in sockets if isinstance(sock, socket.socket)]
    try:
        if ask and [sock for sock in ways if _fills(sock)]:
            await asyncio.sleep(PATIENCE)
        return tuple(_underlay(tunnel, sock) for tunnel, sock in sockets)
    finally:
        for sock in ways:
            sock.close()


def _way(tunnel: Tunnel) -> socket.socket | OSError:
    """Return a socket that is connected to the tunnel's peer: the kernel chooses route and source."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        forbid_fragments(sock)
        if tunnel.uplink:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, tunnel.uplink.encode())
        if tunnel.local_address:
            sock.bind((str(tunnel.local_address), 0))
        sock.connect((str(tunnel.remote_address), NAT_T_PORT))
    except OSError as error:
        sock.close()
        return error
    return sock


def _fills(sock: socket.socket) -> bool:
    """Send a packet as large as the way is said to take; return whether it was sent."""
    size = known_mtu(sock) - UDP_IPV4_HEADERS
    try:
        sock.send(NOT_AN_IKE_MESSAGE * size)
    except OSError:
        return False  # what is known already is known
    return True


def _underlay(tunnel: Tunnel, way: socket.socket | OSError) -> Underlay:
    if isinstance(way, OSError):
        return Underlay(tunnel=tunnel.key, source=None, mtu=0, error=way.strerror or str(way))
    source = IPv4Address(way.getsockname()[0])
    mtu = known_mtu(way)
    return Underlay(tunnel=tunnel.key, source=source, mtu=mtu, error="")


# Have nft and iptables-save tell their rules. A shell: runs programs that only read.

MAX_BYTES: Final = 32 << 20  #: of output: some 100,000 rules
PROGRAM_DEADLINE: Final = 8.0  #: seconds for one program
#: Reading the legacy tables would load their modules, so only those are read that are there already.
LEGACY_TABLES: Final = NET / "ip_tables_names"
#: What reading the output of another version, in another shape, raises.
UNREADABLE: Final = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
PATH: Final = "/usr/sbin:/sbin:/usr/bin:/bin"  #: a plain user's own path lacks sbin


async def firewall() -> Ruleset:
    """Return all rules for IPv4. Raises UnreadableError, or PermissionError without CAP_NET_ADMIN."""
    by_nft = await _output("nft", "-j", "list", "ruleset")
    try:
        return await _ruleset(by_nft)
    except UNREADABLE as error:
        raise UnreadableError(f"what nft or iptables-save print is not understood: {error!r}") from error


async def _ruleset(by_nft: str | None) -> Ruleset:
    document = json.loads(by_nft) if by_nft else {}
    unreadable = nft_json.tables_of_iptables(document)
    chains: dict[str, Chain] = {}
    if by_nft is None or unreadable:
        text = await _output("iptables-nft-save") or await _output("iptables-save") or ""
        if by_nft is None and not text:
            raise UnreadableError("neither nft nor iptables-save is installed")
        chains |= iptables_text.chains(text)
        unreadable = iptables_text.tables(text)
    if _has_legacy_tables():
        chains |= iptables_text.chains(await _output("iptables-legacy-save") or "", "ip legacy")
    return Ruleset({**nft_json.ruleset(document, without=unreadable).chains, **chains})


def _has_legacy_tables() -> bool:
    try:
        return bool(LEGACY_TABLES.read_text().strip())
    except OSError:
        return False


async def _output(name: str, *arguments: str) -> str | None:
    """Return what a program prints; None if it is not installed."""
    path = shutil.which(name, path=PATH)
    if path is None:
        return None
    try:
        ended = await program.run((path, *arguments), seconds=PROGRAM_DEADLINE)
    except TimeoutError:
        raise UnreadableError(f"{name} took longer than {PROGRAM_DEADLINE:g} s") from None
    if ended.status:
        reason = ended.complaint.decode(errors="replace").strip().partition("\n")[0]
        if "not permitted" in reason or "Permission denied" in reason:
            raise PermissionError(1, "Operation not permitted")
        raise UnreadableError(f"{Path(path).name}: {reason}")
    if len(ended.output) > MAX_BYTES:
        raise UnreadableError(f"{name} prints more than {MAX_BYTES >> 20} MiB of rules")
    return ended.output.decode(errors="replace")


# Ask the charon of this machine whether it has IKE version 1. A shell: one UDP packet to 127.0.0.1.
# No message of VICI tells: a charon that was built without it takes ``version = 1`` in load-conn,
# registers the same algorithms, and fails when it is to initiate (strongSwan 6.0.6,
# src/libcharon/sa/task_manager.c). But it answers a main mode of IKE version 1 with
# INVALID_MAJOR_VERSION, in IKE version 2 (network/receiver.c). One that has it looks for the IKE_SA of
# the message's two SPIs, finds none, and says nothing: no state is made.

IKE_PORT: Final = 500
ANSWER_PATIENCE: Final = 0.3  #: seconds for an answer on the loopback interface

_SPIS: Final = 16  #: octets of both
_HEADER: Final = 28  #: octets, RFC 2408 §3.1 and RFC 7296 §3.1
_VERSION: Final = 17  #: offset
_IDENTITY_PROTECTION: Final = 2  #: the exchange type of main mode


async def has_ikev1(address: tuple[str, int] = ("127.0.0.1", IKE_PORT)) -> bool | None:
    """Return whether charon speaks IKE version 1; None where nobody listens. Raises OSError."""
    loop = asyncio.get_running_loop()
    request = _main_mode(os.urandom(_SPIS))
    with socket.socket(
        socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    ) as sock:
        sock.connect(address)
        try:
            async with asyncio.timeout(ANSWER_PATIENCE):
                await loop.sock_sendall(sock, request)
                while not _refuses(await loop.sock_recv(sock, 512), request):
                    pass
        except ConnectionRefusedError:
            return None
        except TimeoutError:
            return True
    return False


def _main_mode(spis: bytes) -> bytes:
    """Return a message of IKE version 1 that has a header and nothing else."""
    octets = (0, 0x10, _IDENTITY_PROTECTION, 0, *bytes(4))  # no payload, version 1.0, …, message id 0
    return spis + bytes(octets) + _HEADER.to_bytes(4, "big")


def _refuses(answer: bytes, request: bytes) -> bool:
    """Whether this is an answer to our message, in the other version."""
    return len(answer) >= _HEADER and answer[:8] == request[:8] and answer[_VERSION] >> 4 == 2  # noqa: PLR2004
